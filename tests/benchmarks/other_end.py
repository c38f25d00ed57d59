"""A server for the benchmarks that sends pre-encoded frames, so it is faster than every client.

    python -m tests.benchmarks.other_end sink|source|echo [name of the traffic]

It prints its port, and serves one client after another until it is killed. `sink` drops all
messages and answers PING. `source` repeats the traffic until it has sent the number of messages
that a publish to `go` names. `echo` answers every request with the request's payload.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

INFO = (
    b'INFO {"server_id":"BENCH","version":"2.12.0","go":"","host":"127.0.0.1","port":4222,'
    b'"headers":true,"max_payload":8388608}\r\n'
)
# Bytes that the source sends at a time.
BLOCK = 256 * 1024


def frames(traffic: str, sid: bytes) -> list[bytes]:
    """The traffic once, for the subscription `sid`."""
    if traffic == "uniform":
        return [b"MSG b.a %b 128\r\n%b\r\n" % (sid, b"x" * 128)]
    if traffic == "large":
        return [b"MSG b.a %b 65536\r\n%b\r\n" % (sid, b"x" * 65536)]
    if traffic == "unique":
        return [b"MSG b.%d %b 128\r\n%b\r\n" % (n, sid, b"x" * 128) for n in range(20_000)]
    if traffic == "headers":
        block = b"NATS/1.0\r\nTrace: 0123456789\r\nKind: order\r\n\r\n"
        size = len(block) + 128
        return [b"HMSG b.a %b %d %d\r\n%b%b\r\n" % (sid, len(block), size, block, b"x" * 128)]
    if traffic == "requests":
        reply = b"_INBOX.AbCdEfGhIjKlMnOpQrStUv"
        return [
            b"MSG b.a %b %b.%d 128\r\n%b\r\n" % (sid, reply, n, b"x" * 128) for n in range(20_000)
        ]
    sizes = [40 + 13 * n % 180 for n in range(60)]
    return [
        b"MSG b.%b %b %d\r\n%b\r\n" % (name, sid, size, b"x" * size)
        for n, size in enumerate(sizes)
        for name in (b"orders.new", b"orders.paid", b"log", b"a.b.c.d")[n % 4 : n % 4 + 1]
    ]


def sink(sock: socket.socket, traffic: str) -> None:
    """Drop everything. A PING is the last frame of a client's write."""
    while data := sock.recv(1 << 20):
        pings = data.count(b"PING\r\n")
        if pings:
            sock.sendall(b"PONG\r\n" * pings)


def source(sock: socket.socket, traffic: str) -> None:
    """Encode the messages for the first SUB before its PING is answered, and send them on `go`."""
    held = b""
    one_round: list[bytes] = []
    while data := sock.recv(65536):
        held += data
        if not one_round and (match := re.search(rb"SUB \S+ +(?:\S+ )?(\d+)\r\n", held)):
            one_round = frames(traffic, match[1])
            rounds = max(1, BLOCK // sum(map(len, one_round)))
            block = b"".join(one_round) * rounds
        sock.sendall(b"PONG\r\n" * data.count(b"PING\r\n"))
        match = re.search(rb"PUB \S*go +\d+\r\n(\d+)\r\n", held)
        held = held[-4096:]  # a client that responds keeps sending
        if match:
            held = b""
            blocks, left = divmod(int(match[1]), len(one_round) * rounds)
            for _ in range(blocks):
                sock.sendall(block)
            full, rest = divmod(left, len(one_round))
            sock.sendall(b"".join(one_round) * full + b"".join(one_round[:rest]))


def echo(sock: socket.socket, traffic: str) -> None:
    """Answer each request."""
    held, sid = b"", b"1"
    request = re.compile(rb"PUB \S+ (\S+) (\d+)\r\n").match
    while data := sock.recv(1 << 20):
        held += data
        out = []
        at = 0
        while True:
            if match := request(held, at):
                reply, size = match.groups()
                start = match.end()
                stop = start + int(size) + 2
                if stop > len(held):
                    break
                out.append(b"MSG %b %b %b\r\n%b" % (reply, sid, size, held[start:stop]))
                at = stop
                continue
            end = held.find(b"\r\n", at)
            if end < 0:
                break
            line = held[at:end]
            if line == b"PING":
                out.append(b"PONG\r\n")
            elif line.startswith(b"SUB "):
                sid = line.split()[-1]
            at = end + 2
        held = held[at:]
        if out:
            sock.sendall(b"".join(out))


KINDS: dict[str, Callable[[socket.socket, str], None]] = {
    "sink": sink,
    "source": source,
    "echo": echo,
}


def main() -> None:
    """Listen, print the port, and serve clients."""
    serve, traffic = KINDS[sys.argv[1]], (sys.argv[2:] or ["uniform"])[0]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            sock, _ = listener.accept()
            with sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.sendall(INFO)
                with suppress(OSError):
                    serve(sock, traffic)


if __name__ == "__main__":
    main()
