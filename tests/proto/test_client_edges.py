"""Cases that involve two parts of the client. Each was once a fault that no test found."""

from __future__ import annotations

from typing import Any

import pytest

from nasq_proto import (
    Closed,
    ConnectionLostError,
    Disconnected,
    Err,
    Head,
    Inbox,
    InvalidSubjectError,
    NASQError,
    NoRespondersError,
    Overflow,
    PayloadTooLargeError,
    PermissionsViolationError,
    Ping,
    Pub,
    Reconnected,
    ServerErrorReceived,
    SlowConsumer,
    Unsub,
    encode_headers,
)
from nasq_proto.output import ControlFrame, LivenessFrame, Output
from nasq_proto.testing import Broker

from .test_client import Rig


def blocked(rig: Rig, broker: Broker) -> Inbox:
    """Return an inbox of this client that is full and has stopped the reading."""
    inbox = Inbox(1, None, Overflow.BLOCK)
    rig.client.watch(inbox)
    rig.connect()
    rig.client.subscribe("a", None, inbox.deliver)
    rig.link.pump()
    for _ in range(2):
        broker.route(Pub("a", b"x"), rig.session)
    rig.link.pump()
    assert not rig.client.wants_read
    return inbox


def test_an_inbox_that_is_no_longer_watched_does_not_stop_reading() -> None:
    broker = Broker()
    rig = Rig(broker)
    inbox = blocked(rig, broker)
    rig.client.unwatch(inbox)
    assert rig.client.wants_read
    with pytest.raises(ValueError, match="not in list"):
        rig.client.unwatch(inbox)


def test_drops_of_an_inbox_that_is_no_longer_watched_are_still_reported() -> None:
    broker = Broker()
    rig = Rig(broker)
    first, second = Inbox(1), Inbox(1)
    for inbox in (first, second):
        rig.client.watch(inbox)
    rig.connect()
    for name, inbox in (("a", first), ("b", second)):
        rig.client.subscribe(name, None, inbox.deliver)
    rig.link.pump()
    for name in ("a", "a", "a", "b", "b"):
        broker.route(Pub(name, b"x"), rig.session)
        rig.link.pump()
    rig.client.unwatch(first)
    rig.link.advance(2.0)
    broker.route(Pub("b", b"x"), rig.session)
    rig.link.pump()
    reports = [n for n in rig.client.take_notices() if isinstance(n, SlowConsumer)]
    assert sum(report.dropped for report in reports) == reports[-1].total == 4


def test_a_connection_is_not_stale_while_the_client_does_not_read() -> None:
    """While the client does not read, a missing PONG does not mean that the server is gone."""
    broker = Broker()
    rig = Rig(broker, ping_interval=5.0, max_pings_out=1)
    inbox = blocked(rig, broker)
    pings = len(rig.received(Ping))
    session = rig.session
    session.mute = True  # as if the client did not read the PONGs
    for _ in range(10):
        due = rig.client.next_timeout()
        assert due is not None
        rig.link.advance(due - rig.link.now)
    assert rig.client.is_connected
    assert len(rig.received(Ping)) == pings, "no PINGs are sent while their PONGs are not read"
    # When the client reads again, missing PONGs count again.
    inbox.clear()
    assert rig.client.wants_read
    session.mute = False
    rig.link.advance(6.0)
    assert len(rig.received(Ping)) == pings + 1
    assert rig.client.is_connected
    session.mute = True
    rig.link.advance(11.0)
    assert any(isinstance(notice, Disconnected) for notice in rig.client.take_notices())


def test_drain_receives_pending_replies() -> None:
    broker = Broker()
    service, rig = Rig(broker).connect(), Rig(broker).connect()
    service.subscribe("svc")
    rig.subscribe("a")
    request = rig.client.request("svc", b"question")
    rig.link.pump()
    service.link.pump()
    drained = rig.client.drain()
    later = rig.client.request("svc", b"another")
    rig.link.pump()
    service.link.pump()
    assert drained.done
    for head, _, _ in service.inbox.items:
        assert head.reply is not None
        service.client.publish_raw(head.reply, b"answer")
    service.link.pump()
    rig.link.pump()
    assert [op.result()[1] for op in (request, later)] == [b"answer"] * 2
    assert len(rig.received(Unsub)) == 1, "only the subscription to a ends, not that to replies"


