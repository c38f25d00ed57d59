"""Requests with one reply and with many, over the inbox of one client."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasq_proto import (
    ClientOptions,
    ConnectionLostError,
    Head,
    InvalidHeaderError,
    InvalidOptionError,
    NoRespondersError,
    PendingReply,
    Server,
    encode_headers,
    parse_headers,
    status_of,
)

from .test_client import Rig


class Parts:
    """Takes replies until an empty one."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.times: list[float] = []

    def __call__(self, head: Head, body: bytes, now: float) -> bool:
        self.bodies.append(body)
        self.times.append(now)
        return not body


def ask(rig: Rig, parts: Parts) -> PendingReply:
    return rig.client.request("svc", b"?", take=parts)


def reply_subjects(rig: Rig) -> list[str]:
    """Where the requests that the service has received want their replies."""
    rig.link.pump()
    return [(head.reply or b"").decode() for head, _, _ in rig.inbox.items]


def respond(rig: Rig, subject: str, *bodies: bytes) -> None:
    for body in bodies:
        rig.client.publish(subject, body)
    rig.link.pump()


@pytest.mark.parametrize("chop", [None, 1])
def test_a_request_takes_replies_until_its_callback_has_enough(chop: int | None) -> None:
    rig = Rig(chop=chop).connect()
    rig.subscribe("svc")
    parts = Parts()
    pending = ask(rig, parts)
    (inbox,) = reply_subjects(rig)
    respond(rig, inbox, b"one", b"two")
    assert (parts.bodies, pending.done) == ([b"one", b"two"], False)
    rig.link.advance(1.0)
    respond(rig, inbox, b"three", b"", b"late")
    assert parts.bodies == [b"one", b"two", b"three", b""]
    assert parts.times == sorted(parts.times)
    assert parts.times[-1] >= parts.times[0] + 1.0
    _, body, now = pending.result()
    assert (body, now) == (b"", parts.times[-1])
    assert rig.client.unrouted == 1
    assert " 0 requests," in repr(rig.client)


def test_requests_with_one_reply_and_with_many_share_the_inbox() -> None:
    rig = Rig().connect()
    rig.subscribe("svc")
    many = [Parts(), Parts()]
    waiting = [ask(rig, many[0]), rig.client.request("svc", b"?"), ask(rig, many[1])]
    first, one, second = reply_subjects(rig)
    assert len(rig.client.subscriptions) == 2
    respond(rig, second, b"s1")
    respond(rig, first, b"f1")
    respond(rig, one, b"o1", b"o2")
    respond(rig, first, b"")
    respond(rig, second, b"s2", b"")
    assert [parts.bodies for parts in many] == [[b"f1", b""], [b"s1", b"s2", b""]]
    assert [op.result()[1] for op in waiting] == [b"", b"o1", b""]
    assert rig.client.unrouted == 1


def test_no_responders_ends_a_request_with_many_replies() -> None:
    rig = Rig().connect()
    parts = Parts()
    pending = ask(rig, parts)
    rig.link.pump()
    assert isinstance(pending.error, NoRespondersError)
    assert str(pending.error) == "no responders on 'svc': nobody subscribes to it"
    assert parts.bodies == []


def test_a_lost_connection_ends_a_request_in_the_middle_of_its_replies() -> None:
    rig = Rig().connect()
    rig.subscribe("svc")
    parts = Parts()
    pending = ask(rig, parts)
    (inbox,) = reply_subjects(rig)
    respond(rig, inbox, b"one")
    rig.link.cut()
    assert isinstance(pending.error, ConnectionLostError)
    rig.link.advance(1.0)
    respond(rig, inbox, b"two")
    assert parts.bodies == [b"one"]


def test_a_request_made_while_disconnected_gets_its_replies_on_the_next_connection() -> None:
    rig = Rig().connect()
    rig.subscribe("svc")
    rig.link.cut()
    parts = Parts()
    pending = ask(rig, parts)
    rig.link.advance(1.0)
    (inbox,) = reply_subjects(rig)
    respond(rig, inbox, b"one", b"")
    assert (parts.bodies, pending.done) == ([b"one", b""], True)


def test_an_abandoned_request_takes_no_more_replies() -> None:
    rig = Rig().connect()
    rig.subscribe("svc")
    parts = Parts()
    pending = ask(rig, parts)
    (inbox,) = reply_subjects(rig)
    respond(rig, inbox, b"one")
    rig.client.abandon(pending)
    respond(rig, inbox, b"two")
    assert parts.bodies == [b"one"]


