"""The client keeps its promises with bytes, time and commands in any order.

The first byte of the input chooses the options and whether the client is connected at the start.
Each following byte is an operation, followed by its arguments. `write_script` makes such bytes from
a script of `nasq_proto.strategies`.

These are checked after each operation: inputs never raise, commands raise only allowed exceptions,
`next_timeout` is not in the past after `handle_timeout`, no subscription that has ended is routed,
and the size of the output is right. At the end the client is closed, every Op is done, and nothing
is left to send.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, MutableSequence, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from fuzz.reader import Reader
from nasq_proto import (
    BufferFullError,
    Client,
    ClientOptions,
    ClientState,
    CloseTransport,
    ConnectionClosedError,
    Finished,
    Inbox,
    InvalidHeaderError,
    Limits,
    NeedCredentials,
    NotConnectedError,
    Op,
    OpenTransport,
    Overflow,
    PayloadTooLargeError,
    ReconnectPolicy,
    Server,
    StartTLS,
    Subscription,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nasq_proto.strategies import Step

__all__ = ["ALLOWED", "test_one_input", "write_script"]

ALLOWED: Final[Mapping[type[Exception], str]] = {
    NotConnectedError: "a command before open()",
    ConnectionClosedError: "a command after the client has closed, or while it drains",
    BufferFullError: "a publish while disconnected, with the buffer full",
    PayloadTooLargeError: "a publish larger than the server's max_payload",
    InvalidHeaderError: "headers to a server that does not support them",
}
_allowed: Final = tuple(ALLOWED)

LIMITS: Final = Limits(control_line=1024, message=1024)
_MOST_BUFFERED: Final = LIMITS.control_line + LIMITS.message + 4
_BUFFER: Final = 256
_MOST_OPERATIONS: Final = 40
SUBJECTS: Final = ("a", "a.b", "b", "_INBOX.x.1", "ü")
_PATTERNS: Final = (*SUBJECTS, "*", "a.>")
NUMBERS: Final = (0, 1, 2, 3, 9, 999_999_999)
_SECONDS: Final = (0.0, 0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 200.0)
SERVER_DATA: Final = (
    b"PONG\r\n",
    b"PING\r\n",
    b"+OK\r\n",
    b"INFO {}\r\n",
    b'INFO {"headers":true,"max_payload":64}\r\n',
    b'INFO {"headers":true,"ldm":true,"connect_urls":["c:3"]}\r\n',
    b'INFO {"tls_required":true}\r\n',
    b'INFO {"tls_available":true}\r\n',
    b"MSG a 1 2\r\nhi\r\n",
    b"MSG a 1 2\r\nhi\r\nMSG a 1 2\r\nho\r\nMSG a 2 0\r\n\r\n",
    b"HMSG a 2 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    b"MSG a 9 0\r\n\r\n",
    b"MSG _INBOX.aaaaaaaaaaaaaaaaaaaaaa.1 1 2\r\nhi\r\n",
    b"HMSG _INBOX.aaaaaaaaaaaaaaaaaaaaaa.1 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n",
    b"-ERR 'Authorization Violation'\r\n",
    b"-ERR 'Stale Connection'\r\n",
    b"-ERR 'Invalid Subject'\r\n",
    b"-ERR 'Permissions Violation for Publish to \"a\"'\r\n",
    b"-ERR 'Permissions Violation for Subscription to \"a\"'\r\n",
    b'-ERR \'Permissions Violation for Subscription to "a" using queue "g" (sid "2")\'\r\n',
    b"-ERR 'Permissions Violation for Subscription to \"_INBOX.aaaaaaaaaaaaaaaaaaaaaa.*\"'\r\n",
    b"MSG a 1 5\r\nhe",
    b"nonsense\r\n",
)


_CONNECTED: Final = (ClientState.CONNECTED, ClientState.DRAINING)


class _FixedRandom(random.Random):
    """A generator that makes the same choices in each run."""

    def random(self) -> float:
        return 0.5

    def choice(self, seq: Any) -> Any:
        return seq[0]

    def shuffle(self, x: MutableSequence[Any]) -> None:
        x.reverse()


_RNG: Final = _FixedRandom(0)


@cache
def _options(how: int) -> ClientOptions:
    # `open` resets the state of the servers, so inputs can share them.
    return ClientOptions(
        [Server("a", 1), Server("b", 2, scheme="tls" if how & 8 else "nats")],
        tls=bool(how & 1),
        shuffle=bool(how & 2),
        user=_raise if how & 64 else None,
        ping_interval=2.0,
        connect_timeout=1.0,
        reconnect=None if how & 4 else ReconnectPolicy(max_attempts=2 if how & 2 else None),
        reconnect_buffer=_BUFFER,
        limits=LIMITS,
    )


def _raise() -> str:
    raise KeyError("a user's callable")


class _Player:
    """A client, the transport that drives it, and the results that it must deliver."""

    def __init__(self, how: int) -> None:
        self.client = Client(_options(how), rng=_RNG)
        self.now = 0.0
        self.attempt = 0
        self.is_open = False
        self.ops: list[Op[Any]] = []
        self.subs: list[Subscription] = []
        bounded = how & 16
        self.inbox = Inbox(2, None, Overflow.BLOCK if how & 4 else Overflow.DROP_OLDEST)
        if not bounded:
            self.inbox = Inbox()
        self.client.watch(self.inbox)
        self.seen = 0
        if how & 32:
            self.ops.append(self.client.open(0.0))
            self.act()
            self.succeed()
            self.say(b"INFO {}\r\n" if how & 1 else b'INFO {"headers":true}\r\n')
            self.say(b"PONG\r\n")

    # ------------------------------------------------------------------ the transport

    def act(self) -> None:
        """Execute the actions of the client."""
        client = self.client
        while (action := client.next_action()) is not None:
            if isinstance(action, OpenTransport):
                self.attempt = action.attempt
                self.is_open = False
            elif isinstance(action, CloseTransport):
                client.transport_closed(action.attempt, None, self.now)
            elif isinstance(action, NeedCredentials):
                try:
                    fields = action.read_now()
                except Exception as error:  # from the callable in the options
                    client.credentials_failed(action.attempt, error, self.now)
                else:
                    client.credentials_given(action.attempt, fields, self.now)
            elif isinstance(action, Finished):
                assert client.state is ClientState.CLOSED, "Finished, but the client is not closed"
                assert client.stopped.done
            else:
                assert isinstance(action, StartTLS)
                client.tls_established(action.attempt, self.now)

    def say(self, data: bytes) -> None:
        """Receive data from the server."""
        client = self.client
        client.receive_data(self.attempt, data, self.now)
        if (current := client._attempt) is not None:
            assert current.connection.buffered <= _MOST_BUFFERED, "too much data is buffered"

    def succeed(self) -> None:
        """Report that the stream is open."""
        self.act()
        # A transport reports this once for each attempt.
        if not self.is_open:
            self.is_open = self.client.transport_opened(self.attempt, self.now)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and serve the deadlines of the client."""
        client = self.client
        end = self.now + seconds
        for _ in range(100):
            due = client.next_timeout()
            if due is None or due > end:
                break
            self.now = max(self.now, due)
            self.serve_timeout()
            self.act()
        self.now = end

    def serve_timeout(self) -> None:
        """Call `handle_timeout`, whether it is due or not."""
        client = self.client
        for _ in range(4):
            client.handle_timeout(self.now)
            due = client.next_timeout()
            if due is None or due > self.now:
                return
        assert due is not None
        raise AssertionError(f"at {self.now} the next timeout stays at {due}")

    # ------------------------------------------------------------------ the promises

    def check(self) -> None:
        """Check what must be true at any time."""
        client = self.client
        if (output := client.output).frames:
            assert output.size == sum(map(len, output.frames)), "the output's size is wrong"
        else:
            assert not output.size, "an empty output has a size"
        for sub in client.subscriptions.by_sid.values():
            assert not sub.ended.done, f"{sub!r} has ended but is routed"
            assert sub.max_msgs is None or sub.delivered < sub.max_msgs, (
                f"{sub!r} is at its maximum"
            )
        state = client.state
        assert client.is_connected == (state in _CONNECTED), state
        if state is ClientState.CLOSED:
            for op in self.ops:
                assert op.done, f"the client is closed, but {op!r} is not done"

    def finish(self) -> None:
        """Close the client, and check that nothing is left."""
        client = self.client
        self.ops.append(client.close())
        self.act()
        if client.state is not ClientState.IDLE:
            assert client.state is ClientState.CLOSED
            assert client.closed.done
            assert client.stopped.done
        for op in self.ops:
            assert op.done, f"the client is closed, but {op!r} is not done"
        for sub in self.subs:
            assert sub.confirmed.done, f"closed, but {sub!r} is neither confirmed nor refused"
            assert sub.ended.done, f"closed, but {sub!r} has not ended"
        sids = [sub.sid for sub in self.subs]
        assert len(set(sids)) == len(sids), "a sid was used twice"
        assert client.data_to_send() == b""
        assert client.next_action() is None
        assert not client.subscriptions.by_sid


