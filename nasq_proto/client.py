"""The reconnecting NATS client, without I/O: bytes and time in, bytes, actions and a deadline out.

Theory of operation
-------------------
A transport drives a `Client` with its inputs (`transport_opened`, `tls_established`,
`credentials_given`, `credentials_failed`, `receive_data`, `transport_closed`, `handle_timeout`)
and serves its outputs (`next_action`, `data_to_send`, `next_timeout`, `wants_read`,
`take_notices`). Inputs never raise. Every connection that is tried has an attempt
number; what a transport reports of an attempt that was given up is ignored.

Commands (`publish`, `subscribe`, `request`, `flush`, …) do no I/O and never block. What takes time
returns an `Op`. An Op has no deadline of its own: whoever waits brings one, and calls `abandon`
when it stops waiting. The client resolves every Op at the latest when it closes.

The output is one list. While a connection is up, `data_to_send` hands all of it over. While none
is, commands gather in it, publishes bounded by `reconnect_buffer`. When a connection breaks, what
was not handed over stays, in order and in whole frames, except requests (they fail), PING and
PONG. On the next connection the subscriptions that the lost one knew are replayed, then the list
goes on as if nothing had happened. So order is kept, no frame is sent twice, and what was handed
over to a connection that broke is lost or not: `flush` is how to know.

Known imperfections: what the operating system had taken but not delivered when a connection broke
is lost without being known to be (at-most-once, as core NATS).
"""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, Final

from .actions import (
    Action,
    CloseTransport,
    Finished,
    OpenTransport,
    StartTLS,
)
from .answers import Answers, Confirmation
from .attempt import Attempt, Outcome
from .connector import Connector
from .encoder import publish_head, raw_publish_head
from .errors import (
    BufferFullError,
    ConnectionClosedError,
    ConnectionLostError,
    InvalidHeaderError,
    LameDuckError,
    LocalProtocolError,
    NASQError,
    NotConnectedError,
    PayloadTooLargeError,
    PermissionsViolationError,
    ServerError,
    StaleConnectionError,
    SubscriptionRefusedError,
    TLSError,
    server_error,
)
from .events import Err, Event, Info, Ping, Pong, ProtocolFailed
from .handshake import Phase, plaintext_after_info
from .headers import encode_headers
from .inbox import Inbox
from .notices import (
    Closed,
    Connected,
    Disconnected,
    LameDuck,
    Notice,
    Reconnected,
    ServerErrorReceived,
)
from .ops import Op
from .options import ClientOptions
from .output import (
    COST,
    CRLF,
    HIGH_WATER,
    MOST_PONGS,
    NO_LIMIT,
    ControlFrame,
    Output,
    Publisher,
)
from .replies import PendingReply, Replies, TakeReply
from .servers import Server
from .subjects import decode_text
from .subscriptions import Deliver, Subscription, Subscriptions
from .timers import Timer, Timers
from .watched import WatchedInboxes

__all__ = ["Client", "ClientState"]

_CACHED_PUBLISHERS: Final = 1024


class ClientState(enum.Enum):
    """Where a client stands."""

    IDLE = "not connected yet"
    CONNECTING = "making the first connection"
    CONNECTED = "connected"
    RECONNECTING = "making a new connection"
    DRAINING = "draining"
    CLOSED = "closed"


_C = ClientState
# A step that is not listed is a bug of this module, and raises where it is taken.
_STEPS: Final[dict[ClientState, frozenset[ClientState]]] = {
    _C.IDLE: frozenset({_C.CONNECTING, _C.CLOSED}),
    _C.CONNECTING: frozenset({_C.CONNECTED, _C.CLOSED}),
    _C.CONNECTED: frozenset({_C.RECONNECTING, _C.DRAINING, _C.CLOSED}),
    _C.RECONNECTING: frozenset({_C.CONNECTED, _C.CLOSED}),
    _C.DRAINING: frozenset({_C.CLOSED}),
    _C.CLOSED: frozenset({_C.CONNECTING}),
}


