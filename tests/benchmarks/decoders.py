"""Measure nasq's decoder and the other clients' parsers, without a connection.

Each decodes a list of chunks, and its results are dropped.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from typing import Any

from .peers import nats_core_alone
from .rows import PLAIN
from .sample import Sample, Span, each

# About the size of one read from a socket.
CHUNK = 64 * 1024
MIB = 1024 * 1024

MSG = b"MSG b.a 1 128\r\n" + b"x" * 128 + b"\r\n"
HMSG = (
    b"HMSG b.a 1 45 173\r\nNATS/1.0\r\nTrace: 0123456789\r\nKind: orders\r\n\r\n"
    + b"x" * 128
    + b"\r\n"
)
SHORT_MSG = b"MSG b.a 1 16\r\n" + b"x" * 16 + b"\r\n"
SHORT_HMSG = (
    b"HMSG b.a 1 45 61\r\nNATS/1.0\r\nTrace: 0123456789\r\nKind: orders\r\n\r\n"
    + b"x" * 16
    + b"\r\n"
)
# More subjects than any cache of control lines keeps.
SUBJECTS = 20_000

Feed = Callable[[list[bytes]], Awaitable[Span]]


class _Nasq:
    def __init__(self, *, fast: bool) -> None:
        from nasq_proto import Decoder, Role
        from nasq_proto.plaindecoder import PlainDecoder

        self._decoder = (Decoder if fast else PlainDecoder)(Role.CLIENT)

    async def feed(self, chunks: list[bytes]) -> Span:
        receive = self._decoder.receive
        with Span() as span:
            for chunk in chunks:
                receive(chunk)
        return span


class _Events:
    """`Connection.receive_data`, which returns events."""

    def __init__(self) -> None:
        from nasq_proto import Connect, Connection, Info, Role

        self._connection = Connection(Role.CLIENT)
        server = Connection(Role.SERVER)
        server.send(Info({}))
        self._connection.receive_data(server.data_to_send())
        self._connection.send(Connect({}))

    async def feed(self, chunks: list[bytes]) -> Span:
        receive = self._connection.receive_data
        with Span() as span:
            for chunk in chunks:
                receive(chunk)
        return span


class _NatsPy:
    def __init__(self) -> None:
        from nats.protocol.parser import Parser

        self._parser = Parser(self)

    async def _process_msg(self, *args: Any) -> None:
        """Called by the parser for each message."""

    async def feed(self, chunks: list[bytes]) -> Span:
        parse = self._parser.parse
        with Span() as span:
            for chunk in chunks:
                await parse(chunk)
        return span


class _Natsio:
    def __init__(self) -> None:
        protocol = importlib.import_module("natsio._internal.protocol")
        self._parser = protocol.Parser(max_payload=64 * 1024 * 1024)
        self._need_data = protocol.NEED_DATA

    async def feed(self, chunks: list[bytes]) -> Span:
        receive, event = self._parser.receive_data, self._parser.next_event
        need_data = self._need_data
        with Span() as span:
            for chunk in chunks:
                receive(chunk)
                while event() is not need_data:
                    pass
        return span


class _NatsCore:
    """Its parser reads from a StreamReader, in a task that is woken once for each chunk."""

    def __init__(self) -> None:
        nats_core_alone()
        self._parse = importlib.import_module("nats.client.protocol.message").parse
        self._reader = asyncio.StreamReader()

    async def _read(self) -> None:
        parse, reader = self._parse, self._reader
        while await parse(reader):
            pass

    async def feed(self, chunks: list[bytes]) -> Span:
        task = asyncio.create_task(self._read())
        await asyncio.sleep(0)
        with Span() as span:
            for chunk in chunks:
                self._reader.feed_data(chunk)
                await asyncio.sleep(0)
            self._reader.feed_eof()
            await task
        self._reader = asyncio.StreamReader()
        return span


DECODERS: dict[str, Callable[[], Any]] = {
    "asyncio": lambda: _Nasq(fast=True),
    PLAIN: lambda: _Nasq(fast=False),
    "nats-py": _NatsPy,
    "natsio": _Natsio,
    "nats-core": _NatsCore,
}


def decode(contender: str, count: int, what: str) -> Sample:
    """Return nanoseconds for a message, or for a byte in chunks of one byte."""
    if what == "bytes":
        stream = MSG * max(1, count // len(MSG))
        chunks = [stream[at : at + 1] for at in range(len(stream))]
        counted = len(chunks)
    elif what == "unique":
        frames = [MSG.replace(b"b.a", b"b.%d" % n) for n in range(SUBJECTS)]
        rounds = max(1, count // SUBJECTS)
        chunks = _cut(b"".join(frames), CHUNK) * rounds
        counted = rounds * SUBJECTS
    else:
        frame = HMSG if what == "HMSG" else MSG
        in_chunk = CHUNK // len(frame)
        rounds = max(1, count // in_chunk)
        chunks = [frame * in_chunk] * rounds
        counted = rounds * in_chunk

    async def main() -> Span:
        span: Span = await DECODERS[contender]().feed(chunks)
        return span

    return each(asyncio.run(main()), counted, 1e-9)


def events(contender: str, count: int, what: str) -> Sample:
    """Return nanoseconds for a message of 16 bytes as an event, or for a byte of one."""
    if what == "bytes":
        stream = SHORT_MSG * max(1, count // len(SHORT_MSG))
        chunks = _cut(stream, 1)
        counted = len(chunks)
    else:
        frame = SHORT_HMSG if what == "HMSG" else SHORT_MSG
        in_chunk = CHUNK // len(frame)
        rounds = max(1, count // in_chunk)
        chunks = [frame * in_chunk] * rounds
        counted = rounds * in_chunk

    async def main() -> Span:
        reader = _Events() if contender == "asyncio" else DECODERS[contender]()
        span: Span = await reader.feed(chunks)
        return span

    return each(asyncio.run(main()), counted, 1e-9)


def drip(contender: str, count: int) -> Sample:
    """Return milliseconds for a payload of 64 MiB in chunks of 64 KiB."""
    return _drip(contender, count, 64)


def growth(contender: str, count: int) -> Sample:
    """Return the time for 64 MiB divided by that for 33 MiB: 1.9 if linear, 3.8 if quadratic.

    The smaller one has at least 33 MiB and goes first: the system's allocator reuses freed blocks
    of up to 32 MiB, which is faster than new memory.
    """
    small, large = _drip(contender, count, 33), _drip(contender, count, 64)
    return large._replace(value=large.value / small.value)


def _drip(contender: str, count: int, mib: int) -> Sample:
    size = mib * MIB
    chunks = _cut(b"MSG b.a 1 %d\r\n" % size + bytes(size) + b"\r\n", CHUNK)

    async def main() -> Span:
        # The fastest one, since the first ones have to get memory from the system.
        spans: list[Span] = [await DECODERS[contender]().feed(chunks) for _ in range(count)]
        return min(spans, key=lambda span: span.seconds)

    return each(asyncio.run(main()), 1, 1e-3)


def _cut(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]
