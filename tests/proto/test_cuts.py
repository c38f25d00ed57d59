"""A connection may break at any byte: no frame is sent twice or in part, none arrives twice."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from nasq_proto import (
    BufferFullError,
    Client,
    ClientOptions,
    ClientState,
    ConnectionLostError,
    Event,
    Inbox,
    Op,
    ProtocolFailed,
    Pub,
    RemoteProtocolError,
    Server,
    StaleConnectionError,
    Sub,
    Subscription,
    Unsub,
)
from nasq_proto.output import HIGH_WATER
from nasq_proto.testing import Broker, Link, ServerSession

# ------------------------------------------------------------------------------ at every byte


class Rig:
    """A connected client, and all sessions that its broker has had."""

    def __init__(self, *, chop: int | None = None) -> None:
        self.broker = Broker()
        self.sessions: list[ServerSession] = []
        self.broker.script = self._remember
        options = ClientOptions([Server("a", 1)])
        self.client = Client(options, rng=random.Random(1))
        self.link = Link(self.client, self.broker, chop=chop)
        self.inbox = Inbox()
        opened = self.client.open(self.link.now)
        self.link.pump()
        opened.result()

    def _remember(self, session: ServerSession) -> bool:
        self.sessions.append(session)
        return False

    @property
    def session(self) -> ServerSession:
        assert self.link.session is not None
        return self.link.session

    def reconnect(self) -> None:
        self.link.advance(10.0)
        assert self.client.is_connected

    def received(self, session: ServerSession) -> list[Event]:
        """Return the client's events after its CONNECT and PING."""
        return session.received[2:]


def send_twenty_frames(rig: Rig) -> list[Op[None]]:
    """Send at least 20 frames: PUB, HPUB, SUB, UNSUB and PING, each PUB with a different body."""
    client = rig.client
    subs: list[Subscription] = []
    ops: list[Op[None]] = []
    for n in range(4):
        client.publish("a", b"first %d" % n)
        subs.append(client.subscribe(f"s{n}", "g" if n % 2 else None, rig.inbox.deliver))  # + PING
        client.publish("b.c", b"", headers={"n": [str(n), "\r\n"[:0]]})
        client.publish("a", b"PUB a 3\r\nabc\r\n" * n, reply="r")
    client.unsubscribe(subs[0], max_msgs=3)
    ops.append(client.flush())
    client.publish("a", b"last")
    client.unsubscribe(subs[1])  # + PING
    return ops


def published(events: list[Event]) -> list[tuple[str, bytes]]:
    return [(event.subject, event.payload) for event in events if isinstance(event, Pub)]


def test_the_client_stream_may_be_cut_at_every_byte() -> None:
    rig = Rig()
    send_twenty_frames(rig)
    stream = rig.client.data_to_send()
    reference = Rig()
    reference.session.receive_data(stream)
    whole = reference.received(reference.session)
    assert len(whole) >= 20
    everything = published(whole)
    assert len(everything) == 13
    # Cut the stream after each byte; the server session shows which frames arrived.
    for cut in range(len(stream) + 1):
        rig = Rig()
        ops = send_twenty_frames(rig)
        assert rig.client.data_to_send() == stream
        # Ten more messages, published before the client notices the break, are not handed over.
        late = [b"late %d" % n for n in range(10)]
        for body in late:
            rig.client.publish("late", body)
        first = rig.session
        first.receive_data(stream[:cut])
        rig.link.cut()
        assert all(isinstance(op.error, ConnectionLostError) for op in ops)
        rig.reconnect()
        rig.client.flush()
        rig.link.pump()
        second = rig.session
        assert [type(e) for e in first.received if isinstance(e, ProtocolFailed)] == []
        assert [type(e) for e in second.received if isinstance(e, ProtocolFailed)] == []
        # The frames that arrived from the first stream are its first frames.
        before = rig.received(first)
        assert before == whole[: len(before)]
        # Frames that were handed over are not sent again. The others are, once and in order.
        assert published(rig.received(second)) == [("late", body) for body in late]
        # Each subscription that still exists is replayed once, with the rest of its maximum.
        sids = [event.sid for event in rig.received(second) if isinstance(event, Sub)]
        assert sorted(sids) == ["1", "3", "4"]
        assert [e for e in rig.received(second) if isinstance(e, Unsub)] == [Unsub("1", 3)]


