"""The output contains the same frames whether they were added on credit or not."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasq_proto import InvalidSubjectError, PayloadTooLargeError, Pub, Sub, Unsub, encode
from nasq_proto.encoder import PING, PONG
from nasq_proto.output import (
    COST,
    CREDIT,
    HIGH_WATER,
    NO_LIMIT,
    ControlFrame,
    LivenessFrame,
    Output,
)
from nasq_proto.publisher import Publisher, request_on_credit
from nasq_proto.replies import PendingReply, Replies
from nasq_proto.subscriptions import Subscriptions

from .test_client import Rig

SUB = encode(Sub("a", "1"))
UNSUB = encode(Unsub("1", 2))


class NoRoomError(Exception):
    """The error that this output raises when it is full."""


def refuse(size: int) -> None:
    raise NoRoomError(size)


def an_output(room: int = NO_LIMIT) -> Output:
    output = Output(refuse)
    output.limit = room
    return output


def pending(reply: str = "r") -> PendingReply:
    return PendingReply("a", reply)


class Route:
    """A route whose messages are not kept."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self.lines = publisher.lines
        self.local = None


def contained(output: Output, thing: object) -> bool:
    if isinstance(thing, PendingReply):
        return output.contains_request(thing)
    assert isinstance(thing, ControlFrame)
    return output.contains(thing)


def take_back(output: Output, thing: object) -> None:
    if isinstance(thing, PendingReply):
        output.take_back_request(thing)
    else:
        assert isinstance(thing, ControlFrame)
        output.take_back(thing)