# ---------------------------------------------------------------------- the operations


def _publish(player: _Player, reader: Reader) -> None:
    if player.client.publish(reader.choice(SUBJECTS), reader.raw()):
        player.client.output.grant()


def _publish_with_headers(player: _Player, reader: Reader) -> None:
    player.client.publish(reader.choice(SUBJECTS), reader.raw(), "r", {"A": "b"})


def _request(player: _Player, reader: Reader) -> None:
    player.ops.append(player.client.request(reader.choice(SUBJECTS), reader.raw()))


def _subscribe(player: _Player, reader: Reader) -> None:
    sub = player.client.subscribe(reader.choice(_PATTERNS), None, player.inbox.deliver)
    player.subs.append(sub)


def _subscribe_in_group(player: _Player, reader: Reader) -> None:
    sub = player.client.subscribe(reader.choice(_PATTERNS), "g", player.inbox.deliver)
    player.subs.append(sub)


def _unsubscribe(player: _Player, reader: Reader) -> None:
    number = reader.byte()
    if player.subs:
        player.client.unsubscribe(player.subs[number % len(player.subs)])


def _unsubscribe_after(player: _Player, reader: Reader) -> None:
    number = reader.choice(NUMBERS) or 1
    if player.subs:
        player.client.unsubscribe(player.subs[-1], number)