@pytest.mark.parametrize("handed", range(0, 21, 4))
def test_frames_not_handed_over_keep_their_order_across_a_reconnect(handed: int) -> None:
    """Output is taken at one point, and the connection breaks after it."""
    rig = Rig()
    accepted: list[bytes] = []
    taken = b""
    for n in range(20):
        if n == handed:
            taken = rig.client.data_to_send()
        if n % 4 == 3:
            rig.client.subscribe(f"s{n}", None, rig.inbox.deliver)
        else:
            accepted.append(b"<%d>" % n)
            rig.client.publish("a", accepted[-1])
    first = rig.session
    first.receive_data(taken)
    rig.link.cut()
    rig.reconnect()
    rig.link.pump()
    second = rig.session
    assert published(first.received + second.received) == [("a", body) for body in accepted]
    subjects = [e.subject for e in second.received if isinstance(e, Sub)]
    assert subjects == [f"s{n}" for n in range(3, 20, 4)]


SERVER_STREAM = [
    b"MSG a.x 1 5\r\nhello\r\n",
    b"MSG a.x 1 5\r\nworld\r\n",
    b"PING\r\n",
    b"HMSG a.x 1 18 21\r\nNATS/1.0\r\nk: v\r\n\r\nabc\r\n",
    b'INFO {"server_id":"X","headers":true,"max_payload":1048576}\r\n',
    b"MSG a.x 1 0\r\n\r\n",
    b"MSG a.x 1 0\r\n\r\n",
    b"MSG a.x 1 a.reply 13\r\nMSG a.x 1 1\r\n\r\n",
    b"+OK\r\n",
    b"MSG a.unknown 99 3\r\nxyz\r\n",
    b"MSG a.x 1 1\r\n1\r\n",
    b"MSG a.x 1 1\r\n2\r\n",
    b"MSG a.x 1 1\r\n3\r\n",
    b"PONG\r\n",
    b"-ERR 'Permissions Violation for Publish to \"x\"'\r\n",
    b"msg\ta.x  1 2 \r\nok\r\n",
    b"MSG a.x 1 300\r\n" + b"\r\n" * 150 + b"\r\n",
    b"HMSG a.x 1 12 12\r\nNATS/1.0\r\n\r\n\r\n",
    b"PING\r\n",
    b"MSG a.x 1 4\r\nlast\r\n",
]


def bodies_of(stream: bytes) -> list[bytes]:
    """Return the payloads for subscription 1 in a stream of whole frames, with a simple parser."""
    found = []
    at = 0
    while at < len(stream):
        end = stream.index(b"\r\n", at)
        words = stream[at:end].split()
        at = end + 2
        if words[0].upper() in (b"MSG", b"HMSG"):
            size = int(words[-1])
            if words[2] == b"1":
                found.append(stream[at : at + size])
            at += size + 2
    return found


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_the_server_stream_may_be_cut_at_every_byte(step: int) -> None:
    stream = b"".join(SERVER_STREAM)
    ends = [sum(map(len, SERVER_STREAM[:n])) for n in range(len(SERVER_STREAM) + 1)]
    for cut in range(len(stream) + 1):
        rig = Rig()
        rig.client.subscribe("a.>", None, rig.inbox.deliver)
        rig.link.pump()
        client, attempt = rig.client, 1
        for at in range(0, cut, step):
            client.receive_data(attempt, stream[at : min(cut, at + step)], rig.link.now)
        whole = max(end for end in ends if end <= cut)
        expected = bodies_of(stream[:whole])
        assert [body for _, body, _ in rig.inbox.items] == expected
        rig.link.cut()
        rig.reconnect()
        # The next connection starts fresh and ignores the incomplete frame.
        assert rig.session.subs.keys() == {"1"}
        rig.session.say(b"MSG a.x 1 4\r\nanew\r\n")
        rig.link.pump()
        assert [body for _, body, _ in rig.inbox.items] == [*expected, b"anew"]
        late = client.flush()
        rig.link.pump()
        assert late.done
        late.result()