class Model:
    """The expected contents: the kind and bytes of each frame, and the object that was added."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, bytes, object]] = []
        self.sealed: int | None = None
        self.messages = 0
        self.size = 0

    def add(self, kind: str, data: bytes, thing: object = None, size: int | None = None) -> None:
        self.frames.append((kind, data, thing))
        if size is not None:
            self.messages += 1
            self.size += size

    def lose_request(self, request: PendingReply) -> None:
        assert request.line is not None
        self.messages -= 1
        self.size -= int(request.line.split()[-1])

    def remove(self, index: int) -> None:
        kind, _, thing = self.frames.pop(index)
        if self.sealed is not None and index < self.sealed:
            self.sealed -= 1
        if kind == "request":
            assert isinstance(thing, PendingReply)
            self.lose_request(thing)

    @property
    def data(self) -> bytes:
        return b"".join(data for _, data, _ in self.frames)


# Payloads that look like frames, and the frame objects themselves.
payloads = st.sampled_from([b"", b"x", b"hello", PING, PONG, UNSUB, b"PUB a 3\r\n", b"\r\n"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), payloads),
        st.tuples(st.just("request"), payloads),
        st.tuples(st.just("many"), st.lists(payloads, min_size=1, max_size=3)),
        st.tuples(st.sampled_from(["grant", "revoke", "take", "ping", "sub", "unsub"]), st.none()),
        st.tuples(st.sampled_from(["first", "lost", "count", "seal"]), st.none()),
        st.tuples(st.just("take back"), st.integers(0, 8)),
    ),
    max_size=14,
)


@given(steps)
def test_the_output_behaves_the_same_with_and_without_credit(
    script: list[tuple[str, object]],
) -> None:
    output = an_output()
    publisher = Publisher(output, "a")
    model = Model()
    handed_over: list[ControlFrame | PendingReply] = []
    for name, what in script:
        empty = not output.frames
        if name == "publish":
            assert isinstance(what, bytes)
            assert publisher.publish(what) is empty
            model.add("publish", encode(Pub("a", what)), size=len(what))
        elif name == "request":
            assert isinstance(what, bytes)
            request = pending()
            assert publisher.request(what, request) is empty
            model.add("request", encode(Pub("a", what, "r")), request, size=len(what))
        elif name == "many":
            assert isinstance(what, list)
            assert output.accepts(what)
            assert publisher.publish_many(what) is empty
            for payload in what:
                model.add("publish", encode(Pub("a", payload)), size=len(payload))
        elif name == "ping":
            assert output.add(LivenessFrame(PING)) is empty
            model.add("ping", PING)
        elif name in ("sub", "unsub"):
            frame = ControlFrame(SUB if name == "sub" else UNSUB)
            assert output.add(frame) is empty
            model.add("control", frame, frame)
        elif name == "grant" and output.frames:  # credit is granted only when a `take` follows
            output.grant()
        elif name == "revoke":
            output.revoke()
            assert not output.credit
        elif name == "take back":
            assert isinstance(what, int)
            found = [i for i, one in enumerate(model.frames) if one[0] in ("control", "request")]
            if found:
                index = found[what % len(found)]
                thing = model.frames[index][2]
                assert contained(output, thing)
                take_back(output, thing)
                assert not contained(output, thing)
                model.remove(index)
        elif name == "first" and model.sealed is None:
            frame = ControlFrame(SUB)
            output.put_first([frame])
            model.frames.insert(0, ("control", frame, frame))
        elif name == "seal" and model.sealed is None:
            output.seal()
            model.sealed = len(model.frames)
        elif name == "take":
            end = len(model.frames) if model.sealed is None else model.sealed
            gone = model.frames[:end]
            assert output.hand_over() == b"".join(data for _, data, _ in gone)
            handed_over += [t for _, _, t in gone if isinstance(t, (ControlFrame, PendingReply))]
            del model.frames[:end]
            model.sealed = None if model.sealed is None else 0
            assert not output.credit
        elif name == "lost":
            output.keep_unsent()
            sealed = len(model.frames) if model.sealed is None else model.sealed
            kept = []
            for index, one in enumerate(model.frames):
                if one[0] == "request" and index < sealed:
                    assert isinstance(one[2], PendingReply)
                    model.lose_request(one[2])
                elif one[0] != "ping":
                    kept.append(one)
            model.frames, model.sealed = kept, None
        else:
            assert (output.messages_out, output.bytes_out) == (model.messages, model.size)
            assert output.size == len(model.data)
    assert (output.messages_out, output.bytes_out) == (model.messages, model.size)
    assert output.size == len(model.data)
    assert b"".join(output.frames) == model.data
    for thing in handed_over:
        assert not contained(output, thing)
        take_back(output, thing)  # has no effect after the frame was handed over
    assert b"".join(output.frames) == model.data
    assert output.clear() == sum(kind == "publish" for kind, _, _ in model.frames)
    assert output.size == 0


def test_messages_and_bytes_use_up_the_credit() -> None:
    output = an_output()
    publisher = Publisher(output, "a")
    assert publisher.publish(b"")
    output.grant()
    count = 0
    while output.credit > 0:
        assert not publisher.publish(b"")
        count += 1
    assert count == CREDIT // COST
    assert output.granted
    output.hand_over()
    assert not output.granted
    publisher.publish(b"")
    output.grant()
    publisher.publish(bytes(CREDIT))
    assert output.credit < 0


def test_a_request_uses_credit() -> None:
    output = an_output()
    output.add(LivenessFrame(PING))
    output.grant()
    Publisher(output, "a").request(b"12", pending())
    assert output.credit == CREDIT - COST - 2


def test_a_request_is_made_on_credit_only_where_all_conditions_hold() -> None:
    rng = random.Random(1)
    output, replies, written = an_output(), Replies("_INBOX"), list[int]()
    replies.new_inbox(rng)
    routes = {"a": Route(Publisher(output, "a")), "long": Route(Publisher(output, "a" * 4060))}
    caller = 1
    request = request_on_credit(output, routes, lambda: caller, replies, lambda: written.append(1))
    replies.subscription = Subscriptions().add(replies.inbox + "*", None, replies.deliver)
    assert request("a", b"x") is None  # no credit
    output.add(LivenessFrame(PING))
    output.grant()
    asked = request("a", b"xy")
    assert asked is not None
    assert output.contains_request(asked)
    assert output.credit == CREDIT - COST - 2
    assert written == [1]
    output.max_payload = 3
    assert request("a", b"1234") is None
    assert request("b", b"x") is None
    assert request("long", b"x") is None
    caller = 2
    assert request("a", b"x") is None
    caller = 1
    replies.subscription.ended.resolve(None)
    assert request("a", b"x") is None
    assert len(replies) == 1
    assert output.messages_out == 1


def test_an_interrupted_request_on_credit_is_never_sent() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    output, replies = an_output(), Replies("_INBOX")
    replies.new_inbox(random.Random(1))
    replies.subscription = Subscriptions().add(replies.inbox + "*", None, replies.deliver)
    routes = {"a": Route(Publisher(output, "a"))}
    request = request_on_credit(output, routes, lambda: 1, replies, interrupted)
    output.add(LivenessFrame(PING))
    output.grant()
    with pytest.raises(KeyboardInterrupt):
        request("a", b"x")
    assert output.hand_over() == b"PING\r\n"
    assert not len(replies)


def test_there_is_no_credit_without_a_connection() -> None:
    output = an_output(room=100)
    assert Publisher(output, "a").publish(b"x")
    output.grant()
    assert not output.credit
    with pytest.raises(NoRoomError):
        Publisher(output, "a").publish(bytes(100))
    assert (output.messages_out, output.bytes_out) == (1, 1)


def test_payloads_on_credit_are_checked_for_their_size() -> None:
    output = an_output()
    output.max_payload = 3
    publisher = Publisher(output, "a")
    publisher.publish(b"123")
    output.grant()
    with pytest.raises(PayloadTooLargeError):
        publisher.publish(b"1234")
    with pytest.raises(PayloadTooLargeError):
        publisher.request(b"1234", pending())
    assert not output.accepts([b"123", b"1234"])
    assert output.messages_out == 1


def test_the_control_line_of_a_request_has_room_for_its_reply_subject() -> None:
    """The server closes the connection after a line with more than 4096 bytes of arguments."""
    output = an_output()
    publisher = Publisher(output, "a" * 4060)
    assert publisher.publish(b"x")
    with pytest.raises(InvalidSubjectError, match="too long"):
        publisher.request(b"x", pending("_INBOX.abcdefghijklmnopqrstuv.1"))
    assert output.messages_out == 1


def test_many_payloads_are_accepted_only_if_all_fit() -> None:
    output = an_output()
    assert not output.accepts([bytes(HIGH_WATER // 2)] * 3)
    assert not an_output(room=100).accepts([b"x"])


def test_pongs_are_counted_until_they_are_handed_over() -> None:
    output = an_output()
    output.add_pongs(3)
    output.add_pongs(2)
    assert (output.pongs, output.size) == (5, 5 * len(PONG))
    assert output.hand_over() == 5 * PONG
    assert output.pongs == 0


def test_oversized_publishes_are_dropped_and_their_sizes_returned() -> None:
    output = an_output()
    publisher = Publisher(output, "a")
    for size in (3, 9, 4):
        publisher.publish(bytes(size))
        output.grant()
    request = pending()
    publisher.request(bytes(7), request)
    output.max_payload = 3
    assert output.drop_oversized() == [(9, None), (4, None), (7, request)]
    assert b"".join(output.frames) == encode(Pub("a", bytes(3)))


def test_max_payload_does_not_apply_to_control_frames() -> None:
    """A control frame may be longer than max_payload, since it has no payload."""
    output = an_output()
    output.add(ControlFrame(SUB))
    output.add(ControlFrame(UNSUB))
    output.max_payload = 1
    assert output.drop_oversized() == []
    assert output.hand_over() == SUB + UNSUB


def test_messages_that_use_up_the_exact_credit_are_counted() -> None:
    output = an_output()
    publisher = Publisher(output, "a")
    publisher.publish(b"x")
    output.grant()
    publisher.publish(b"y" * (CREDIT - COST))
    assert output.credit == 0
    assert output.granted
    output.hand_over()
    assert not output.granted
    assert (output.messages_out, output.bytes_out) == (2, 1 + CREDIT - COST)


def test_frames_are_removed_without_a_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a thousand limited subscriptions, a reconnect used to search the output for each."""
    rig = Rig().connect()
    subs = [rig.subscribe(f"a.{n}") for n in range(1000)]
    rig.link.refuse = OSError("refused")
    rig.link.cut()
    for sub in subs:
        rig.client.unsubscribe(sub, 5)
        rig.client.unsubscribe(sub, 7)
    for _ in range(100):
        rig.client.publish("b", b"kept")
    walks: list[int] = []
    for name in ("_walk", "_replace"):
        real = getattr(Output, name)

        def counting(self: Output, *args: Any, real: Any = real) -> Any:
            walks.append(len(self.frames))
            return real(self, *args)

        monkeypatch.setattr(Output, name, counting)
    rig.link.refuse = None
    rig.link.advance(5.0)
    assert rig.client.reconnects == 1
    assert len(walks) < 10
    assert [event.max_msgs for event in rig.received(Unsub)] == [7] * 1000