def _flush(player: _Player, reader: Reader) -> None:
    player.ops.append(player.client.flush())


def _abandon(player: _Player, reader: Reader) -> None:
    number = reader.byte()
    if player.ops:
        player.client.abandon(player.ops.pop(number % len(player.ops)))


def _drain(player: _Player, reader: Reader) -> None:
    player.ops.append(player.client.drain())


def _close(player: _Player, reader: Reader) -> None:
    player.ops.append(player.client.close())
    # The transport closes before the client is opened again.
    player.act()


def _open(player: _Player, reader: Reader) -> None:
    player.ops.append(player.client.open(player.now))
    player.act()


def _server_says(player: _Player, reader: Reader) -> None:
    player.say(reader.raw())


def _server_sends(player: _Player, reader: Reader) -> None:
    player.say(reader.choice(SERVER_DATA))


def _cut(player: _Player, reader: Reader) -> None:
    player.client.transport_closed(player.attempt, OSError("cut"), player.now)


def _end(player: _Player, reader: Reader) -> None:
    player.client.transport_closed(player.attempt, None, player.now)


def _refuse(player: _Player, reader: Reader) -> None:
    player.act()
    player.client.transport_closed(player.attempt, OSError("refused"), player.now)


def _tenths(player: _Player, reader: Reader) -> None:
    player.pass_time(reader.choice(NUMBERS[:5]) / 10)


def _seconds(player: _Player, reader: Reader) -> None:
    player.pass_time(reader.choice(_SECONDS))


def _timeout(player: _Player, reader: Reader) -> None:
    player.serve_timeout()


def _act(player: _Player, reader: Reader) -> None:
    player.act()


def _succeed(player: _Player, reader: Reader) -> None:
    player.succeed()


