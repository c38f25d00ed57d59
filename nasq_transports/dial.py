"""Connect a socket on an asyncio loop: the address that answers first, and no socket is lost.

`loop.create_connection` with happy eyeballs loses the socket that has just connected when it is
cancelled at that moment (CPython 3.11 to 3.13), and uvloop has no happy eyeballs.
"""

from __future__ import annotations

import asyncio
import socket
from itertools import chain, zip_longest
from typing import Any, Final

__all__ = ["dial"]

# Seconds that one address is given before the next is tried beside it (RFC 8305).
_HEAD_START: Final = 0.25


async def dial(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    """A socket that is connected to one of the addresses of `host`.

    Raises:
        OSError: why the first address could not be reached.

    Cancelled, it leaves nothing open.
    """
    left = _interleaved(await _resolve(loop, host, port))
    under_way: set[asyncio.Task[socket.socket]] = set()
    errors: list[BaseException] = []
    try:
        while left or under_way:
            if left:
                under_way.add(loop.create_task(_connect(loop, left.pop(0))))
            done, _ = await asyncio.wait(
                under_way,
                timeout=_HEAD_START if left else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                under_way.remove(task)
                error = task.exception()
                if error is None:
                    return task.result()
                errors.append(error)
    finally:
        for task in under_way:
            task.cancel()
            task.add_done_callback(_close)
    raise errors[0]


async def _resolve(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[Any]:
    try:
        # What is an address already needs none of the loop's resolver threads.
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def _connect(loop: asyncio.AbstractEventLoop, info: Any) -> socket.socket:
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
    """A task whose result nobody wants."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _interleaved(infos: list[Any]) -> list[Any]:
    """The addresses of the first family and of the others in turn, the order kept in each."""
    first = [info for info in infos if info[0] == infos[0][0]]
    others = [info for info in infos if info[0] != infos[0][0]]
    pairs = chain.from_iterable(zip_longest(first, others))
    return [info for info in pairs if info is not None]
