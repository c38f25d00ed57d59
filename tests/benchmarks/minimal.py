"""A client that checks nothing, as the limit of what pure Python can reach on asyncio.

It has no validation, limits, reconnecting, authentication, statistics or timeouts. It has the three
ideas that make a client fast: publishes are joined once per turn of the loop, the length of the
next control line is guessed, and a request is one future.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import repeat
from typing import Any

from .sample import Sample, Span, median, rate

_CRLF = b"\r\n"
_HELLO = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n'
_INBOX_SID = b"2"
# Bytes that are published before other tasks run.
_TURN = 128 * 1024
_BATCH = 10_000
_LINES = 1024


class Message:
    """A received message."""

    __slots__ = ("data", "reply", "subject")

    def __init__(self, subject: str, reply: bytes | None, data: bytes) -> None:
        self.subject = subject
        self.reply = reply
        self.data = data


class _Lines(dict[int, bytes]):
    """The control lines of one subject, by the size of the payload."""

    def __init__(self, subject: bytes) -> None:
        self._subject = subject

    def __missing__(self, size: int) -> bytes:
        line = self[size] = b"PUB %b %d\r\n" % (self._subject, size)
        return line


# The parts of a control line: subject, sid, reply and size.
_Head = tuple[str, bytes, bytes | None, int]


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._size = 0
        self._publishers: dict[bytes, _Lines] = {}
        self._rest = b""
        self._heads: dict[bytes, _Head] = {}
        self._guess = 0
        self._inbox: deque[tuple[_Head, bytes]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._pongs: deque[asyncio.Future[None]] = deque()
        self._replies: dict[bytes, asyncio.Future[Message]] = {}
        self._last = 0
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: Any) -> None:
        """Sign in."""
        self.transport = transport
        transport.write(_HELLO)

    # ------------------------------------------------------------------ out

    def pause_writing(self) -> None:
        """Make publishers wait, since the socket accepts no more."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let publishers continue."""
        self._writable.set()

    async def _breathe(self) -> None:
        await asyncio.sleep(0)
        await self._writable.wait()

    def _write(self, *pieces: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._hand_over)
        self._out += pieces

    def _hand_over(self) -> None:
        out, self._out = self._out, []
        self._size = 0
        self.transport.write(b"".join(out))

    async def publish(self, subject: bytes, payload: bytes) -> None:
        """Send a message; let other tasks run after every 128 KiB."""
        lines = self._publishers.get(subject) or self._publisher(subject)
        size = len(payload)
        if not self._out:
            self._loop.call_soon(self._hand_over)
        self._out += (lines[size], payload, _CRLF)
        self._size += size + 64
        if self._size > _TURN:
            await self._breathe()

    async def publish_many(self, subject: bytes, payloads: Sequence[bytes]) -> None:
        """Send messages, a thousand in each turn."""
        lines = self._publishers.get(subject) or self._publisher(subject)
        for start in range(0, len(payloads), 1000):
            some = payloads[start : start + 1000]
            pieces = [_CRLF] * (3 * len(some))
            pieces[::3] = map(lines.__getitem__, map(len, some))
            pieces[1::3] = some
            self._write(*pieces)
            await self._breathe()

    def _publisher(self, subject: bytes) -> _Lines:
        lines = self._publishers[subject] = _Lines(subject)
        return lines

    async def subscribe(self, subject: bytes) -> None:
        """Subscribe; `__anext__` returns the messages."""
        self._write(b"SUB %b 1\r\n" % subject)
        await self.flush()

    def flush(self) -> Awaitable[None]:
        """Wait until the server has answered."""
        pong: asyncio.Future[None] = self._loop.create_future()
        self._pongs.append(pong)
        self._write(b"PING\r\n")
        return pong

    def request(self, subject: bytes, payload: bytes) -> Awaitable[Message]:
        """Send a message, and wait for a reply."""
        if not self._last:
            self._write(b"SUB _INBOX.minimal.* %b\r\n" % _INBOX_SID)
        self._last += 1
        reply = b"_INBOX.minimal.%d" % self._last
        future = self._replies[reply] = self._loop.create_future()
        self._write(b"PUB %b %b %d\r\n" % (subject, reply, len(payload)), payload, _CRLF)
        return future

    # ------------------------------------------------------------------ in

    def data_received(self, data: bytes) -> None:
        """Cut the chunk into messages."""
        if self._rest:
            data = self._rest + data
        at, size, heads, guess = 0, len(data), self._heads, self._guess
        while at < size:
            line = data[at : at + guess]
            head = heads.get(line)
            if head is None:
                end = data.find(b"\n", at) + 1
                if not end:
                    break
                line = data[at:end]
                head = heads.get(line) or self._parse(line)
                if head is None:
                    at = end
                    continue
                guess = end - at
            length = head[3]
            step = guess + length + 2
            first, start = at, at + guess
            # The messages after it that have the same control line are cut together with it.
            while at + step <= size and data.startswith(line, at):
                at += step
            if at == first:
                break
            bodies = [data[i : i + length] for i in range(start, at, step)]
            if head[1] == _INBOX_SID:
                self._replies.pop(head[0].encode()).set_result(Message(head[0], None, bodies[0]))
            else:
                self._inbox.extend(zip(repeat(head), bodies, strict=False))
        self._rest, self._guess = data[at:], guess
        if self._inbox and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _parse(self, line: bytes) -> _Head | None:
        fields = line.split()
        if fields[0] == b"MSG":
            reply = fields[3] if len(fields) == 5 else None
            head = (fields[1].decode(), fields[2], reply, int(fields[-1]))
            if reply is None and fields[2] != _INBOX_SID:
                if len(self._heads) >= _LINES:
                    self._heads.clear()
                self._heads[line] = head
            return head
        if fields[0] == b"PING":
            self._write(b"PONG\r\n")
        elif fields[0] == b"PONG":
            self._pongs.popleft().set_result(None)
        return None

    def __aiter__(self) -> Client:
        return self

    async def __anext__(self) -> Message:
        while not self._inbox:
            self._waiter = self._loop.create_future()
            await self._waiter
        (subject, _, reply, _), body = self._inbox.popleft()
        return Message(subject, reply, body)


