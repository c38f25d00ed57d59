"""The output is the same list of frames whether they came on credit or not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasq_proto import PayloadTooLargeError, Pub, Sub, Unsub, encode
from nasq_proto.encoder import PING, PONG
from nasq_proto.output import (
    COST,
    CREDIT,
    HIGH_WATER,
    MOST_PONGS,
    NO_LIMIT,
    Output,
    Publisher,
    split_frames,
)

SUB = encode(Sub("a", "1"))
UNSUB = encode(Unsub("1", 2))


class NoRoomError(Exception):
    """What this output refuses with."""


def refuse(size: int) -> None:
    raise NoRoomError(size)


def an_output(room: int = NO_LIMIT) -> Output:
    output = Output(refuse)
    output.room = room
    return output


# Payloads that look like frames, and the very objects that are frames.
payloads = st.sampled_from([b"", b"x", b"hello", PING, PONG, UNSUB, b"PUB a 3\r\n", b"\r\n"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), payloads),
        st.tuples(st.just("reply"), payloads),
        st.tuples(st.just("many"), st.lists(payloads, min_size=1, max_size=3)),
        st.tuples(st.sampled_from(["grant", "revoke", "take", "ping", "sub", "unsub"]), st.none()),
        st.tuples(st.sampled_from(["discard", "first", "lost", "count", "seal"]), st.none()),
    ),
    max_size=14,
)


@given(steps)
def test_credit_changes_nothing_but_the_cost(script: list[tuple[str, object]]) -> None:
    output = an_output()
    publisher = Publisher(output, "a")
    frames: list[bytes] = []
    sealed: int | None = None
    messages = size = 0
    for name, what in script:
        empty = not frames
        if name in ("publish", "reply"):
            assert isinstance(what, bytes)
            reply = b"r" if name == "reply" else None
            assert publisher.publish(what, reply) is empty
            frames.append(encode(Pub("a", what, None if reply is None else "r")))
            messages, size = messages + 1, size + len(what)
        elif name == "many":
            assert isinstance(what, list)
            assert output.takes(what)
            assert publisher.publish_many(what) is empty
            frames += [encode(Pub("a", payload)) for payload in what]
            messages, size = messages + len(what), size + sum(map(len, what))
        elif name in ("ping", "sub", "unsub"):
            frame = {"ping": PING, "sub": SUB, "unsub": UNSUB}[name]
            assert output.add(frame) is empty
            frames.append(frame)
        elif name == "grant" and frames:  # only for a `take` that is to come
            output.grant()
        elif name == "revoke":
            output.revoke()
            assert not output.credit
        elif name == "discard":
            output.discard(UNSUB)
            if UNSUB in frames:
                if sealed is not None and frames.index(UNSUB) < sealed:
                    sealed -= 1
                frames.remove(UNSUB)
        elif name == "first" and sealed is None:
            output.put_first([SUB])
            frames.insert(0, SUB)
        elif name == "seal" and sealed is None:
            output.seal()
            sealed = len(frames)
        elif name == "take":
            end = len(frames) if sealed is None else sealed
            assert output.take() == b"".join(frames[:end])
            del frames[:end]
            sealed = None if sealed is None else 0
            assert not output.credit
        elif name == "lost":
            output.keep_unsent()
            frames = [frame for frame in frames if frame not in (PING, PONG)]
            sealed = None
        else:
            assert (output.messages_out, output.bytes_out) == (messages, size)
            assert output.size == sum(map(len, frames))
    assert (output.messages_out, output.bytes_out) == (messages, size)
    assert output.size == sum(map(len, frames))
    assert output.whole() == frames
    assert output.clear() == sum(frame.startswith(b"PUB ") for frame in frames)
    assert output.size == 0


def test_credit_is_used_up_by_messages_and_by_bytes() -> None:
    output = an_output()
    publisher = Publisher(output, "a")
    assert publisher.publish(b"")
    output.grant()
    count = 0
    while output.credit > 0:
        assert not publisher.publish(b"")
        count += 1
    assert count == CREDIT // COST + 1
    assert output.credit < 0
    output.take()
    assert not output.credit
    publisher.publish(b"")
    output.grant()
    publisher.publish(bytes(CREDIT))
    assert output.credit < 0


def test_a_publish_with_a_reply_takes_from_the_credit_too() -> None:
    output = an_output()
    output.add(PING)
    output.grant()
    Publisher(output, "a").publish(b"12", b"r")
    assert output.credit == CREDIT - COST - 2


def test_there_is_no_credit_without_a_connection() -> None:
    output = an_output(room=100)
    assert Publisher(output, "a").publish(b"x")
    output.grant()
    assert not output.credit
    with pytest.raises(NoRoomError):
        Publisher(output, "a").publish(bytes(100))
    assert (output.messages_out, output.bytes_out) == (1, 1)


def test_on_credit_a_payload_is_still_too_large() -> None:
    output = an_output()
    output.max_payload = 3
    publisher = Publisher(output, "a")
    publisher.publish(b"123")
    output.grant()
    with pytest.raises(PayloadTooLargeError):
        publisher.publish(b"1234")
    assert not output.takes([b"123", b"1234"])
    assert output.messages_out == 1


def test_many_are_not_taken_at_once_when_there_is_no_room_for_all() -> None:
    output = an_output()
    assert not output.takes([bytes(HIGH_WATER // 2)] * 3)
    assert not an_output(room=100).takes([b"x"])


def test_pongs_are_bounded_until_they_are_taken() -> None:
    output = an_output()
    for _ in range(MOST_PONGS + 5):
        output.add_pong()
    assert output.size == MOST_PONGS * len(PONG)
    output.take()
    output.add_pong()
    assert output.take() == PONG


def test_oversized_publishes_are_dropped_and_their_sizes_told() -> None:
    output = an_output()
    publisher = Publisher(output, "a")
    for size in (3, 9, 4):
        publisher.publish(bytes(size))
        output.grant()
    assert output.drop_oversized(3) == [9, 4]
    assert output.whole() == [encode(Pub("a", bytes(3)))]


@given(st.lists(st.builds(Pub, st.just("a.b"), payloads, st.none() | st.just("r"))))
def test_a_written_stream_is_split_into_its_frames(pubs: list[Pub]) -> None:
    frames = [frame for pub in pubs for frame in (encode(pub), PING)]
    frames.append(encode(Pub("a", b"x", None, b"NATS/1.0\r\n\r\n")))
    assert split_frames(b"".join(frames)) == frames


def test_credit_that_is_used_up_to_the_last_byte_is_counted() -> None:
    output = Output(lambda size: None)
    output.room = NO_LIMIT
    publisher = Publisher(output, "a")
    publisher.publish(b"x")
    output.grant()
    publisher.publish(b"y" * (CREDIT - COST))
    assert output.credit == 0
    output.take()
    assert (output.messages_out, output.bytes_out) == (2, 1 + CREDIT - COST)