def test_an_earlier_refused_publish_is_not_the_reason_for_a_loss() -> None:
    rig = Rig(Broker(deny_publish=("secret",))).connect()
    rig.client.publish("secret", b"x")
    rig.link.pump()
    refused = rig.client.take_notices()[-1]
    assert isinstance(refused, ServerErrorReceived)
    assert isinstance(refused.error, PermissionsViolationError)
    rig.session.close()
    rig.link.advance(2.0)
    (lost, again) = rig.client.take_notices()
    assert isinstance(lost, Disconnected)
    assert type(lost.error) is ConnectionLostError
    assert isinstance(again, Reconnected)


def test_an_invalid_request_leaves_no_pending_reply() -> None:
    rig = Rig(Broker(info={"headers": False, "max_payload": 10})).connect()
    attempts: list[tuple[Any, ...]] = [
        ("svc", b"x" * 11),
        ("svc", b"x", {"k": "v"}),
        ("svc.*", b"x"),
        ("", b"x"),
    ]
    for attempt in attempts:
        with pytest.raises(NASQError):
            rig.client.request(*attempt)
    with pytest.raises(TypeError):
        rig.client.request("svc", "no bytes")  # type: ignore[arg-type]  # what is refused
    assert " 0 requests," in repr(rig.client)


def test_a_request_that_does_not_fit_the_buffer_leaves_no_pending_reply() -> None:
    rig = Rig(reconnect_buffer=60).connect()
    rig.link.refuse = OSError("down")
    rig.link.cut()
    with pytest.raises(NASQError):
        rig.client.request("svc", b"x" * 100)
    assert " 0 requests," in repr(rig.client)


@pytest.mark.parametrize("headers", [True, False])
def test_connect_asks_for_no_responders_if_the_server_supports_headers(headers: bool) -> None:
    """A no-responders answer has a header block, so nats-server requires both options together."""
    rig = Rig(Broker(info={"headers": headers})).connect()
    assert rig.session.options["headers"] is headers
    assert rig.session.options["no_responders"] is headers


def test_unsent_publishes_with_headers_are_counted() -> None:
    rig = Rig().connect()
    rig.link.refuse = OSError("down")
    rig.link.cut()
    rig.client.publish("a", b"x", None, {"k": "v"})
    rig.client.publish("a", b"x", "reply", {"k": "v"})
    rig.client.publish("a", b"x")
    rig.client.take_notices()
    rig.client.close()
    assert rig.client.take_notices() == [Closed(None, 3)]
    assert rig.client.dropped_unsent == 3


@pytest.mark.parametrize("named", ["reply", "subject"])
def test_a_refusal_that_names_the_reply_subject_fails_the_request(named: str) -> None:
    """nats-server sends this to a user who may publish to svc, but not with this reply subject."""
    broker = Broker()
    service, rig = Rig(broker).connect(), Rig(broker).connect()
    service.subscribe("svc")
    other = rig.client.request("svc", b"1")
    request = rig.client.request("svc", b"2")
    rig.link.pump()
    reply = rig.received(Pub)[-1].reply
    text = {
        "reply": f'Permissions Violation for Publish with Reply of "{reply}"',
        "subject": f'Permissions Violation for Publish to "{reply}"',
    }[named]
    rig.client.take_notices()
    rig.session.say(Err(text))
    rig.link.pump()
    assert isinstance(request.error, PermissionsViolationError)
    assert not other.done, "only the request with that reply subject may fail"
    assert rig.client.take_notices() == [], "the caller gets the error, so it is not reported"
    assert rig.client.is_connected


