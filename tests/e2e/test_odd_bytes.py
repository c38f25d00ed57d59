"""What any other client may publish reaches a queue as it is, and harms no connection.

nats-server relays every byte but blank, tab and line feed in a subject or a reply. From a line that
it reads in two pieces it drops the carriage returns, so lines with one are sent one at a time.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from nasq import Disconnected, NASQueue, NoRespondersError, Reconnected
from nasq_proto import InvalidSubjectError, Notice, encode
from nasq_proto.events import Connect
from tests.conftest import Kit
from tests.e2e.tools import beside


class Fellow:
    """A client that checks nothing."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._socket = socket.create_connection((kit.server.host, kit.server.port), timeout=10.0)
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
        self._say(encode(Connect(options)))

    async def say(self, stream: bytes) -> None:
        """Send it; return when the server has dealt with all of it."""
        await beside(self._kit, lambda: self._say(stream))

    def _say(self, stream: bytes) -> None:
        self._socket.sendall(stream + b"PING\r\n")
        said = b""
        while b"PONG\r\n" not in said:  # the server may ask for one itself, before or after
            data = self._socket.recv(65536)
            assert data, f"the server hung up, having said {said!r}"
            said += data
        assert b"-ERR" not in said

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def fellow(kit: Kit) -> Iterator[Fellow]:
    client = Fellow(kit)
    yield client
    client.close()


def text(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


async def nothing_broke(queue: NASQueue, notices: list[Notice]) -> None:
    """The connection is the one that it was, and still works."""
    await queue.push("after.wards", "x")
    message = await queue.pop(timeout=10.0)
    assert message is not None
    assert message.subject == "after.wards"
    assert queue.is_connected()
    assert [n for n in notices if isinstance(n, (Disconnected, Reconnected))] == []
    assert queue.stats().reconnects == 0


# All bytes but blank, tab and line feed, in words that are short, and in every place of a word.
BYTES = [bytes([value]) for value in range(256) if value not in b" \t\n"]
SEPARATING = [*b"\r\v\f\0\x1c\x1d\x1e\x1f\x85"]
WORDS = [
    *(b"a%bb" % byte for byte in BYTES if byte != b"."),
    *(form % bytes([value]) for value in SEPARATING for form in (b"%b", b"%bb", b"b%b")),
    *(b"\r\r", b"\xc2\x85", b"\xe2\x80\xa8", b"\xc3\xbc", b"*", b">"),
]


@pytest.mark.parametrize("headers", [b"", b"NATS/1.0\r\nA: b\r\n\r\n"], ids=["PUB", "HPUB"])
async def test_odd_bytes_in_a_subject_reach_their_subscription(
    kit: Kit, fellow: Fellow, headers: bytes
) -> None:
    """A lone CR in a subject was read as a blank: the payload went to subscription `b`."""
    notices: list[Notice] = []
    prefix = kit.namespace.encode() + b".odd."
    async with kit.queue(on_event=notices.append) as queue:
        await queue.subscribe_and_queue("odd.>")
        await queue.subscribe_and_queue("after.*")
        for word in WORDS:
            body = b"on " + word
            sizes = b"%d %d" % (len(headers), len(headers + body)) if headers else b"%d" % len(body)
            line = b"%b%b%b %b\r\n" % (b"HPUB " if headers else b"PUB ", prefix, word, sizes)
            await fellow.say(line + headers + body + b"\r\n")
        for word in WORDS:
            message = await queue.pop(timeout=10.0)
            assert message is not None
            assert message.subject == "odd." + text(word)
            assert message.message == b"on " + word
            assert message.reply_to is None
            assert message.headers == ({"A": "b"} if headers else None)
        await nothing_broke(queue, notices)


@pytest.mark.parametrize("headers", [b"", b"NATS/1.0\r\nA: b\r\n\r\n"], ids=["PUB", "HPUB"])
async def test_odd_bytes_in_a_reply_arrive_as_they_are(
    kit: Kit, fellow: Fellow, headers: bytes
) -> None:
    """A lone CR in a reply was read as a blank, and the connection given up."""
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
            await fellow.say(line + headers + body + b"\r\n")
        for word in words:
            message = await queue.pop(timeout=10.0)
            assert message is not None
            assert message.subject == "jobs.x"
            assert message.message == b"asked by " + word
            assert message.reply_to == "_INBOX." + text(word)
        await nothing_broke(queue, notices)


async def test_many_odd_lines_at_once(kit: Kit, fellow: Fellow) -> None:
    """Lines that repeat are read by another part of the decoder."""
    notices: list[Notice] = []
    subject = kit.namespace.encode() + b".odd.\va\fb\0"
    async with kit.queue(on_event=notices.append) as queue:
        await queue.subscribe_and_queue("odd.*")
        await queue.subscribe_and_queue("after.*")
        bodies = [b"%05d" % number for number in range(500)]
        frames = b"".join(b"PUB %b 5\r\n%b\r\n" % (subject, body) for body in bodies)
        await fellow.say(frames)
        for body in bodies:
            message = await queue.pop(timeout=10.0)
            assert message is not None
            assert (message.subject, message.message) == ("odd.\va\fb\0", body)
        await nothing_broke(queue, notices)


@pytest.mark.parametrize("mark", ["\v", "\f", "\r", "\0", "\n", "\t", " "])
async def test_a_caller_gives_no_whitespace_and_no_nul(kit: Kit, mark: str) -> None:
    async with kit.queue() as queue:
        for bad in (f"a{mark}b", mark, f"{mark}a", f"a{mark}"):
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
async def test_a_request_on_the_longest_subject_is_sent_or_refused(
    kit: Kit, headers: dict[str, str] | None
) -> None:
    """With its reply, a control line of more than 4096 bytes makes the server hang up."""
    notices: list[Notice] = []
    async with kit.queue(on_event=notices.append) as queue:
        await queue.subscribe_and_queue("after.*")
        outcomes: list[type[Exception]] = []
        start = 4000 - len(kit.namespace)
        for length in range(start, start + 90):
            with pytest.raises((InvalidSubjectError, NoRespondersError)) as caught:
                await queue.request("a" * length, "x", headers=headers, timeout=10.0)
            outcomes.append(caught.type)
        # The short ones are sent, the long ones refused.
        refused = outcomes.index(InvalidSubjectError)
        assert outcomes == [NoRespondersError] * refused + [InvalidSubjectError] * (90 - refused)
        assert refused > 10
        await nothing_broke(queue, notices)
