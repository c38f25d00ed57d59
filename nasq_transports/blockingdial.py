"""Connect a socket in a thread, to the address that answers first. No socket is leaked.

This is `dial` for blocking sockets. `socket.create_connection` tries one address after the other,
so a first address that never answers (IPv6 in many containers) uses up all the time.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket

from .addresses import HEAD_START, AddressInfo, interleaved, numeric

__all__ = ["Dial"]

# The results of a connect that continues in the background.
_IN_PROGRESS = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR})


class Dial:
    """An attempt to connect to `host`, in the thread that calls `run`."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._given_up = False

    def give_up(self) -> None:
        """End the attempt. `run`, in another thread, raises within a quarter of a second.

        Resolving a name cannot be interrupted: `run` then raises when the resolver returns.
        """
        self._given_up = True

    def run(self) -> socket.socket:
        """Return a non-blocking socket that is connected to one of the addresses of `host`.

        This has no timeout: a caller that has one calls `give_up` from another thread.

        Raises:
            OSError: the first address could not be reached, or the attempt was given up.
        """
        infos = numeric(self._host, self._port)
        if infos is None:
            infos = list(socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM))
        with selectors.DefaultSelector() as selector:
            try:
                return self._first(selector, interleaved(infos))
            finally:
                for key in list(selector.get_map().values()):
                    assert isinstance(key.fileobj, socket.socket), "only sockets are registered"
                    key.fileobj.close()

    def _first(self, selector: selectors.BaseSelector, left: list[AddressInfo]) -> socket.socket:
        errors: list[OSError] = []
        while left or selector.get_map():
            if left:
                try:
                    _begin(selector, left.pop(0))
                except OSError as error:
                    errors.append(error)
                    continue
            # Never without a timeout: `give_up` does not wake the selector.
            for key, _ in selector.select(HEAD_START):
                sock = key.fileobj
                assert isinstance(sock, socket.socket), "only sockets are registered"
                selector.unregister(sock)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    return sock
                sock.close()
                errors.append(OSError(code, os.strerror(code)))
            if self._given_up:
                raise ConnectionAbortedError(errno.ECONNABORTED, "the attempt was given up")
        raise errors[0]


def _begin(selector: selectors.BaseSelector, info: AddressInfo) -> None:
    """Begin to connect to one address; the selector reports when that succeeded or failed."""
    family, kind, protocol, _, address = info
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        code = sock.connect_ex(address)
        if code != 0 and code not in _IN_PROGRESS:
            raise OSError(code, os.strerror(code))
        selector.register(sock, selectors.EVENT_WRITE)
    except BaseException:
        sock.close()
        raise
