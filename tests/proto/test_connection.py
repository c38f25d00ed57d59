"""`Connection`: which events each role may send in each state, and how a stream ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasq_proto import (
    Connect,
    Connection,
    ConnectionClosed,
    ConnectionState,
    Err,
    Event,
    Info,
    InvalidSubjectError,
    Limits,
    LocalProtocolError,
    Msg,
    Ok,
    Ping,
    Pong,
    ProtocolFailed,
    Pub,
    RemoteProtocolError,
    Role,
    Sub,
    Unsub,
    encode,
)
from nasq_proto.states import TRANSITIONS
from nasq_proto.strategies import chunks_of, events_from

from .sessions import FROM_SERVER

CLIENT, SERVER = Role.CLIENT, Role.SERVER
AWAIT_INFO, AWAIT_CONNECT, OPEN, CLOSED = ConnectionState
ROLES = [CLIENT, SERVER]

ON_THE_WIRE: list[Event] = [
    Info({}),
    Connect({}),
    Ping(),
    Pong(),
    Ok(),
    Err("x"),
    Pub("a", b"x"),
    Sub("a", "1"),
    Unsub("1"),
    Msg("a", "1", b"x"),
    Msg("a", "1", b"x", None, b"H"),
]
# The table once more, written by hand: state, sender, legal events and the state after each.
LEGAL: dict[tuple[ConnectionState, Role], dict[type[Event], ConnectionState]] = {
    (AWAIT_INFO, SERVER): {Info: AWAIT_CONNECT, Err: AWAIT_INFO},
    (AWAIT_INFO, CLIENT): {},
    (AWAIT_CONNECT, SERVER): dict.fromkeys([Info, Err, Ping, Pong, Ok], AWAIT_CONNECT),
    (AWAIT_CONNECT, CLIENT): {Connect: OPEN, Ping: AWAIT_CONNECT, Pong: AWAIT_CONNECT},
    (OPEN, SERVER): dict.fromkeys([Info, Err, Ping, Pong, Ok, Msg], OPEN),
    (OPEN, CLIENT): dict.fromkeys([Connect, Ping, Pong, Pub, Sub, Unsub], OPEN),
    (CLOSED, SERVER): {},
    (CLOSED, CLIENT): {},
}
CASES = [(state, sender, event) for state, sender in LEGAL for event in ON_THE_WIRE]
ALLOWED = [
    (state, sender, event, LEGAL[state, sender][type(event)])
    for state, sender, event in CASES
    if type(event) in LEGAL[state, sender]
]
FORBIDDEN = [
    (state, sender, event)
    for state, sender, event in CASES
    if type(event) not in LEGAL[state, sender]
]


def peer(role: Role) -> Role:
    return SERVER if role is CLIENT else CLIENT


def connection_in(state: ConnectionState, role: Role, limits: Limits | None = None) -> Connection:
    """Return a connection that reached `state` in the usual way and has nothing left to send."""
    connection = Connection(role, limits=limits)
    if state is CLOSED:
        connection.receive_eof()
    elif state is not AWAIT_INFO:
        handshake: list[tuple[Role, Event]] = [(SERVER, Info({})), (CLIENT, Connect({}))]
        for sender, event in handshake[: 1 if state is AWAIT_CONNECT else 2]:
            if sender is role:
                connection.send(event)
            else:
                connection.receive_data(encode(event))
    connection.data_to_send()
    assert connection.state is state
    return connection


# ---------------------------------------------------------------------- the table


def test_the_table_equals_the_one_written_by_hand() -> None:
    ends = {ConnectionClosed: CLOSED, ProtocolFailed: CLOSED}
    by_hand = {
        state: {sender: LEGAL[state, sender] | ({} if state is CLOSED else ends) for sender in Role}
        for state in ConnectionState
    }
    assert by_hand == TRANSITIONS


@pytest.mark.parametrize(("state", "sender", "event", "after"), ALLOWED)
def test_a_legal_event_can_be_sent(
    state: ConnectionState, sender: Role, event: Event, after: ConnectionState
) -> None:
    connection = connection_in(state, sender)
    connection.send(event)
    assert connection.data_to_send() == encode(event)
    assert connection.state is after


@pytest.mark.parametrize(("state", "sender", "event", "after"), ALLOWED)
def test_a_legal_event_can_be_received(
    state: ConnectionState, sender: Role, event: Event, after: ConnectionState
) -> None:
    connection = connection_in(state, peer(sender))
    assert connection.receive_data(encode(event)) == [event]
    assert connection.state is after


@pytest.mark.parametrize(("state", "sender", "event"), FORBIDDEN)
def test_sending_an_illegal_event_is_a_local_error_and_changes_nothing(
    state: ConnectionState, sender: Role, event: Event
) -> None:
    connection = connection_in(state, sender)
    verb = type(event).__name__.upper()
    with pytest.raises(LocalProtocolError, match=f"a {sender.value} can't send {verb} now"):
        connection.send(event)
    assert connection.data_to_send() == b""
    assert connection.state is state


@pytest.mark.parametrize(
    ("state", "sender", "event"), [case for case in FORBIDDEN if case[0] is not CLOSED]
)
def test_receiving_an_illegal_event_fails_the_stream(
    state: ConnectionState, sender: Role, event: Event
) -> None:
    connection = connection_in(state, peer(sender))
    (failed,) = connection.receive_data(encode(event))
    assert isinstance(failed, ProtocolFailed)
    assert connection.state is CLOSED


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("data", [b"", b"PING\r\n"])
def test_nothing_can_be_received_after_the_end(role: Role, data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="the stream has ended"):
        connection_in(CLOSED, role).receive_data(data)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("state", ConnectionState)
@pytest.mark.parametrize("event", [ConnectionClosed(), ProtocolFailed(RemoteProtocolError("x"))])
def test_the_end_of_a_stream_can_not_be_sent(
    role: Role, state: ConnectionState, event: Event
) -> None:
    with pytest.raises(LocalProtocolError, match="can't send"):
        connection_in(state, role).send(event)


def test_the_error_for_a_premature_event_names_what_is_missing() -> None:
    (failed,) = Connection(CLIENT).receive_data(b"PING\r\n")
    assert str(failed) == (
        "ProtocolFailed(PING is not allowed now: the server has not sent INFO yet)"
    )


def test_legal_events_before_an_illegal_one_are_returned() -> None:
    events = Connection(CLIENT).receive_data(b"INFO {}\r\n+OK\r\nMSG a 1 1\r\nx\r\nPING\r\n")
    assert [type(event) for event in events] == [Info, Ok, ProtocolFailed]


def test_legal_events_before_unreadable_bytes_are_returned() -> None:
    events = Connection(CLIENT).receive_data(b"INFO {}\r\n+OK\r\nNONSENSE\r\n")
    assert [type(event) for event in events] == [Info, Ok, ProtocolFailed]


def test_an_illegal_event_is_reported_before_unreadable_bytes_after_it() -> None:
    (failed,) = Connection(CLIENT).receive_data(b"PING\r\nNONSENSE\r\n")
    assert "PING is not allowed now" in str(failed)


def test_unreadable_bytes_close_the_connection() -> None:
    connection = connection_in(OPEN, CLIENT)
    connection.receive_data(b"NONSENSE\r\n")
    assert connection.state is CLOSED


def test_the_state_can_change_within_a_chunk() -> None:
    connection = connection_in(AWAIT_CONNECT, SERVER)
    events = connection.receive_data(b"CONNECT {}\r\nSUB a 1\r\nPUB a 1\r\nx\r\n")
    assert [type(event) for event in events] == [Connect, Sub, Pub]


def test_a_second_connect_is_legal() -> None:
    connection = connection_in(OPEN, SERVER)
    assert connection.receive_data(b"CONNECT {}\r\n") == [Connect({})]


# ---------------------------------------------------------------------- sending


def test_sent_events_are_handed_over_once_and_in_order() -> None:
    connection = connection_in(OPEN, CLIENT)
    connection.send(Ping())
    connection.send(Pub("a"))
    assert connection.data_to_send() == b"PING\r\nPUB a 0\r\n\r\n"
    assert connection.data_to_send() == b""


def test_an_event_that_can_not_be_encoded_changes_nothing() -> None:
    connection = connection_in(AWAIT_CONNECT, CLIENT)
    with pytest.raises(LocalProtocolError):
        connection.send(Connect({"x": float("nan")}))
    assert (connection.state, connection.data_to_send()) == (AWAIT_CONNECT, b"")


def test_a_bad_subject_is_not_sent() -> None:
    connection = connection_in(OPEN, CLIENT)
    with pytest.raises(InvalidSubjectError):
        connection.send(Pub("a b"))
    assert connection.data_to_send() == b""


# ---------------------------------------------------------------------- receiving


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_a_chunk_may_be_any_bytes_like_object(make: type[bytes] | type[bytearray]) -> None:
    assert Connection(CLIENT).receive_data(make(b"INFO {}\r\n")) == [Info({})]


def test_a_chunk_may_be_changed_after_it_was_received() -> None:
    connection = connection_in(OPEN, CLIENT)
    chunk = bytearray(b"MSG a 1 2\r\nhi")
    connection.receive_data(chunk)
    chunk[:] = b"?" * len(chunk)
    assert connection.receive_data(b"\r\n") == [Msg("a", "1", b"hi")]


def test_receive_frames_does_not_unfold_runs() -> None:
    connection = connection_in(OPEN, CLIENT)
    frames = connection.receive_frames(b"MSG a 1 1\r\nx\r\n" * 3)
    assert sum(len(frame[2]) for frame in frames if isinstance(frame, tuple)) == 3


def test_limits_reach_the_decoder() -> None:
    connection = connection_in(OPEN, CLIENT, Limits(message=5))
    (failed,) = connection.receive_data(b"MSG a 1 6\r\n")
    assert "larger than the limit of 5" in str(failed)


def test_buffered_counts_the_bytes_of_the_incomplete_frame() -> None:
    connection = connection_in(OPEN, CLIENT)
    connection.receive_data(b"PING\r\nMSG a 1 5\r\nhe")
    assert connection.buffered == len(b"MSG a 1 5\r\nhe")


# ---------------------------------------------------------------------- the end


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("state", [AWAIT_INFO, AWAIT_CONNECT, OPEN])
def test_eof_between_frames_is_a_closed_connection(role: Role, state: ConnectionState) -> None:
    connection = connection_in(state, role)
    assert connection.receive_eof() == [ConnectionClosed()]
    assert connection.state is CLOSED


@pytest.mark.parametrize("partial", [b"P", b"PING\r", b"MSG a 1 5\r\n", b"MSG a 1 5\r\nhello\r"])
def test_eof_within_a_frame_is_an_error_that_names_the_position(partial: bytes) -> None:
    connection = connection_in(OPEN, CLIENT)
    connection.receive_data(partial)
    (failed,) = connection.receive_eof()
    assert str(failed) == (
        f"ProtocolFailed(the connection ended within a frame, {len(partial)} bytes into it)"
    )


@pytest.mark.parametrize("role", ROLES)
def test_a_second_eof_returns_no_events(role: Role) -> None:
    connection = connection_in(CLOSED, role)
    assert connection.receive_eof() == []


def test_eof_after_a_failure_returns_no_events() -> None:
    connection = connection_in(OPEN, CLIENT)
    connection.receive_data(b"NONSENSE\r\nMSG a")
    assert connection.receive_eof() == []


def test_output_from_before_eof_is_still_handed_over() -> None:
    connection = connection_in(OPEN, CLIENT)
    connection.send(Ping())
    connection.receive_eof()
    assert connection.data_to_send() == b"PING\r\n"


# ---------------------------------------------------------------------- client against server


@given(data=st.data())
def test_a_client_and_a_server_that_follow_the_table_understand_each_other(
    data: st.DataObject,
) -> None:
    ends = {role: Connection(role) for role in Role}
    under_way: dict[Role, bytes] = {CLIENT: b"", SERVER: b""}
    sent: dict[Role, list[Event]] = {CLIENT: [], SERVER: []}
    received: dict[Role, list[Event]] = {CLIENT: [], SERVER: []}

    def deliver(to: Role, data_: bytes) -> None:
        received[to] += ends[to].receive_data(data_)

    for _ in range(data.draw(st.integers(1, 12))):
        role = data.draw(st.sampled_from(Role))
        if data.draw(st.booleans()):
            legal = LEGAL[ends[role].state, role]
            if legal:
                wanted = data.draw(st.sampled_from(sorted(legal, key=lambda kind: kind.__name__)))
                event = next(e for e in ON_THE_WIRE if type(e) is wanted)
                if data.draw(st.booleans()):
                    other = data.draw(events_from(role))
                    event = other if type(other) in legal else event
                ends[role].send(event)
                sent[role].append(event)
                under_way[role] += ends[role].data_to_send()
        else:
            # Part of the bytes under way arrives, so both sides can send at the same time.
            cut = data.draw(st.integers(0, len(under_way[role])))
            deliver(peer(role), under_way[role][:cut])
            under_way[role] = under_way[role][cut:]
    for role in Role:
        deliver(peer(role), under_way[role])
    assert received == {peer(role): sent[role] for role in Role}
    assert ends[CLIENT].state is ends[SERVER].state


@given(data=st.data())
def test_a_recorded_session_is_legal_in_every_chunking(data: st.DataObject) -> None:
    info, newline, rest = FROM_SERVER.partition(b"\n")
    connection = Connection(CLIENT)
    connection.receive_data(info + newline)
    connection.send(Connect({}))
    for chunk in data.draw(chunks_of(rest)):
        connection.receive_data(chunk)
    assert connection.receive_eof() == [ConnectionClosed()]
