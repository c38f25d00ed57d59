"""Measure round trips without a client: send the bytes of a request, and wait for its reply.

No client can be faster. The difference to this is what a client costs.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time

from .sample import Sample, Span, median, rate

_REQUEST = b"PUB b.a _INBOX.raw.1 128\r\n" + b"x" * 128 + b"\r\n"
_REPLY = b"MSG _INBOX.raw.1 1 128\r\n" + b"x" * 128 + b"\r\n"
_HELLO = b"CONNECT {}\r\nSUB _INBOX.raw.* 1\r\nPING\r\n"


def _greeted(port: int) -> socket.socket:
    """A connection whose subscription the server has confirmed."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(_HELLO)
    held = b""
    while not held.endswith(b"PONG\r\n"):
        held += sock.recv(4096)
    return sock


def on_a_socket(port: int, count: int) -> Sample:
    """Measure `send` and `recv` on a blocking socket."""
    seconds = []
    with _greeted(port) as sock, Span() as span:
        for _ in range(count):
            begun = time.perf_counter()
            sock.sendall(_REQUEST)
            left = len(_REPLY)
            while left:
                left -= len(sock.recv(4096))
            seconds.append(time.perf_counter() - begun)
    return median(span, seconds)


class _Replies(asyncio.Protocol):
    """Resolves `reply` when the expected number of bytes has arrived."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.reply: asyncio.Future[None] | None = None
        self.left = 0

    def data_received(self, data: bytes) -> None:
        if self.reply is None:
            if data.endswith(b"PONG\r\n"):
                self.ready.set()
            return
        self.left -= len(data)
        if not self.left:
            self.reply.set_result(None)


def on_asyncio(port: int, count: int) -> Sample:
    """Measure an asyncio Protocol with one future for each request."""

    async def main() -> Sample:
        loop = asyncio.get_running_loop()
        transport, replies = await loop.create_connection(_Replies, "127.0.0.1", port)
        transport.write(_HELLO)
        await replies.ready.wait()
        seconds = []
        with Span() as span:
            for _ in range(count):
                begun = time.perf_counter()
                replies.left = len(_REPLY)
                replies.reply = loop.create_future()
                transport.write(_REQUEST)
                await replies.reply
                seconds.append(time.perf_counter() - begun)
        transport.close()
        return median(span, seconds)

    return asyncio.run(main())


_THREADS = 100


def on_threads(port: int, count: int) -> Sample:
    """Measure a hundred threads that send and wait, and one that reads and wakes them."""
    waiting: dict[bytes, threading.Lock] = {}
    sending = threading.Lock()
    frame = len(_REPLY) - len(b"MSG _INBOX.raw.1")  # the part after the subject

    def read() -> None:
        held = b""
        while data := sock.recv(1 << 18):
            held += data
            at = 0
            while (end := held.find(b" 1 128\r\n", at)) >= 0 and end + frame <= len(held):
                waiting.pop(held[at + 4 : end]).release()
                at = end + frame
            held = held[at:]

    def ask(number: int) -> None:
        reply = b"_INBOX.raw.%d" % number
        request = b"PUB b.a %b 128\r\n%b\r\n" % (reply, b"x" * 128)
        asleep = threading.Lock()
        asleep.acquire()
        for _ in range(count // _THREADS):
            waiting[reply] = asleep
            with sending:
                sock.sendall(request)
            asleep.acquire()

    with _greeted(port) as sock:
        threads = [threading.Thread(target=ask, args=(n,)) for n in range(_THREADS)]
        reader = threading.Thread(target=read)
        reader.start()
        with Span() as span:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        sock.shutdown(socket.SHUT_RDWR)
        reader.join()
    return rate(span, count // _THREADS * _THREADS)


RAW = {"raw socket": on_a_socket, "raw asyncio": on_asyncio, "raw threads": on_threads}