def _greet(player: _Player, reader: Reader) -> None:
    player.succeed()
    player.say(SERVER_DATA[3 + reader.byte() % 5])
    player.act()
    player.say(SERVER_DATA[0])


def _send(player: _Player, reader: Reader) -> None:
    player.client.data_to_send()


def _stale(player: _Player, reader: Reader) -> None:
    """A transport that was given up reports late events."""
    attempt = player.attempt - 1 - reader.byte() % 2
    client = player.client
    before = client.state, client.next_timeout()
    client.receive_data(attempt, b"nonsense\r\n", player.now)
    client.tls_established(attempt, player.now)
    assert not client.transport_opened(attempt, player.now)
    client.transport_closed(attempt, OSError("late"), player.now)
    assert before == (client.state, client.next_timeout()), "an old attempt had an effect"


def _pop(player: _Player, reader: Reader) -> None:
    if player.inbox.items:
        player.inbox.take()


def _wait(player: _Player, reader: Reader) -> None:
    player.ops.append(player.client.connected())
    player.ops.append(player.client.writable())


_Operation = Callable[[_Player, Reader], None]
# Names in capitals are those of `nasq_proto.strategies.Command`.
OPERATIONS: Final[dict[str, _Operation]] = {
    "OPEN": _open,
    "PUBLISH": _publish,
    "PUBLISH_WITH_HEADERS": _publish_with_headers,
    "REQUEST": _request,
    "SUBSCRIBE": _subscribe,
    "SUBSCRIBE_IN_GROUP": _subscribe_in_group,
    "UNSUBSCRIBE": _unsubscribe,
    "UNSUBSCRIBE_AFTER": _unsubscribe_after,
    "FLUSH": _flush,
    "ABANDON": _abandon,
    "DRAIN": _drain,
    "CLOSE": _close,
    "SERVER_SAYS": _server_says,
    "CUT": _cut,
    "REFUSE": _refuse,
    "TIME": _tenths,
    "server_sends": _server_sends,
    "end": _end,
    "seconds": _seconds,
    "timeout": _timeout,
    "act": _act,
    "succeed": _succeed,
    "greet": _greet,
    "send": _send,
    "stale": _stale,
    "pop": _pop,
    "wait": _wait,
}
_BY_NUMBER: Final = tuple(OPERATIONS.values())
_NUMBER: Final = {name: number for number, name in enumerate(OPERATIONS)}


def test_one_input(data: bytes) -> Hashable:
    """Run the operations in `data` with a new client."""
    reader = Reader(data)
    how = reader.byte()
    player = _Player(how)
    refused = 0
    for _ in range(_MOST_OPERATIONS):
        if not reader:
            break
        operation = reader.choice(_BY_NUMBER)
        try:
            operation(player, reader)
        except _allowed as error:
            refused |= 1 << list(ALLOWED).index(type(error))
        player.check()
    client = player.client
    notices = frozenset(type(notice) for notice in client.take_notices())
    state, reason, reconnects = client.state, type(client.last_error), min(2, client.reconnects)
    player.finish()
    return how & 45, state, reason, reconnects, notices, refused


def write_script(how: int, steps: Sequence[Step]) -> bytes:
    """Convert a script to bytes for `test_one_input`."""
    out = bytearray([how])
    for step in steps:
        name = step.command.name
        out.append(_NUMBER[name])
        subject = SUBJECTS.index(step.subject) if step.subject in SUBJECTS else 0
        data = step.data[:255]
        if name in ("PUBLISH", "PUBLISH_WITH_HEADERS", "REQUEST"):
            out += bytes([subject, len(data)]) + data
        elif name in ("SUBSCRIBE", "SUBSCRIBE_IN_GROUP"):
            out.append(subject)
        elif name == "SERVER_SAYS":
            out += bytes([len(data)]) + data
        elif name in ("UNSUBSCRIBE", "UNSUBSCRIBE_AFTER", "ABANDON", "TIME"):
            out.append(step.number)
        elif name == "OPEN":
            out += bytes([_NUMBER["greet"], step.number])
    return bytes(out)