def test_the_handshake_may_be_cut_at_every_byte() -> None:
    handshake = b'INFO {"server_id":"X","headers":true}\r\n+OK\r\nPING\r\nPONG\r\n'
    for cut in range(len(handshake) + 1):
        rig = Rig()
        rig.client.publish("a", b"kept")
        rig.link.cut()

        def script(session: ServerSession, cut: int = cut) -> bool:
            session.mute = True
            session.say(handshake[:cut])
            return True

        rig.broker.script = script
        while rig.link.session is None:
            rig.link.advance(0.01)
        connected = rig.client.is_connected
        assert connected is (cut == len(handshake))
        rig.link.cut()
        rig.broker.script = rig._remember
        rig.reconnect()
        # The message is sent once, on the first connection that was up, whether it arrived or not.
        assert published(rig.session.received) == ([] if connected else [("a", b"kept")])


def only_says(data: bytes) -> Callable[[ServerSession], bool]:
    """Return a script for a server that sends `data` and nothing else."""

    def script(session: ServerSession) -> bool:
        session.mute = True
        session.say(data)
        return True

    return script


@pytest.mark.parametrize(
    "rest",
    [b"nonsense\r\n", b"MSG a 1 1000000000000\r\n", b"INFO []\r\n", b"MSG a 1 1\r\nx\r\n", b"PONG"],
)
def test_info_and_a_protocol_violation_in_one_chunk_raise_nothing(rest: bytes) -> None:
    """Inputs never raise, not even when INFO requires a CONNECT on a stream that has failed."""
    broker = Broker()
    broker.script = only_says(b"INFO {}\r\n" + rest)
    client = Client(ClientOptions([Server("a", 1)]), rng=random.Random(1))
    link = Link(client, broker)
    opened = client.open(0.0)
    link.pump()
    if rest == b"PONG":
        assert not opened.done
        link.advance(6.0)
    else:
        assert isinstance(opened.error, RemoteProtocolError)
    assert opened.done
    assert client.state is ClientState.CLOSED


def flood(rig: Rig, attempt: int) -> None:
    """Feed the client 50,000 PINGs, as a transport that has read them would."""
    rig.client.receive_data(attempt, b"PING\r\n" * 50_000, rig.link.now)
    while not rig.client.wants_read:
        rig.client.handle_timeout(rig.link.now)


def test_a_server_that_sends_pings_and_reads_no_pongs_is_disconnected() -> None:
    rig = Rig()
    for _ in range(3):
        flood(rig, 1)
    assert rig.client.is_connected
    assert rig.client.output.size <= HIGH_WATER
    # After the transport takes the PONGs, the client answers PINGs as before.
    assert rig.client.data_to_send() == b"PONG\r\n" * 150_000
    rig.client.receive_data(1, b"PING\r\n" * 3, rig.link.now)
    assert rig.client.data_to_send() == b"PONG\r\n" * 3
    for _ in range(4):
        flood(rig, 1)
    assert not rig.client.is_connected
    assert isinstance(rig.client.last_error, StaleConnectionError)
    assert "does not read the answers" in str(rig.client.last_error)


def test_a_flood_of_pings_during_the_handshake_ends_the_attempt() -> None:
    rig = Rig()
    rig.link.cut()
    rig.broker.script = only_says(b"INFO {}\r\n")
    rig.link.advance(1.0)
    attempt = rig.link.opened
    for _ in range(4):
        flood(rig, attempt)
    assert isinstance(rig.client.last_error, StaleConnectionError)
    assert rig.client.data_to_send() == b""


def test_output_of_the_handshake_is_sent_with_the_kept_messages() -> None:
    rig = Rig()
    rig.client.publish("a", b"kept")
    rig.link.cut()
    rig.broker.script = only_says(b"INFO {}\r\n")
    rig.link.advance(1.0)
    attempt = rig.link.opened
    rig.client.receive_data(attempt, b"PING\r\nPONG\r\n", rig.link.now)
    assert rig.client.data_to_send() == b"PUB a 4\r\nkept\r\nPONG\r\n"


# ------------------------------------------------------------------------------ at any time