def test_the_callback_may_abandon_its_own_request() -> None:
    rig = Rig().connect()
    rig.subscribe("svc")

    def take(head: Head, body: bytes, now: float) -> bool:
        rig.client.abandon(pending)
        return True

    pending = rig.client.request("svc", b"?", take=take)
    (inbox,) = reply_subjects(rig)
    respond(rig, inbox, b"one", b"two")
    assert pending.result()[1] == b"one"
    assert rig.client.unrouted == 1


# ------------------------------------------------------------------ the inbox


@pytest.mark.parametrize("prefix", ["_INBOX", "_INBOX_user", "replies.eu", "grüße"])
def test_the_prefix_of_the_inbox_is_an_option(prefix: str) -> None:
    rig = Rig(inbox_prefix=prefix).connect()
    rig.subscribe("svc")
    pending = rig.client.request("svc", b"?")
    (inbox,) = reply_subjects(rig)
    assert inbox.startswith(prefix + ".")
    assert len(inbox) == len(prefix) + 1 + 22 + 2
    respond(rig, inbox, b"yes")
    assert pending.result()[1] == b"yes"


@pytest.mark.parametrize(
    ("prefix", "error", "words"),
    [
        (b"a", TypeError, "inbox_prefix must be a str, not bytes"),
        ("", InvalidOptionError, "inbox_prefix is empty"),
        ("a.", InvalidOptionError, "inbox_prefix 'a.'"),
        (".a", InvalidOptionError, "inbox_prefix '.a'"),
        ("a..b", InvalidOptionError, "inbox_prefix 'a..b'"),
        ("a b", InvalidOptionError, "inbox_prefix 'a b'"),
        ("a.*", InvalidOptionError, "inbox_prefix 'a.*'"),
        ("a.>", InvalidOptionError, "inbox_prefix 'a.>'"),
        ("$SYS.a", InvalidOptionError, "those subjects belong to the server"),
        ("a" * 129, InvalidOptionError, "at most 128 bytes as UTF-8, not 129"),
    ],
)
def test_a_prefix_that_no_inbox_can_have_is_refused(
    prefix: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        ClientOptions([Server("a", 1)], inbox_prefix=prefix).check()
    assert words in str(caught.value)


def test_each_open_draws_a_new_inbox() -> None:
    rig = Rig()
    seen: list[str] = []
    for _ in range(2):
        rig.connect()
        rig.subscribe("svc")
        rig.client.request("svc", b"?")
        seen += reply_subjects(rig)[-1:]
        rig.link.cut()
        rig.link.advance(1.0)
        rig.client.request("svc", b"?")
        seen += reply_subjects(rig)[-1:]
        rig.client.close()
        rig.link.pump()
    inboxes = [subject.rpartition(".")[0] for subject in seen]
    assert inboxes[0] == inboxes[1], "the same one after a reconnect"
    assert inboxes[2] == inboxes[3] != inboxes[0]


def test_open_can_replace_the_source_of_randomness() -> None:
    def inbox(seed: int) -> str:
        rig = Rig()
        rig.client.open(0.0, rng=random.Random(seed))
        rig.link.pump()
        rig.subscribe("svc")
        rig.client.request("svc", b"?")
        return reply_subjects(rig)[0]

    assert inbox(5) == inbox(5) != inbox(6)


# ------------------------------------------------------------------ the status


@given(
    st.binary(max_size=40)
    | st.builds(
        lambda line, rest: b"NATS/1.0" + line + b"\r\n" + rest + b"\r\n",
        st.text(" \t\r\n035ax\x7f\xe9", max_size=8).map(str.encode),
        st.sampled_from((b"", b"A: b\r\n", b"broken\r\n")),
    )
)
def test_status_of_agrees_with_the_parser(block: bytes) -> None:
    try:
        status = parse_headers(block).status
    except InvalidHeaderError:
        return
    assert status_of(block) == status.encode()


def test_status_of_reads_an_encoded_status() -> None:
    generator = random.Random(1)
    for _ in range(100):
        status = "".join(chr(generator.randint(33, 126)) for _ in range(3))
        block = encode_headers({"A": "b"}, status=status, description="why")
        assert status_of(block) == status.encode()
    assert status_of(encode_headers({"A": "NATS/1.0 503"})) == b""
    assert status_of(b"NATS/1.0 5034\r\n\r\n") == b""
