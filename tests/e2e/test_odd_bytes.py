"""Bytes that other clients may publish reach a queue unchanged, and do not break its connection.

nats-server relays every byte except space, tab and line feed in a subject or a reply. When it reads
a line in two pieces it drops carriage returns, so lines that contain one are sent one at a time.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from nasq import Disconnected, NASQueue, NoRespondersError, Reconnected
from nasq_proto import InvalidSubjectError, Notice, encode
from nasq_proto.events import Connect
from tests.conftest import Kit
from tests.e2e.tools import run_blocking


class RawClient:
    """A client that validates nothing."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._socket = socket.create_connection((kit.server.host, kit.server.port), timeout=10.0)
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
        self._send(encode(Connect(options)))

    async def send(self, stream: bytes) -> None:
        """Send `stream`; return when the server has processed all of it."""
        await run_blocking(self._kit, lambda: self._send(stream))

    def _send(self, stream: bytes) -> None:
        self._socket.sendall(stream + b"PING\r\n")
        received = b""
        while b"PONG\r\n" not in received:  # the server may send a PING of its own, before or after
            data = self._socket.recv(65536)
            assert data, f"the server closed the connection after {received!r}"
            received += data
        assert b"-ERR" not in received

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def raw_client(kit: Kit) -> Iterator[RawClient]:
    client = RawClient(kit)
    yield client
    client.close()