class Minimal:
    """Those measurements of `NasqAsync` for which this client is a limit."""

    def _run(self, port: int, body: Callable[[Client], Awaitable[Sample]]) -> Sample:
        async def main() -> Sample:
            loop = asyncio.get_running_loop()
            transport, client = await loop.create_connection(Client, "127.0.0.1", port)
            await client.flush()
            try:
                return await body(client)
            finally:
                transport.close()

        return asyncio.run(main())

    def publish(self, port: int, count: int, size: int) -> Sample:
        """Publish, and wait until the server has confirmed all messages."""

        async def body(client: Client) -> Sample:
            payload = b"x" * size
            with Span() as span:
                for _ in range(count):
                    await client.publish(b"b.a", payload)
                await client.flush()
            return rate(span, count)

        return self._run(port, body)

    def push_many(self, port: int, count: int, size: int) -> Sample:
        """Publish in batches, and wait until the server has confirmed all messages."""

        async def body(client: Client) -> Sample:
            batch = [b"x" * size] * min(_BATCH, count)
            rounds = count // len(batch)
            with Span() as span:
                for _ in range(rounds):
                    await client.publish_many(b"b.a", batch)
                await client.flush()
            return rate(span, rounds * len(batch))

        return self._run(port, body)

    def receive(self, port: int, count: int, how: str) -> Sample:
        """Receive all messages of the source. The time begins when they are requested."""

        async def body(client: Client) -> Sample:
            await client.subscribe(b"b.>")
            seen = 0
            with Span() as span:
                await client.publish(b"b.go", b"%d" % count)
                async for message in client:
                    seen += len(message.data) > 0
                    if seen == count:
                        break
            return rate(span, count)

        return self._run(port, body)

    def echo(self, port: int, count: int) -> Sample:
        """Publish to a subject that the connection is subscribed to, and receive everything."""

        async def body(client: Client) -> Sample:
            await client.subscribe(b"b.a")
            payload = b"x" * 128

            async def push() -> None:
                for _ in range(count):
                    await client.publish(b"b.a", payload)

            async def pop() -> None:
                for _ in range(count):
                    await anext(client)

            with Span() as span:
                await asyncio.gather(push(), pop())
            return rate(span, count)

        return self._run(port, body)

    def request(self, port: int, count: int, flights: int) -> Sample:
        """Requests: the median time of one at a time, or the rate of concurrent ones."""

        async def body(client: Client) -> Sample:
            seconds: list[float] = []
            payload = b"x" * 128

            async def ask() -> None:
                for _ in range(count // flights):
                    begun = time.perf_counter()
                    await client.request(b"b.a", payload)
                    seconds.append(time.perf_counter() - begun)

            with Span() as span:
                await asyncio.gather(*[ask() for _ in range(flights)])
            return median(span, seconds) if flights == 1 else rate(span, len(seconds))

        return self._run(port, body)
