"""Connect a socket on an asyncio loop, to the address that answers first. No socket is leaked.

`loop.create_connection` with happy eyeballs leaks a socket that connects at the moment of a
cancellation (CPython 3.11 to 3.13), and uvloop has no happy eyeballs.
"""

from __future__ import annotations

import asyncio
import socket

from .addresses import HEAD_START, AddressInfo, interleaved, numeric

__all__ = ["dial"]


async def dial(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    """Return a socket that is connected to one of the addresses of `host`.

    A cancellation leaves no socket open.

    Raises:
        OSError: the first address could not be reached.
    """
    infos = numeric(host, port)
    if infos is None:
        infos = list(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    left = interleaved(infos)
    connecting: set[asyncio.Task[socket.socket]] = set()
    errors: list[BaseException] = []
    try:
        while left or connecting:
            if left:
                connecting.add(loop.create_task(_connect(loop, left.pop(0))))
            done, _ = await asyncio.wait(
                connecting,
                timeout=HEAD_START if left else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                connecting.remove(task)
                error = task.exception()
                if error is None:
                    return task.result()
                errors.append(error)
    finally:
        for task in connecting:
            task.cancel()
            task.add_done_callback(_close)
    raise errors[0]


async def _connect(loop: asyncio.AbstractEventLoop, info: AddressInfo) -> socket.socket:
    family, kind, protocol, _, address = info
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _close(task: asyncio.Task[socket.socket]) -> None:
    """Close the socket that a task has connected too late."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