class Client:
    """A NATS client that reconnects, driven by a transport.

    Args:
        options: see `ClientOptions`.
        rng: the source of jitter and of the inbox's name; `open` can replace it.

    Attributes:
        state: see `ClientState`.
        info: the latest INFO of the present or last server; None before the first.
        last_error: why the last connection failed or broke.
        closed: done when the state is CLOSED, with the error that made the client close itself, or
            None where its owner has closed it. New for each `open`, as is `stopped`.
        stopped: done when its streams are gone as well, and the transport was told to stop.
        timers: the timers of the client and of features that are built on it.
        output: what was not handed to a connection yet; counts what was published.
        reconnects: connections made after the first.
        unrouted: messages that came for no known subscription, late replies included.
        dropped_unsent: accepted publishes that could never be sent.
    """

    def __init__(self, options: ClientOptions, *, rng: random.Random) -> None:
        options.check()
        self._rng = rng
        self.state = ClientState.IDLE
        self.info: Info | None = None
        self.last_error: Exception | None = None
        self.closed: Op[Exception | None] = Op()
        self.stopped: Op[None] = Op()
        self.reconnects = 0
        self.dropped_unsent = 0
        self.subscriptions = Subscriptions()
        self._unrouted = 0
        self.output = Output(self._refuse)
        self.timers = Timers()
        self._options = options
        self._connector = Connector(options, rng, self.timers, self.give_up)
        self._replies = Replies(options.inbox_prefix)
        self._reply_inbox: Subscription | None = None
        self._actions: deque[Action] = deque()
        self._notices: list[Notice] = []
        self._attempt: Attempt | None = None
        self._closing_attempt: int | None = None
        # The deadline of the present attempt, or the time of the next one.
        self._connect_timer: Timer | None = None
        # Those who wait for what `open` and `connected` have given them.
        self._open_waiters: list[Op[None]] = []
        self._connected_waiters: list[Op[bool]] = []
        self._live = False
        self._answers = Answers(
            self.output,
            self.timers,
            interval=options.ping_interval,
            max_out=options.max_pings_out,
            reading=lambda: self.wants_read,
            drop=self._drop_current,
        )
        self._watched = WatchedInboxes(self.timers, self.add_notice)
        self._now = 0.0
        self._publishers: dict[str, Publisher] = {}

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.state.value}, {len(self.subscriptions)} subscriptions, "
            f"{len(self._replies)} requests, {self.output.size} bytes not handed over>"
        )

    # ------------------------------------------------------------------ inputs

    def wants(self, attempt: int) -> bool:
        """Whether this attempt has not been given up."""
        return self._attempt is not None and self._attempt.number == attempt

    @property
    def tls_context(self) -> Any:
        """What the options have for the transport."""
        return self._options.tls_context

    def transport_opened(self, attempt: int, now: float) -> bool:
        """The stream of this attempt is open; nothing was read from it yet.

        Returns:
            False when the attempt was given up meanwhile: close the stream.
        """
        current = self._current(attempt)
        if current is None:
            return False
        current.opened()
        return True

    def tls_established(self, attempt: int, now: float) -> None:
        """The TLS handshake that `StartTLS` asked for is complete."""
        current = self._current(attempt)
        if current is not None:
            self._go_on(current.tls_established(), now)

    def credentials_given(self, attempt: int, fields: Mapping[str, str], now: float) -> None:
        """The credentials that `NeedCredentials` asked for, as fields of CONNECT."""
        current = self._current(attempt)
        if current is not None:
            self._go_on(current.credentials_given(fields), now)

    def credentials_failed(self, attempt: int, error: Exception, now: float) -> None:
        """The credentials that `NeedCredentials` asked for could not be read."""
        current = self._current(attempt)
        if current is not None:
            self._go_on(current.credentials_failed(error), now)

    def receive_data(self, attempt: int, data: bytes, now: float) -> None:
        """Bytes came in."""
        current = self._attempt
        if current is None or current.number != attempt:
            return
        self._now = now
        # A server that hangs up because of an error sends nothing behind it.
        current.error = None
        pings = 0
        by_sid = self.subscriptions.by_sid
        for frame in current.connection.receive_frames(data):
            if current.phase is Phase.STARTING_TLS:
                self._drop(plaintext_after_info(current.server), now)
                return
            if isinstance(frame, tuple):
                sid, heads, bodies = frame
                sub = by_sid.get(sid)
                if sub is None:
                    self._unrouted += len(bodies)
                    continue
                if sub.max_msgs is not None and sub.delivered + len(bodies) >= sub.max_msgs:
                    # Sent before the server knew of the maximum, and however they were cut.
                    left = sub.max_msgs - sub.delivered
                    self._unrouted += len(bodies) - left
                    heads, bodies = heads[:left], bodies[:left]
                sub.deliver(heads, bodies, now)
                sub.delivered += len(bodies)
                if sub.delivered == sub.max_msgs:
                    self.subscriptions.remove(sub)
            elif type(frame) is Ping:
                pings += 1
            else:
                self._on_event(current, frame, now)
                if self._attempt is not current:
                    return
        if pings:
            self._answer(current, pings, now)
        if injected := current.injected():
            self._drop(injected, now)
        if self._watched.bounded:
            self._watched.report(now)

    def transport_closed(self, attempt: int, error: Exception | None, now: float) -> None:
        """The stream of this attempt ended, was closed as asked, or could not be opened."""
        if attempt == self._closing_attempt:
            self._closing_attempt = None
            self._actions.append(Finished())
        current = self._current(attempt)
        if current is None:
            return
        if current.connection.has_unread:
            # Once that is read. The first report counts: a layer's reason comes before the end of
            # the stream that it has closed.
            current.ended = current.ended or (error,)
            return
        self._broken(current, current.ended_by(error), now)

    def handle_timeout(self, now: float) -> None:
        """`next_timeout()` has come."""
        self._now = now
        current = self._attempt
        if current is not None and current.connection.has_unread:
            self.receive_data(current.number, b"", now)
            if current.ended is not None and not current.connection.has_unread:
                self.transport_closed(current.number, *current.ended, now)
        self.timers.run(now)

    # ------------------------------------------------------------------ outputs

    def next_action(self) -> Action | None:
        """What the transport has to do next; None when there is nothing."""
        if not self._actions:
            return None
        action = self._actions.popleft()
        if isinstance(action, Finished):
            self.stopped.resolve(None)
        return action

    def data_to_send(self) -> bytes:
        """Everything to be written to the present stream, in full and in order."""
        output, current = self.output, self._attempt
        data = output.hand_over() if self._live and output.frames else b""
        if current is not None and current.to_send:
            handshake, current.to_send = current.to_send, []
            output.pongs = 0
            return b"".join((*handshake, data))
        return data

    @property
    def has_output(self) -> bool:
        """Whether there is output that was not handed over yet."""
        return bool(self.output.frames or self._handshake)

    def slow_down(self) -> None:
        """Have the next publish check for congestion: the stream accepts no bytes now."""
        self.output.revoke()

    def next_timeout(self) -> float | None:
        """When to call `handle_timeout`; None: not before something else happens."""
        if self._attempt is not None and self._attempt.connection.has_unread:
            return self._now  # others have had their turn by then
        return self.timers.next

    @property
    def wants_read(self) -> bool:
        """False while an inbox is full and asks for the sender to be held back.

        False also until what was read last is taken in: that happens by and by, at the times that
        `next_timeout` gives, so that no call takes long. A handshake is read in any case.
        """
        if self._attempt is not None and self._attempt.connection.has_unread:
            return False
        return not (self._live and self._watched.blocked)

    @property
    def has_notices(self) -> bool:
        """Whether `take_notices` has something to give."""
        return bool(self._notices)

    def take_notices(self) -> list[Notice]:
        """What happened since the last call, for the owner's `on_event`."""
        notices, self._notices = self._notices, []
        return notices

    def add_notice(self, notice: Notice) -> None:
        """Have the transport hand out a notice of the facade's; it wants a kick."""
        self._notices.append(notice)

    # ------------------------------------------------------------------ commands

    def open(
        self, now: float, until: float | None = None, *, rng: random.Random | None = None
    ) -> Op[None]:
        """Connect. Done when a connection is up; fails when no server could be reached.

        Then the client is CLOSED, and can be opened again.

        Args:
            now: the time on the transport's clock.
            until: None: each server is tried once, without a pause. That takes at most one
                connect_timeout for each server that was named, and one more for all that were
                announced meanwhile. A time on the same clock: after that round the servers are
                tried again, with the delays of the reconnect policy (its `max_attempts` does not
                count), until then; math.inf: without end. While the first connection is being made
                already, the later time counts.
            rng: the source of jitter and of the inbox's name from now on; None: the one before.
                Ignored unless the client is IDLE or CLOSED.
        """
        op: Op[None] = Op()
        if self.state in (ClientState.IDLE, ClientState.CLOSED):
            self._step(ClientState.CONNECTING)
            self.output.limit = self._options.reconnect_buffer
            # A transport that was not told of its end yet has this connection to serve instead.
            self._closing_attempt = None
            self._actions = deque(a for a in self._actions if not isinstance(a, Finished))
            self.stopped.resolve(None)
            self.closed = Op()
            self.stopped = Op()
            if rng is not None:
                self._rng = self._connector.pool.rng = rng
            self._replies.new_inbox(self._rng)
            self._connector.start(until)
            self._open_waiters.append(op)
            self._next_server(now)
        elif self._live:
            op.resolve(None)
        else:
            if self.state is ClientState.CONNECTING and until is not None:
                self._connector.extend(until)
            self._open_waiters.append(op)
        return op

    def give_up(self) -> None:
        """Stop trying for the first connection and close; `last_error` tells why none was made."""
        if self.state is not ClientState.CONNECTING:
            return
        if self._attempt is not None:
            self._connector.give_up(self._attempt)
        self._shut(self._connector.failure())

    def watch(self, inbox: Inbox) -> None:
        """Do not read while `inbox` is blocked, and report what it drops."""
        self._watched.add(inbox)

    def unwatch(self, inbox: Inbox) -> None:
        """End `watch`. Raises ValueError if `inbox` is not watched.

        If the inbox was blocked, `wants_read` may change: kick the transport.
        """
        self._watched.remove(inbox)

    def connected(self) -> Op[bool]:
        """Done with True when a connection is up, with False when the client closes."""
        if self._live or self.state is ClientState.CLOSED:
            return Op.resolved(self._live)
        op: Op[bool] = Op()
        self._connected_waiters.append(op)
        return op

    def publish(
        self,
        subject: str,
        payload: bytes,
        reply: str | None = None,
        headers: Mapping[str, str | Sequence[str]] | None = None,
    ) -> bool:
        """Send a message, or keep it for the next connection.

        Returns:
            True when the output was empty before: the transport wants a kick.

        Raises:
            TypeError, InvalidSubjectError, InvalidHeaderError, PayloadTooLargeError: nothing
                was sent.
            NotConnectedError, ConnectionClosedError: there is no connection, nor will there be.
            BufferFullError: disconnected, and `reconnect_buffer` is full.
        """
        if type(payload) is not bytes:
            payload = memoryview(payload).tobytes()  # len() of other buffers need not be bytes
        head = publish_head(subject, reply, with_headers=headers is not None)
        line, body = self._line_and_body(head, payload, headers)
        return self.output.publish(line, body, subject)

    def publish_raw(
        self,
        subject: bytes,
        payload: bytes,
        headers: Mapping[str, str | Sequence[str]] | None = None,
    ) -> bool:
        """Publish to a subject that came from the wire, such as the reply subject of a message.

        Such subjects are new each time: nothing is cached for them. Returns what `publish` returns
        and raises what it raises.
        """
        head = raw_publish_head(subject, with_headers=headers is not None)
        if headers is None:
            line, body = b"%b%d\r\n" % (head, len(payload)), payload
        else:
            line, body = self._line_and_body(head, payload, headers)
        output, size = self.output, len(body)
        if output.credit > 0 and size <= output.max_payload:
            output.frames += (line, body, CRLF)
            output.credit -= size + COST
            return False
        return output.publish(line, body, decode_text(subject))

    def publisher(self, subject: str) -> Publisher:
        """Publishes to one subject: the fast way for many messages without headers or reply.

        Raises:
            TypeError, InvalidSubjectError: it can't be published to.
        """
        publisher = self._publishers.get(subject)
        if publisher is None:
            if len(self._publishers) >= _CACHED_PUBLISHERS:
                self._publishers.clear()
            publisher = self._publishers[subject] = Publisher(self.output, subject)
        return publisher

    @property
    def congested(self) -> bool:
        """More output waits than a publisher should add to; `writable` tells when it is gone."""
        return self.output.size > HIGH_WATER and self._live

    def writable(self) -> Op[None]:
        """Done when the output has been taken, or the connection is gone."""
        if not self.congested:
            return Op.resolved(None)
        return self.output.writable()

    def subscribe(self, subject: str, queue_group: str | None, deliver: Deliver) -> Subscription:
        """Subscribe. `confirmed` of what is returned is done when the server has taken it.

        Args:
            subject: may hold wildcards.
            queue_group: one member of the group gets each message; None: every one.
            deliver: called with the heads and the bodies of each run of messages, and with when
                they came; `Inbox.deliver` fits.

        Raises:
            TypeError, InvalidSubjectError: nothing was sent.
            NotConnectedError, ConnectionClosedError: there is no connection, nor will there be.
        """
        self._check_open()
        if self.state is ClientState.DRAINING:
            raise ConnectionClosedError("the client is draining: no new subscriptions")
        sub = self.subscriptions.add(subject, queue_group, deliver)
        if self._live:
            self._answers.send(Confirmation(sub), sub.sub_frame)
        else:
            self.output.add(sub.sub_frame)
        return sub

    def unsubscribe(self, sub: Subscription, max_msgs: int | None = None) -> None:
        """End a subscription: now, or when it has received `max_msgs` messages from its start.

        Messages that are under way still come until `ended` of it is done.

        Raises:
            TypeError, LocalProtocolError: `max_msgs` is no number that the server takes; nothing
                has changed.
        """
        if sub.raw_sid not in self.subscriptions.by_sid or sub.closing:
            return
        if max_msgs is not None:
            sub.limit(max_msgs)
            if sub.max_frame is not None:
                self.output.take_back(sub.max_frame)
            if sub.delivered >= max_msgs:
                self.subscriptions.remove(sub)
                self.output.add(sub.new_unsub_frame())
            else:
                self.output.add(sub.new_max_frame())
            return
        sub.closing = True
        self.output.add(sub.new_unsub_frame())
        if self._live:
            self._end(sub)

    def request(
        self,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str | Sequence[str]] | None = None,
        *,
        take: TakeReply | None = None,
    ) -> PendingReply:
        """Publish with a reply subject. The result is done with the last reply, and contains it.

        It fails with `NoRespondersError`, or with `ConnectionLostError` when the connection breaks
        first. While disconnected, the request waits for the next connection. A request that has
        failed, or that was given up with `abandon`, is never sent later.

        Args:
            subject, payload, headers: as of `publish`, which says what they raise.
            take: called with the head, body and receive time of each reply, until it returns True.
                None: the first reply is the last.
        """
        if not self._live:
            self._check_open()
        if type(payload) is not bytes:
            payload = memoryview(payload).tobytes()
        op = self._replies.new(subject, take)
        try:
            if self._reply_inbox is None or self._reply_inbox.ended.done:
                inbox = self._replies.inbox + "*"
                self._reply_inbox = self.subscribe(inbox, None, self._replies.deliver)
            if headers is None:
                self.publisher(subject).request(payload, op)
            else:
                head = publish_head(subject, op.reply.decode(), with_headers=True)
                line, body = self._line_and_body(head, payload, headers)
                self.output.expect(op, line)
                self.output.publish(line, body, subject)
        except BaseException:
            self.abandon(op)
            raise
        return op

    def flush(self) -> Op[None]:
        """Done when the server has processed everything that was sent before.

        Fails with `ConnectionLostError` when the connection breaks first: a flush never
        reports a success that was not. While disconnected it waits for the next connection.
        """
        self._check_open()
        if self._live and not (self._attempt and self._attempt.leaving):
            return self._answers.ping()
        return self._answers.defer()

    def drain(self) -> Op[None]:
        """Unsubscribe from everything, take in what is under way, have the server take the rest.

        Done when that is so; then `close`. Fails with `ConnectionLostError` when the
        connection breaks first: the client is CLOSED then.
        """
        self._check_open()
        if not self._live:
            return Op.failed(NotConnectedError(f"can't drain: the client is {self.state.value}"))
        if self.state is not ClientState.DRAINING:
            self._step(ClientState.DRAINING)
            self._stay()
            for sub in self.subscriptions:
                if sub is not self._reply_inbox:
                    self.unsubscribe(sub)
        return self._answers.ping()

    def close(self) -> Op[None]:
        """Close at once: no more is sent, everything that waits ends. Idempotent.

        Done when the stream is gone and the transport has stopped.
        """
        if self.state is ClientState.IDLE:
            self._resolve_connected(up=False)
            return Op.resolved(None)
        if self.state is not ClientState.CLOSED:
            self._shut(None)
        return self.stopped

    def fail(self, error: Exception | None) -> None:
        """Close at once, since the transport can't go on, for this reason. Idempotent.

        Unlike `close` it asks for nothing any more: `stopped` is done.
        """
        if self.state not in (ClientState.IDLE, ClientState.CLOSED):
            self._shut(error)
        self._closing_attempt = None
        self._actions.clear()
        self.stopped.resolve(None)

    def abandon(self, op: Op[Any]) -> None:
        """Whoever waited for `op` has stopped (timeout, cancellation)."""
        if isinstance(op, PendingReply):
            self._replies.abandon(op)
            self.output.take_back_request(op)
        elif op in self._open_waiters:
            self._open_waiters.remove(op)
        elif op in self._connected_waiters:
            self._connected_waiters.remove(op)
        elif not self._answers.abandon(op):
            self.output.abandon(op)

    @property
    def unrouted(self) -> int:
        """Messages that came for no known subscription, late replies included."""
        return self._unrouted + self._replies.late

    @property
    def is_connected(self) -> bool:
        """Whether a connection is up."""
        return self._live

    @property
    def server(self) -> Server | None:
        """The server of the present attempt or connection."""
        return self._attempt.server if self._attempt else None

    # ------------------------------------------------------------------ connecting

    def _current(self, attempt: int) -> Attempt | None:
        current = self._attempt
        return current if current is not None and current.number == attempt else None

    def _step(self, state: ClientState) -> None:
        if state not in _STEPS[self.state]:
            raise LocalProtocolError(f"no way from {self.state.name} to {state.name}")
        self.state = state

    def _next_server(self, now: float) -> None:
        """Begin the next connect attempt, wait until it is time for it, or give up."""
        answer = self._connector.next(now)
        if isinstance(answer, Attempt):
            self._begin(answer)
        elif isinstance(answer, Exception):
            self._shut(answer)
        else:
            self._connect_timer = self.timers.at(answer, self._next_server)

    def _begin(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._connect_timer = self.timers.at(attempt.deadline, self._too_late)
        self.output.pongs = 0
        self._actions.append(OpenTransport(attempt.number, attempt.server, attempt.tls_first))

    def _too_late(self, now: float) -> None:
        """The deadline of the present attempt has come."""
        current = self._attempt
        assert current is not None, "the timer ends with the attempt"
        self._drop(current.too_late(f"within {current.seconds:g} s"), now)

    def _stop_connecting(self) -> None:
        if self._connect_timer is not None:
            self._connect_timer.cancel()
            self._connect_timer = None

    def _drop(self, error: Exception, now: float) -> None:
        """Give the present stream up, from this side."""
        current = self._attempt
        assert current is not None, "only called with an attempt under way"
        if current.ended is None:
            self._actions.append(CloseTransport(current.number))
        self._broken(current, error, now)

    def _drop_current(self, error: Exception) -> None:
        """As `_drop`, at the time of the latest input; does nothing without an attempt."""
        if self._attempt is not None:
            self._drop(error, self._now)

    def _broken(self, current: Attempt, error: Exception, now: float) -> None:
        """The attempt is over: go on with the next, or close."""
        was_live = self._live
        self._attempt = None
        self._live = False
        self._stop_connecting()
        self.last_error = error
        if not was_live:
            self._connector.failed(current, error, now)
            self._next_server(now)
            return
        self._connector.lost(current, error, now)
        reconnecting = self._options.reconnect is not None and self.state is ClientState.CONNECTED
        self._notices.append(Disconnected(current.server.address, error, reconnecting=reconnecting))
        self._keep_unsent()
        self._fail_answers(error)
        if not reconnecting:
            self._shut(error)
            return
        self._step(ClientState.RECONNECTING)
        self._next_server(now)

    def _keep_unsent(self) -> None:
        """Keep what no connection has seen; forget what only that one knew."""
        self.output.limit = self._options.reconnect_buffer
        self.output.keep_unsent()
        for sub in self.subscriptions:
            # Its UNSUB was handed over, and died with the connection as the subscription did.
            if sub.closing and sub.unsub_frame and not self.output.holds(sub.unsub_frame):
                lost = "the connection was lost before the subscription was confirmed"
                sub.confirmed.fail(ConnectionLostError(lost))
                self.subscriptions.remove(sub)

    def _fail_answers(self, error: Exception) -> None:
        """No answer can come any more for what was asked over the lost connection."""
        self._answers.disconnected(
            lambda: _caused(ConnectionLostError, "the connection was lost before the answer", error)
        )
        self._replies.fail_all(
            lambda: _caused(ConnectionLostError, "the connection was lost before the reply", error),
            unless=self.output.holds_request,
        )

    def _shut(self, error: Exception | None) -> None:
        """CLOSED: every Op ends here at the latest."""
        self._step(ClientState.CLOSED)
        reason = error or ConnectionClosedError("the connection was closed by this side")
        current, self._attempt = self._attempt, None
        self._live = False
        self._stop_connecting()
        self._connector.stop()
        self.output.limit = -1
        unsent = self.output.clear()
        self.dropped_unsent += unsent
        if error is not None:
            self.last_error = error
        self._watched.report_last(self._now)
        self._notices.append(Closed(error, unsent))
        self._answers.closed(
            lambda: _caused(ConnectionClosedError, "closed before the server's answer", reason)
        )
        self._replies.fail_all(
            lambda: _caused(ConnectionClosedError, "closed before the reply", reason)
        )
        for sub in self.subscriptions:
            sub.confirmed.fail(
                _caused(ConnectionClosedError, "closed before it was confirmed", reason)
            )
            self.subscriptions.remove(sub)
        self._reply_inbox = None
        opening, self._open_waiters = self._open_waiters, []
        for one in opening:
            one.fail(_fresh(reason))
        self._resolve_connected(up=False)
        self.closed.resolve(error)
        if current is None or current.ended is not None:
            self._actions.append(Finished())
        else:
            self._closing_attempt = current.number
            self._actions.append(CloseTransport(current.number))

    def _established(self, current: Attempt, now: float) -> None:
        """The server has answered CONNECT: replay, then go on where the last connection ended."""
        again = self.state is ClientState.RECONNECTING
        self._step(ClientState.CONNECTED)
        current.phase = Phase.LIVE
        self._stop_connecting()
        self._connector.connected(current, now)
        self._live = True
        self.output.limit = NO_LIMIT
        self._answers.connected(current.server.address, now)
        self._drop_oversized()
        replay: list[ControlFrame] = []
        for sub in self.subscriptions:
            if not self.output.holds(sub.sub_frame):
                replay.append(sub.sub_frame)
                sub.delivered_before = sub.delivered
                if sub.max_msgs is not None and not sub.closing:
                    if sub.max_frame is not None:
                        self.output.take_back(sub.max_frame)
                    replay.append(sub.new_max_frame())
        self.output.put_first(replay)
        # There is a PING behind each SUB: which one the server refuses can be told by that.
        for sid in self.output.subscribing():
            known = self.subscriptions.by_sid.get(sid)
            self._answers.expect(Op() if known is None else Confirmation(known))
        for sub in self.subscriptions:
            if sub.closing:
                self._end(sub)
        self._answers.ping_for_deferred()
        if again:
            self.reconnects += 1
        address = current.server.address
        self._notices.append(Reconnected(address) if again else Connected(address))
        opening, self._open_waiters = self._open_waiters, []
        for one in opening:
            one.resolve(None)
        self._resolve_connected(up=True)

    def _resolve_connected(self, *, up: bool) -> None:
        """To those who asked by `connected`."""
        waiting, self._connected_waiters = self._connected_waiters, []
        for op in waiting:
            op.resolve(up)

    def _drop_oversized(self) -> None:
        """A new server may take less than the last one, and would hang up on each such frame."""
        for size, asked in self.output.drop_oversized():
            error = PayloadTooLargeError(
                f"a message of {size} bytes, kept while disconnected, was dropped: "
                f"the new server's max_payload is {self.output.max_payload}"
            )
            if asked is not None:
                self._replies.abandon(asked)
                asked.fail(error)
            else:
                self.dropped_unsent += 1
                self._notices.append(ServerErrorReceived(error))

    # ------------------------------------------------------------------ events of the wire

    def _on_event(self, current: Attempt, event: Event, now: float) -> None:
        if isinstance(event, Pong):
            self._on_pong(current, now)
        elif isinstance(event, Info):
            self._on_info(current, event, now)
        elif isinstance(event, Err):
            self._on_err(current, event, now)
        elif isinstance(event, ProtocolFailed):
            self._drop(event.error, now)

    def _answer(self, current: Attempt, pings: int, now: float) -> None:
        """Answer that many PINGs, unless the peer does not read the answers."""
        if self._live:
            self.output.add_pongs(pings)
        else:
            current.answer_pings(pings)
            self.output.pongs += pings
        if self.output.pongs > MOST_PONGS:
            self._drop(
                StaleConnectionError(
                    f"{current.server.address} sends PING after PING and does not read the answers"
                ),
                now,
            )

    def _on_pong(self, current: Attempt, now: float) -> None:
        if current.phase is Phase.AWAIT_PONG:
            self._established(current, now)
        else:
            self._answers.pong()

    def _on_info(self, current: Attempt, info: Info, now: float) -> None:
        self.info = info
        self.output.max_payload = info.max_payload if info.max_payload >= 0 else NO_LIMIT
        if current.phase is not Phase.AWAIT_INFO:
            current.info = info
            self._connector.announce(current, info)
            if info.ldm and not current.leaving:
                self._leave(current)
            return
        outcome = current.info_received(info)
        if not isinstance(outcome, (StartTLS, TLSError)):
            # Otherwise ignore the servers that a plaintext INFO announces: a third party could add
            # one of its own, which would get the credentials at a later reconnect. The server
            # announces them again under TLS, after the first PONG (nats-server 2.12 and later).
            self._connector.announce(current, info)
        self._go_on(outcome, now)

    def _go_on(self, outcome: Outcome, now: float) -> None:
        """Continue the handshake."""
        if isinstance(outcome, NASQError):
            self._drop(outcome, now)
        elif outcome is not None:
            self._actions.append(outcome)

    def _leave(self, current: Attempt) -> None:
        """Lame duck mode: go to another server when one is known, else stay to the end."""
        self._notices.append(LameDuck(current.server.address))
        if len(self._connector.pool) > 1 and self._live and self._options.reconnect is not None:
            current.leaving = True
            # What was sent before is in the server's hands when the PONG comes.
            ping = self._answers.ping()
            ping.on_done(lambda: None if ping.error else self._left(current))
            # What is said from now on waits for the next server.
            self.output.seal()

    def _stay(self) -> None:
        """Leave for no other server: what waited for it is for this one."""
        if self._attempt is not None and self._attempt.leaving:
            self._attempt.leaving = False
            self.output.unseal()
            self._answers.ping_for_deferred()

    def _left(self, current: Attempt) -> None:
        if current is self._attempt and current.leaving:
            address = current.server.address
            self._drop(LameDuckError(f"{address} is shutting down (lame duck mode)"), self._now)

    def _on_err(self, current: Attempt, event: Err, now: float) -> None:
        error = server_error(event.text, current.server.address)
        if not self._live or error.closes:
            self._drop(error, now)
            return
        if isinstance(error, (PermissionsViolationError, SubscriptionRefusedError)) and (
            sub := self._refused(error)
        ):
            if isinstance(error, SubscriptionRefusedError):
                error = type(error)(error.text, address=error.address, subject=sub.subject)
            waited_for = not sub.confirmed.done
            sub.confirmed.fail(error)
            self.subscriptions.remove(sub)
            if sub is self._reply_inbox:
                for op in self._replies.fail_all(partial(_fresh, error)):
                    self.output.take_back_request(op)
            elif waited_for:
                return
        elif isinstance(error, PermissionsViolationError) and (
            asked := self._replies.refused(error.subject, error)
        ):
            self.output.take_back_request(asked)
            return
        # If the server now hangs up, this is why.
        current.error = error if type(error) is ServerError else None
        self._notices.append(ServerErrorReceived(error))

    def _refused(
        self, error: PermissionsViolationError | SubscriptionRefusedError
    ) -> Subscription | None:
        """The subscription that the server does not take."""
        if isinstance(error, SubscriptionRefusedError):
            # It names none; but answers come in order, and this one is no PONG.
            next_ = self._answers.next
            return next_.sub if isinstance(next_, Confirmation) else None
        return self.subscriptions.refused(error) if error.operation == "subscribe" else None

    # ------------------------------------------------------------------ output

    def _end(self, sub: Subscription) -> None:
        """After the PONG behind UNSUB no message can come for it."""
        ping = self._answers.ping()
        ping.on_done(lambda: None if ping.error else self.subscriptions.remove(sub))

    def _line_and_body(
        self,
        head: bytes,
        payload: bytes,
        headers: Mapping[str, str | Sequence[str]] | None,
    ) -> tuple[bytes, bytes]:
        """The control line that begins with `head`, and the headers and payload behind it."""
        if headers is None:
            return b"%b%d\r\n" % (head, len(payload)), payload
        block = self._header_block(headers)
        body = block + payload
        return b"%b%d %d\r\n" % (head, len(block), len(body)), body

    def _header_block(self, headers: Mapping[str, str | Sequence[str]]) -> bytes:
        if self.info is not None and not self.info.headers:
            raise InvalidHeaderError(
                "this server takes no headers (older than 2.2, or switched off): send without"
            )
        return encode_headers(headers)

    def report_drops(self, now: float) -> None:
        """Report what watched inboxes have dropped, at most once a second."""
        self._watched.report(now)

    def _check_open(self) -> None:
        if self.state is ClientState.IDLE:
            raise NotConnectedError("not connected: call connect() first")
        if self.state is ClientState.CLOSED:
            why = f" ({self.last_error})" if self.last_error else ""
            raise ConnectionClosedError(f"the connection is closed{why}: call connect() first")

    def _refuse(self, size: int) -> None:
        self._check_open()
        raise BufferFullError(
            f"not connected, and {self.output.size} of the {self.output.limit} bytes of "
            f"reconnect_buffer are in use: a message of {size} bytes was not taken"
        )


def _caused(kind: type[NASQError], what: str, cause: Exception) -> NASQError:
    """An error of its own for each who waits: those that raise it add to its traceback."""
    error = kind(f"{what}: {cause}")
    error.__cause__ = cause
    return error


def _fresh(error: Exception) -> Exception:
    """The same error, for one more who waits."""
    fresh = copy(error)
    fresh.__cause__ = error.__cause__
    return fresh
