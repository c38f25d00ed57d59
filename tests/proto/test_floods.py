"""The client does a bounded amount of work per call and reads a large chunk in several turns."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasq_proto import (
    Client,
    ClientOptions,
    ClientState,
    ConnectionLostError,
    Event,
    Inbox,
    Server,
    ServerErrorReceived,
    TLSError,
)
from nasq_proto.decoder import Decoder, Frame, Role, unfold
from nasq_proto.strategies import awkward_streams, chunks_of, streams_from
from tests.proto.test_client import Rig

CHUNK = 256 * 1024
# The most frames that one call of the client reads. Identical PINGs cost almost nothing, so more
# of them are read: 8,192 and one block.
MAX_FRAMES = 1024
MAX_PINGS = 8192 + 64


def chunk_of(frame: Callable[[int], bytes]) -> bytes:
    """Return a chunk of the frames `frame(0)`, `frame(1)` and so on."""
    frames, size, number = [], 0, 0
    while size < CHUNK:
        frames.append(frame(number))
        size += len(frames[-1])
        number += 1
    return b"".join(frames)


FLOODS = {
    "PINGs": lambda n: b"PING\r\n",
    "PING and +OK": lambda n: (b"PING\r\n", b"+OK\r\n")[n % 2],
    "PINGs that differ": lambda n: b"PING %d\r\n" % n,
    "INFO": lambda n: b"INFO {}\r\n",
    "-ERR": lambda n: b"-ERR 'x'\r\n",
    "refused publishes": lambda n: b"-ERR 'Permissions Violation for Publish to \"a\"'\r\n",
    "subjects": lambda n: b"MSG a.%d 1 0\r\n\r\n" % n,
    "subscriptions": lambda n: b"MSG a %d 0\r\n\r\n" % (1 + n % 3),
    "headers": lambda n: b"HMSG a.%d 1 12 12\r\nNATS/1.0\r\n\r\n\r\n" % n,
    "replies": lambda n: b"MSG a 1 r.%d 0\r\n\r\n" % n,
}


@pytest.mark.parametrize("kind", FLOODS)
def test_one_call_reads_a_part_and_later_calls_read_the_rest(kind: str) -> None:
    rig = Rig().connect()
    for subject in ("a", "a.>", "b"):
        rig.subscribe(subject)
    data = chunk_of(FLOODS[kind])
    expected = sum(map(len, map(unfold, Decoder(Role.CLIENT).receive(data))))
    read = 0
    client = rig.client
    connection = client._attempt.connection if client._attempt is not None else None
    assert connection is not None
    receive = connection.receive_frames

    def counting(chunk: bytes) -> list[Frame]:
        nonlocal read
        frames = receive(chunk)
        limit = MAX_PINGS if kind == "PINGs" else MAX_FRAMES
        assert len(frames) <= limit, "one call read too many frames"
        read += sum(map(len, map(unfold, frames)))
        return frames

    connection.receive_frames = counting  # type: ignore[method-assign, assignment]  # only counted
    client.receive_data(1, data, 5.0)
    turns = 1
    while not client.wants_read:
        assert client.next_timeout() == 5.0, "the client must be called again at once"
        client.data_to_send()
        client.handle_timeout(5.0)
        turns += 1
    assert turns > 1
    assert read == expected
    assert client.state is ClientState.CONNECTED
    assert client.next_timeout() != 5.0


def test_a_closed_stream_is_read_to_its_end_first() -> None:
    rig = Rig().connect()
    rig.subscribe("a")
    data = chunk_of(FLOODS["subjects"])
    count = data.count(b"MSG")
    rig.client.receive_data(1, data, 0.0)
    rig.client.transport_closed(1, ConnectionResetError("gone"), 0.0)
    assert rig.client.is_connected
    while rig.client.is_connected:
        rig.client.handle_timeout(0.0)
    assert len(rig.inbox) == count
    assert isinstance(rig.client.last_error, ConnectionLostError)
    assert "gone" in str(rig.client.last_error)
    rig.link.advance(1.0)
    assert rig.client.reconnects == 1


def test_an_err_before_the_end_of_the_stream_is_its_reason() -> None:
    rig = Rig().connect()
    data = chunk_of(FLOODS["PINGs that differ"]) + b"-ERR 'Something New'\r\n"
    rig.client.receive_data(1, data, 0.0)
    rig.client.transport_closed(1, None, 0.0)
    while rig.client.is_connected:
        rig.client.handle_timeout(0.0)
    assert "Something New" in str(rig.client.last_error)


def test_the_first_reason_for_the_end_is_reported() -> None:
    """A layer fails and closes the stream, so the end of the stream is not a second reason."""
    rig = Rig().connect()
    rig.client.receive_data(1, chunk_of(FLOODS["subjects"]), 0.0)
    rig.client.transport_closed(1, TLSError("a bad record"), 0.0)
    rig.client.transport_closed(1, None, 0.0)
    while rig.client.is_connected:
        rig.client.handle_timeout(0.0)
    assert "a bad record" in str(rig.client.last_error)


def test_close_does_not_wait_for_a_stream_that_has_ended() -> None:
    rig = Rig().connect()
    rig.client.receive_data(1, chunk_of(FLOODS["-ERR"]), 0.0)
    rig.client.transport_closed(1, None, 0.0)
    stopped = rig.client.close()
    rig.link.session = None
    rig.link.pump()
    assert stopped.done
    assert rig.client.next_timeout() is None


def test_valid_messages_before_invalid_input_are_delivered() -> None:
    rig = Rig().connect()
    sub = rig.subscribe("a")
    count = 5000
    data = b"".join(b"MSG a.%d 1 0\r\n\r\n" % n for n in range(count)) + b"nonsense\r\n"
    rig.client.receive_data(1, data, 0.0)
    assert sub.delivered < count
    while not rig.client.wants_read:
        rig.client.handle_timeout(0.0)
    assert sub.delivered == count
    assert not rig.client.is_connected


@given(stream=streams_from(Role.SERVER) | awkward_streams(Role.SERVER), data=st.data())
def test_a_decoder_with_bounded_calls_reads_the_same_events(
    stream: tuple[list[Event], bytes], data: st.DataObject
) -> None:
    written, raw = stream
    bounded = Decoder(Role.CLIENT, bounded=True)
    bounded._steps, bounded._parsed_lines = 3, 2
    events = []
    for chunk in data.draw(chunks_of(raw)):
        events += [event for frame in bounded.receive(chunk) for event in unfold(frame)]
    while bounded.unread:
        events += [event for frame in bounded.receive(b"") for event in unfold(frame)]
    assert events == written


def test_a_flood_directly_after_the_handshake_is_read_in_parts() -> None:
    client = Client(ClientOptions([Server("a", 1)]), rng=random.Random(1))
    inbox = Inbox()
    client.watch(inbox)
    client.open(0.0)
    client.next_action()
    client.transport_opened(1, 0.0)
    client.receive_data(1, b"INFO {}\r\n", 0.0)
    client.data_to_send()
    client.receive_data(1, b"PONG\r\n" + b"-ERR 'a'\r\n" * 3000, 0.0)
    assert client.is_connected
    while not client.wants_read:
        client.handle_timeout(0.0)
    errors = [n for n in client.take_notices() if isinstance(n, ServerErrorReceived)]
    assert len(errors) == 3000
