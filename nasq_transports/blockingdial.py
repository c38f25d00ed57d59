"""Connect a blocking program's socket: the address that answers first, and no socket is lost.

What `dial` does on an asyncio loop, in a thread. `socket.create_connection` tries one address
after the other, so a first one that never answers (IPv6 in many containers) takes all the time.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket

from .addresses import HEAD_START, AddressInfo, interleaved, numeric

__all__ = ["Dial"]

# What a connect that goes on in the background says.
_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR})


class Dial:
    """One attempt to connect to `host`, in whatever thread calls `run`."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._given_up = False

    def give_up(self) -> None:
        """Nobody wants the socket any more. From any thread; `run` ends soon after.

        Resolving a name can't be interrupted: `run` ends when the system's resolver does.
        """
        self._given_up = True

    def run(self) -> socket.socket:
        """A non-blocking socket that is connected to one of the addresses of `host`.

        It has no time limit of its own: whoever has one calls `give_up`.

        Raises:
            OSError: why the first address could not be reached, or that it was given up.
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
            # Not longer even where nothing is left to try: `give_up` wakes nobody.
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
    """Begin to connect to one address; the selector tells when that is decided."""
    family, kind, protocol, _, address = info
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        code = sock.connect_ex(address)
        if code != 0 and code not in _UNDER_WAY:
            raise OSError(code, os.strerror(code))
        selector.register(sock, selectors.EVENT_WRITE)
    except BaseException:
        sock.close()
        raise