def text(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


async def check_connection(queue: NASQueue, notices: list[Notice]) -> None:
    """Check that the queue still works on its first connection."""
    await queue.push("after.wards", "x")
    message = await queue.pop(timeout=10.0)
    assert message is not None
    assert message.subject == "after.wards"
    assert queue.is_connected()
    assert [n for n in notices if isinstance(n, (Disconnected, Reconnected))] == []
    assert queue.stats().reconnects == 0


# All bytes except space, tab and line feed in short words, and some at each position of a word.
BYTES = [bytes([value]) for value in range(256) if value not in b" \t\n"]
SEPARATING = [*b"\r\v\f\0\x1c\x1d\x1e\x1f\x85"]
WORDS = [
    *(b"a%bb" % byte for byte in BYTES if byte != b"."),
    *(form % bytes([value]) for value in SEPARATING for form in (b"%b", b"%bb", b"b%b")),
    *(b"\r\r", b"\xc2\x85", b"\xe2\x80\xa8", b"\xc3\xbc", b"*", b">"),
]


@pytest.mark.parametrize("headers", [b"", b"NATS/1.0\r\nA: b\r\n\r\n"], ids=["PUB", "HPUB"])
async def test_odd_bytes_in_a_subject_are_kept(
    kit: Kit, raw_client: RawClient, headers: bytes
) -> None:
    """A lone CR in a subject was once read as whitespace: the payload went to subscription `b`."""
    notices: list[Notice] = []
    prefix = kit.namespace.encode() + b".odd."
    async with kit.queue(on_event=notices.append) as queue:
        await queue.subscribe_and_queue("odd.>")
        await queue.subscribe_and_queue("after.*")
        for word in WORDS:
            body = b"on " + word
            sizes = b"%d %d" % (len(headers), len(headers + body)) if headers else b"%d" % len(body)
            line = b"%b%b%b %b\r\n" % (b"HPUB " if headers else b"PUB ", prefix, word, sizes)
            await raw_client.send(line + headers + body + b"\r\n")
        for word in WORDS:
            message = await queue.pop(timeout=10.0)
            assert message is not None
            assert message.subject == "odd." + text(word)
            assert message.message == b"on " + word
            assert message.reply_to is None
            assert message.headers == ({"A": "b"} if headers else None)
        await check_connection(queue, notices)


@pytest.mark.parametrize("headers", [b"", b"NATS/1.0\r\nA: b\r\n\r\n"], ids=["PUB", "HPUB"])
async def test_odd_bytes_in_a_reply_are_kept(
    kit: Kit, raw_client: RawClient, headers: bytes
) -> None:
    """A lone CR in a reply was once read as whitespace, and the client closed the connection."""
    notices: list[Notice] = []
    subject = kit.namespace.encode() + b".jobs.x"
    words = [*WORDS, b"a..b", b".", b"a."]
    async with kit.queue(on_event=notices.append) as queue:
        await queue.subscribe_and_queue("jobs.*")
        await queue.subscribe_and_queue("after.*")
        for word in words:
            body = b"asked by " + word
            sizes = b"%d %d" % (len(headers), len(headers + body)) if headers else b"%d" % len(body)
            line = b"%b%b _INBOX.%b %b\r\n" % (
                b"HPUB " if headers else b"PUB ",
                subject,
                word,
                sizes,
            )
            await raw_client.send(line + headers + body + b"\r\n")
        for word in words:
            message = await queue.pop(timeout=10.0)
            assert message is not None
            assert message.subject == "jobs.x"
            assert message.message == b"asked by " + word
            assert message.reply_to == "_INBOX." + text(word)
        await check_connection(queue, notices)


async def test_many_lines_with_odd_bytes_in_one_chunk_are_read(
    kit: Kit, raw_client: RawClient
) -> None:
    """Repeated lines take another path through the decoder."""
    notices: list[Notice] = []
    subject = kit.namespace.encode() + b".odd.\va\fb\0"
    async with kit.queue(on_event=notices.append) as queue:
        await queue.subscribe_and_queue("odd.*")
        await queue.subscribe_and_queue("after.*")
        bodies = [b"%05d" % number for number in range(500)]
        frames = b"".join(b"PUB %b 5\r\n%b\r\n" % (subject, body) for body in bodies)
        await raw_client.send(frames)
        for body in bodies:
            message = await queue.pop(timeout=10.0)
            assert message is not None
            assert (message.subject, message.message) == ("odd.\va\fb\0", body)
        await check_connection(queue, notices)


@pytest.mark.parametrize("char", ["\v", "\f", "\r", "\0", "\n", "\t", " "])
async def test_a_caller_may_not_use_whitespace_or_nul(kit: Kit, char: str) -> None:
    async with kit.queue() as queue:
        for bad in (f"a{char}b", char, f"{char}a", f"a{char}"):
            with pytest.raises(InvalidSubjectError):
                await queue.push(bad, "x")
            with pytest.raises(InvalidSubjectError):
                await queue.publish("a", "x", reply_to=bad)
            with pytest.raises(InvalidSubjectError):
                await queue.subscribe_and_queue(bad)
            with pytest.raises(InvalidSubjectError):
                await queue.subscribe_and_queue("a", queue_group=bad)
            with pytest.raises(InvalidSubjectError):
                kit.queue(namespace=bad)
        assert queue.is_connected()
        assert queue.queue_size() == 0


@pytest.mark.parametrize("headers", [None, {"A": "b"}], ids=["no headers", "headers"])
async def test_a_request_that_exceeds_the_control_line_limit_is_refused(
    kit: Kit, headers: dict[str, str] | None
) -> None:
    """The server closes the connection after a control line of more than 4096 bytes."""
    notices: list[Notice] = []
    async with kit.queue(on_event=notices.append) as queue:
        await queue.subscribe_and_queue("after.*")
        outcomes: list[type[Exception]] = []
        start = 4000 - len(kit.namespace)
        for length in range(start, start + 90):
            with pytest.raises((InvalidSubjectError, NoRespondersError)) as caught:
                await queue.request("a" * length, "x", headers=headers, timeout=10.0)
            outcomes.append(caught.type)
        # Requests on the shorter subjects are sent, those on the longer ones refused.
        refused = outcomes.index(InvalidSubjectError)
        assert outcomes == [NoRespondersError] * refused + [InvalidSubjectError] * (90 - refused)
        assert refused > 10
        await check_connection(queue, notices)