def test_a_reply_with_status_503_and_a_payload_is_a_reply() -> None:
    """Only an empty message means no responders; with a payload it is the service's answer."""
    broker = Broker()
    service, rig = Rig(broker).connect(), Rig(broker).connect()
    service.subscribe("svc")
    requests = [rig.client.request("svc", b"x") for _ in range(2)]
    rig.link.pump()
    block = encode_headers({}, status="503")
    for pub, payload in zip(rig.received(Pub), (b"busy", b""), strict=True):
        broker.route(Pub(pub.reply, payload, None, block), rig.session)
    rig.link.pump()
    assert requests[0].result()[1] == block + b"busy"
    assert isinstance(requests[1].error, NoRespondersError)


def test_taking_a_message_wakes_every_waiter_for_room() -> None:
    """One large message may make room for many small ones."""
    inbox = Inbox(None, 100, Overflow.BLOCK)
    inbox.put(Head("a", b"1", None, 0, 100), b"x" * 100, 0.0)
    waiting = [inbox.room() for _ in range(3)]
    inbox.take()
    assert all(op.done for op in waiting)


def test_removing_a_frame_before_a_seal_keeps_later_frames_sealed() -> None:
    """The seal is a position in a list, so removing a frame before it must not move it."""
    output = Output(lambda size: None)
    limit = ControlFrame(b"UNSUB 1 5\r\n")
    output.add(ControlFrame(b"SUB a 1\r\n"))
    output.add(limit)
    output.add(LivenessFrame(b"PING\r\n"))
    output.seal()
    output.add(ControlFrame(b"SUB b 2\r\n"))
    output.take_back(limit)
    assert output.hand_over() == b"SUB a 1\r\nPING\r\n"
    assert output.hand_over() == b""
    output.keep_unsent()
    assert output.hand_over() == b"SUB b 2\r\n"


@pytest.mark.parametrize("headers", [None, {"Id": "7"}])
def test_publish_raw_sends_to_any_subject_from_the_wire(headers: dict[str, str] | None) -> None:
    rig = Rig().connect()
    rig.subscribe(">")
    subjects = [b"_INBOX.a.1", b"caf\xe9.\xff", "grüß".encode(), b"a*", b"a>b"]
    for granted in (False, True):
        if granted:
            rig.client.output.grant()
        for subject in subjects:
            rig.client.publish_raw(subject, b"x", headers)
        rig.link.pump()
        pubs = rig.received(Pub)[-len(subjects) :]
        assert [pub.subject.encode("utf-8", "surrogateescape") for pub in pubs] == subjects
        assert {pub.payload for pub in pubs} == {b"x"}
        assert all((pub.headers is None) is (headers is None) for pub in pubs)
    assert rig.client.output.messages_out == 2 * len(subjects)


@pytest.mark.parametrize(
    "subject", [b"", b"a.*", b"a..b", b".a", b"a.", b">", b"a\rb", b"x" * 5000]
)
def test_publish_raw_refuses_a_subject_that_nothing_can_be_published_to(subject: bytes) -> None:
    rig = Rig().connect()
    with pytest.raises(InvalidSubjectError):
        rig.client.publish_raw(subject, b"x")
    assert rig.client.output.messages_out == 0


def test_publish_raw_refuses_a_payload_that_is_too_large() -> None:
    rig = Rig().connect()
    rig.client.output.max_payload = 3
    rig.client.output.grant()
    with pytest.raises(PayloadTooLargeError):
        rig.client.publish_raw(b"a", b"four")


def test_publishers_are_not_cached_for_subjects_that_are_used_once() -> None:
    """Reply subjects are used once; caching them would evict busy subjects."""
    rig = Rig().connect()
    hot = rig.client.publisher("hot")
    for n in range(2500):
        rig.client.publish(f"_INBOX.{n}", b"")
        rig.client.publish_raw(b"_INBOX.%d" % n, b"")
    assert rig.client.publisher("hot") is hot
    assert len(rig.client._publishers) == 1