class CheckedClient(Client):
    """A client that checks each of its outputs as a transport would use it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.handed: list[int] = []
        super().__init__(*args, **options)

    def handle_timeout(self, now: float) -> None:
        super().handle_timeout(now)
        due = self.next_timeout()
        assert due is None or due > now, "a transport would run in a busy loop"

    def data_to_send(self) -> bytes:
        data = super().data_to_send()
        self.handed.extend(map(int, re.findall(rb"<(\d+)>", data)))
        return data


SUBJECTS = ["a", "b", "a.b", "nobody"]
NOISE = [
    b"PING\r\n",
    b"+OK\r\n",
    b"PONG\r\n",
    b"nonsense\r\n",
    b"MSG a 12345 1\r\nx\r\n",
    b"MSG a 1 3\r\nx",
    b"-ERR 'Stale Connection'\r\n",
    b"-ERR 'Permissions Violation for Subscription to \"a\"'\r\n",
    b"-ERR 'Who Knows'\r\n",
    b'INFO {"headers":true,"max_payload":1048576,"ldm":true}\r\n',
    b'INFO {"headers":true,"max_payload":1048576,"connect_urls":["c:1","d:2"]}\r\n',
    b'INFO {"headers":true,"max_payload":"x"}\r\n',
]


class AnyOperationAtAnyTime(RuleBasedStateMachine):
    """A client, two servers, and an unreliable network."""

    subs = Bundle("subs")

    def __init__(self) -> None:
        super().__init__()
        self.broker = Broker()
        self.sessions: list[ServerSession] = []
        self.broker.script = self._remember
        options = ClientOptions(
            [Server("a", 1), Server("b", 2)],
            ping_interval=10.0,
            connect_timeout=2.0,
            reconnect_buffer=600,
        )
        self.client = CheckedClient(options, rng=random.Random(1))
        self.link = Link(self.client, self.broker)
        self.accepted: list[int] = []
        self.requests: dict[Op[Any], int] = {}
        self.ops: list[Op[Any]] = []
        self.inboxes: list[Inbox] = []
        self.last = 0
        self.ops.append(self.client.open(self.link.now))
        self.link.pump()
        assert self.client.is_connected

    def _remember(self, session: ServerSession) -> bool:
        self.sessions.append(session)
        return False

    # What the user does.

    @rule(
        subject=st.sampled_from(SUBJECTS),
        padding=st.sampled_from([0, 1, 100, 300]),
        headers=st.sampled_from([None, {"k": "v"}]),
    )
    def publish(self, subject: str, padding: int, headers: dict[str, str] | None) -> None:
        self.last += 1
        body = b"<%d>" % self.last + b"x" * padding
        try:
            self.client.publish(subject, body, headers=headers)
        except BufferFullError:
            assert not self.client.is_connected
        else:
            self.accepted.append(self.last)

    @rule(
        subject=st.sampled_from(["a", "b", "a.*", ">"]),
        group=st.sampled_from([None, "g"]),
        target=subs,
    )
    def subscribe(self, subject: str, group: str | None) -> Subscription:
        inbox = Inbox()
        self.inboxes.append(inbox)
        sub = self.client.subscribe(subject, group, inbox.deliver)
        self.ops += [sub.confirmed, sub.ended]
        return sub

    @rule(sub=subs, most=st.sampled_from([None, None, 1, 3]))
    def unsubscribe(self, sub: Subscription, most: int | None) -> None:
        self.client.unsubscribe(sub, most)

    @rule()
    def flush(self) -> None:
        self.ops.append(self.client.flush())

    @rule(subject=st.sampled_from(SUBJECTS))
    def request(self, subject: str) -> None:
        number = self.last = self.last + 1
        try:
            op = self.client.request(subject, b"<%d>" % number)
        except BufferFullError:
            assert not self.client.is_connected
            return
        self.accepted.append(number)
        self.ops.append(op)
        self.requests[op] = number
        op.on_done(lambda: self._request_over(number))

    def _request_over(self, number: int) -> None:
        """The request is over, so it must not be handed over any more."""
        if number not in self.client.handed:
            self.accepted.remove(number)

    @rule()
    def wait_for_the_connection(self) -> None:
        self.ops.append(self.client.connected())

    @precondition(lambda self: self.ops)
    @rule(which=st.integers(0, 1000))
    def abandon(self, which: int) -> None:
        op = self.ops.pop(which % len(self.ops))
        self.client.abandon(op)
        if op in self.requests and not op.done:
            self._request_over(self.requests[op])

    # What the network and the servers do.

    @rule()
    def pump(self) -> None:
        self.link.pump()

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.3, 1.0, 5.0, 15.0, 60.0]))
    def advance(self, seconds: float) -> None:
        self.link.advance(seconds)

    @rule()
    def cut(self) -> None:
        self.link.cut()

    @rule(share=st.floats(0.0, 1.0))
    def cut_within_output(self, share: float) -> None:
        """Cut the connection while output is on its way to the server."""
        session = self.link.session
        if session is not None:
            data = self.client.data_to_send()
            if not self.link.black_hole:
                session.receive_data(data[: int(share * len(data))])
            self.link.cut()

    @rule(share=st.floats(0.0, 1.0))
    def cut_within_input(self, share: float) -> None:
        """Cut the connection while input is on its way to the client."""
        session = self.link.session
        if session is not None and not self.link.black_hole:
            data = session.data_to_send()
            self.client.receive_data(
                self.link.opened, data[: int(share * len(data))], self.link.now
            )
            self.link.cut()

    @rule()
    def hang_up(self) -> None:
        if self.link.session is not None:
            self.link.session.close()

    @rule(noise=st.sampled_from(NOISE))
    def noise(self, noise: bytes) -> None:
        if self.link.session is not None:
            self.link.session.say(noise)

    @rule(refuse=st.booleans())
    def refuse(self, refuse: bool) -> None:
        self.link.refuse = ConnectionRefusedError("refused") if refuse else None

    @rule(on=st.booleans())
    def black_hole(self, on: bool) -> None:
        self.link.black_hole = on

    @rule(mute=st.booleans())
    def mute(self, mute: bool) -> None:
        if self.link.session is not None:
            self.link.session.mute = mute

    # Invariants.

    @invariant()
    def handed_over_in_order_and_once(self) -> None:
        assert self.client.handed == self.accepted[: len(self.client.handed)]

    @invariant()
    def received_in_order_and_once(self) -> None:
        got = [
            int(event.payload[1:].split(b">")[0])
            for session in self.sessions
            for event in session.received
            if isinstance(event, Pub)
        ]
        assert got == sorted(set(got))
        assert set(got) <= set(self.accepted)

    @invariant()
    def no_session_saw_a_broken_frame_or_a_sid_twice(self) -> None:
        for session in self.sessions:
            sids = [event.sid for event in session.received if isinstance(event, Sub)]
            assert len(sids) == len(set(sids))
            assert not any(isinstance(event, ProtocolFailed) for event in session.received)

    @invariant()
    def delivered_in_order_once_and_whole(self) -> None:
        for inbox in self.inboxes:
            bodies = [body[head.header_size :] for head, body, _ in inbox.items if body[:1] != b"x"]
            got = [int(body[1:].split(b">")[0]) for body in bodies]
            assert got == sorted(set(got))
            assert all(body.strip(b"x").endswith(b">") for body in bodies)

    @invariant()
    def it_never_closes(self) -> None:
        assert self.client.state in (ClientState.CONNECTED, ClientState.RECONNECTING)

    def teardown(self) -> None:
        # The network recovers: all accepted messages are handed over, and the server confirms it.
        self.link.refuse = None
        self.link.black_hole = False
        self.link.advance(60.0)
        self.link.cut()
        self.link.advance(60.0)
        assert self.client.is_connected
        flushed = self.client.flush()
        self.link.pump()
        assert flushed.done
        flushed.result()
        assert self.client.handed == self.accepted
        # Every Op is resolved when the client closes.
        self.ops.append(self.client.close())
        self.link.pump()
        assert all(op.done for op in self.ops), [op for op in self.ops if not op.done]
        assert self.client.closed.done
        assert self.link.finished
        assert self.client.next_timeout() is None


TestAnyOperationAtAnyTime = AnyOperationAtAnyTime.TestCase
TestAnyOperationAtAnyTime.settings = settings(
    max_examples=10_000 if os.environ.get("NASQ_LONG") == "1" else 200,
    stateful_step_count=50,
    deadline=None,
)
