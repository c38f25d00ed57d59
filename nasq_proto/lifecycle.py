"""The life of a client: from `open` over connect attempts and connections to `close`.

`Lifecycle` is the half of `Client` that is about streams: it opens them, runs their handshakes,
replays the subscriptions on each new connection, moves to another server in lame duck mode, and
keeps or fails what a lost connection leaves behind. The other half, in `client`, is about the
frames that a connection carries. `states` has a table of the states and of what is set in each.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from typing import Any

from .actions import Action, CloseTransport, Finished, OpenTransport, StartTLS
from .answers import Answers, Confirmation
from .attempt import Attempt, Outcome
from .connector import Connector
from .errors import (
    BufferFullError,
    ConnectionClosedError,
    ConnectionLostError,
    LameDuckError,
    LocalProtocolError,
    NASQError,
    NotConnectedError,
    PayloadTooLargeError,
    TLSError,
)
from .events import Info
from .handshake import Phase
from .notices import (
    Closed,
    Connected,
    Disconnected,
    LameDuck,
    Notice,
    Reconnected,
    ServerErrorReceived,
)
from .ops import Op, caused
from .options import ClientOptions
from .output import NO_LIMIT, Output
from .publisher import Publisher
from .replies import Replies
from .servers import Server
from .states import CLIENT_STEPS, ClientState
from .subscriptions import Subscription, Subscriptions
from .timers import Timer, Timers
from .waiters import ConnectWaiters
from .watched import WatchedInboxes

__all__ = ["Lifecycle"]


class Lifecycle:
    """See the head of this module; `Client` documents the arguments and attributes."""

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
        self._actions: deque[Action] = deque()
        self._notices: list[Notice] = []
        self._attempt: Attempt | None = None
        # The attempt whose stream has to be closed before `Finished`.
        self._closing_attempt: int | None = None
        # The deadline of the present attempt, or the time of the next one.
        self._connect_timer: Timer | None = None
        self._waiters = ConnectWaiters()
        self._live = False
        self._answers = Answers(
            self.output,
            self.timers,
            interval=options.ping_interval,
            max_out=options.max_pings_out,
            reading=lambda: self.wants_read,
            drop=lambda error: self._drop_attempt(error, self._now),
        )
        self._watched = WatchedInboxes(self.timers, self.add_notice)
        self._now = 0.0
        self._publishers: dict[str, Publisher] = {}

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.state.value}, {len(self.subscriptions)} subscriptions, "
            f"{len(self._replies)} requests, {self.output.size} bytes not handed over>"
        )

    # ------------------------------------------------------------------ streams

    def wants(self, attempt: int) -> bool:
        """Whether this attempt is the present one; otherwise the client has given it up."""
        return self._current(attempt) is not None

    @property
    def tls_context(self) -> Any:
        """The TLS context of the options, for the transport."""
        return self._options.tls_context

    def transport_opened(self, attempt: int, now: float) -> bool:
        """Report that the stream of this attempt is open; nothing has been read from it yet.

        Returns:
            False if the attempt was given up meanwhile: close the stream.
        """
        current = self._current(attempt)
        if current is None:
            return False
        current.opened()
        return True

    def tls_established(self, attempt: int, now: float) -> None:
        """Report that the TLS handshake that `StartTLS` asked for is complete."""
        current = self._current(attempt)
        if current is not None:
            self._act_on(current.tls_established(), now)

    def credentials_given(self, attempt: int, fields: Mapping[str, str], now: float) -> None:
        """Pass the credentials that `NeedCredentials` asked for, as fields of CONNECT."""
        current = self._current(attempt)
        if current is not None:
            self._act_on(current.credentials_given(fields), now)

    def credentials_failed(self, attempt: int, error: Exception, now: float) -> None:
        """Report that the credentials that `NeedCredentials` asked for could not be read."""
        current = self._current(attempt)
        if current is not None:
            self._act_on(current.credentials_failed(error), now)

    def transport_closed(self, attempt: int, error: Exception | None, now: float) -> None:
        """Report that the stream of this attempt ended, was closed, or could not be opened.

        Args:
            attempt: the number of the attempt.
            error: the operating system's error, or that of a layer; None: the server closed the
                stream, or `CloseTransport` asked for it.
            now: the time.
        """
        if attempt == self._closing_attempt:
            self._closing_attempt = None
            self._actions.append(Finished())
        current = self._current(attempt)
        if current is None:
            return
        if current.connection.has_unread:
            # The attempt ends once the rest has been read. The first report counts: a layer
            # reports its error before the end of the stream that it closes.
            current.ended = current.ended or (error,)
            return
        self._attempt_ended(current, current.ended_by(error), now)

    # ------------------------------------------------------------------ opening and closing

    def open(
        self, now: float, until: float | None = None, *, rng: random.Random | None = None
    ) -> Op[None]:
        """Connect, and return an op that is done when a connection is up.

        It fails if no server is reached. The client is CLOSED then and can be opened again.

        Args:
            now: the time on the transport's clock.
            until: when to give up, on the same clock. None: after one round, in which each server
                is tried once without a pause; it takes at most one connect_timeout for each server
                that the user named, and one more for all servers announced meanwhile. Otherwise
                more rounds follow, with the delays of the reconnect policy but without its
                `max_attempts`. math.inf: never. If the first connection is already being made, the
                later time counts.
            rng: the source of jitter and of the inbox's name from now on; None: the previous one.
                Ignored unless the client is IDLE or CLOSED.
        """
        if self._live:
            return Op.resolved(None)
        op = self._waiters.open()
        if self.state in (ClientState.IDLE, ClientState.CLOSED):
            self._enter(ClientState.CONNECTING)
            self.output.limit = self._options.reconnect_buffer
            # If the transport has not seen `Finished` yet, it serves the new connection instead.
            self._closing_attempt = None
            self._actions = deque(a for a in self._actions if not isinstance(a, Finished))
            self.stopped.resolve(None)
            self.closed = Op()
            self.stopped = Op()
            if rng is not None:
                self._rng = self._connector.pool.rng = rng
            self._replies.new_inbox(self._rng)
            self._connector.start(until)
            self._next_attempt(now)
        elif self.state is ClientState.CONNECTING and until is not None:
            self._connector.extend(until)
        return op

    def give_up(self) -> None:
        """Stop trying for the first connection, and close; `last_error` is the reason."""
        if self.state is not ClientState.CONNECTING:
            return
        if self._attempt is not None:
            self._connector.timed_out(self._attempt)
        self._enter_closed(self._connector.failure())

    def close(self) -> Op[None]:
        """Close at once: nothing more is sent, and every wait ends. Idempotent.

        The result is done when the stream is closed and the transport has stopped.
        """
        if self.state is ClientState.IDLE:
            self._waiters.closed(ConnectionClosedError("closed before it was opened"))
            return Op.resolved(None)
        if self.state is not ClientState.CLOSED:
            self._enter_closed(None)
        return self.stopped

    def fail(self, error: Exception | None) -> None:
        """Close at once with `error`, because the transport has failed. Idempotent.

        Unlike after `close`, no action follows, and `stopped` is done.
        """
        if self.state not in (ClientState.IDLE, ClientState.CLOSED):
            self._enter_closed(error)
        self._closing_attempt = None
        self._actions.clear()
        self.stopped.resolve(None)

    @property
    def is_connected(self) -> bool:
        """Whether a connection is up."""
        return self._live

    @property
    def server(self) -> Server | None:
        """The server of the present attempt or connection."""
        return self._attempt.server if self._attempt else None

    def next_action(self) -> Action | None:
        """The next action for the transport; None if there is none."""
        if not self._actions:
            return None
        action = self._actions.popleft()
        if isinstance(action, Finished):
            self.stopped.resolve(None)
        return action

    def add_notice(self, notice: Notice) -> None:
        """Add a notice of the facade to those of the client. Kick the transport afterwards."""
        self._notices.append(notice)

    @property
    def wants_read(self) -> bool:
        """Whether the transport should read.

        False while an inbox with `overflow="block"` is full, except during a handshake. Also False
        while a part of the last chunk is still to be processed: `handle_timeout` does that in
        steps, so that no call takes long.
        """
        if self._attempt is not None and self._attempt.connection.has_unread:
            return False
        return not (self._live and self._watched.blocked)

    # ------------------------------------------------------------------ connecting

    def _current(self, attempt: int) -> Attempt | None:
        """Return the present attempt if it has this number."""
        current = self._attempt
        return current if current is not None and current.number == attempt else None

    def _enter(self, state: ClientState) -> None:
        if state not in CLIENT_STEPS[self.state]:
            raise LocalProtocolError(
                f"illegal state transition: {self.state.name} -> {state.name} (a bug in nasq)"
            )
        self.state = state

    def _next_attempt(self, now: float) -> None:
        """Begin the next connect attempt, wait until it is time for it, or give up."""
        answer = self._connector.next(now)
        if isinstance(answer, Attempt):
            self._begin_attempt(answer)
        elif isinstance(answer, Exception):
            self._enter_closed(answer)
        else:
            self._connect_timer = self.timers.at(answer, self._next_attempt)

    def _begin_attempt(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._connect_timer = self.timers.at(attempt.deadline, self._attempt_timed_out)
        self.output.pongs = 0
        self._actions.append(OpenTransport(attempt.number, attempt.server, attempt.tls_first))

    def _act_on(self, outcome: Outcome, now: float) -> None:
        """Act on the outcome of a step of the handshake."""
        if isinstance(outcome, NASQError):
            self._drop_attempt(outcome, now)
        elif outcome is not None:
            self._actions.append(outcome)

    def _attempt_timed_out(self, now: float) -> None:
        """Drop the present attempt: its deadline has passed."""
        current = self._attempt
        assert current is not None, "the timer ends with the attempt"
        self._drop_attempt(current.too_late(f"within {current.seconds:g} s"), now)

    def _stop_connecting(self) -> None:
        if self._connect_timer is not None:
            self._connect_timer.cancel()
            self._connect_timer = None

    def _on_info(self, current: Attempt, info: Info, now: float) -> None:
        self.info = info
        self.output.max_payload = info.max_payload if info.max_payload >= 0 else NO_LIMIT
        if current.phase is not Phase.AWAIT_INFO:
            current.info = info
            self._connector.announce(current, info)
            if info.ldm and not current.leaving:
                self._start_leaving(current)
            return
        outcome = current.info_received(info)
        if not isinstance(outcome, (StartTLS, TLSError)):
            # Otherwise ignore the servers that a plaintext INFO announces: a third party on the
            # path could add a server under its control, which would get the credentials at a later
            # reconnect. The server announces the others again under TLS, after the first PONG
            # (nats-server 2.12 and later).
            self._connector.announce(current, info)
        self._act_on(outcome, now)

    def _handshake_done(self, current: Attempt, now: float) -> None:
        """Replay the subscriptions and resume the output: the server has accepted CONNECT."""
        again = self.state is ClientState.RECONNECTING
        self._enter(ClientState.CONNECTED)
        current.phase = Phase.LIVE
        self._stop_connecting()
        self._connector.connected(current, now)
        self._live = True
        self.output.limit = NO_LIMIT
        self._answers.connected(current.server.address, now)
        self._drop_oversized()
        self.output.put_first(self.subscriptions.replay(self.output))
        # Each SUB is followed by a PING, so the order of the answers shows which SUB is refused.
        for sid in self.output.subscribing():
            known = self.subscriptions.by_sid.get(sid)
            self._answers.expect(Op() if known is None else Confirmation(known))
        for sub in self.subscriptions:
            if sub.closing:
                self._remove_after_pong(sub)
        self._answers.ping_for_deferred()
        if again:
            self.reconnects += 1
        address = current.server.address
        self._notices.append(Reconnected(address) if again else Connected(address))
        self._waiters.connected()

    def _drop_oversized(self) -> None:
        """Drop publishes that are too large for the new server, which would close the connection.

        Its max_payload can be smaller than that of the last server.
        """
        for size, request in self.output.drop_oversized():
            error = PayloadTooLargeError(
                f"dropped a message of {size} bytes that was kept while disconnected: "
                f"the new server's max_payload is {self.output.max_payload}"
            )
            if request is not None:
                self._replies.abandon(request)
                request.fail(error)
            else:
                self.dropped_unsent += 1
                self._notices.append(ServerErrorReceived(error))

    # ------------------------------------------------------------------ lame duck mode

    def _start_leaving(self, current: Attempt) -> None:
        """Prepare to leave a server that shuts down, if another server is known."""
        self._notices.append(LameDuck(current.server.address))
        if len(self._connector.pool) > 1 and self._live and self._options.reconnect is not None:
            current.leaving = True
            # When its PONG arrives, the server has handled everything that was sent before.
            ping = self._answers.ping()
            ping.on_done(lambda: None if ping.error else self._leave_now(current))
            # Output from now on waits for the next server.
            self.output.seal()

    def _cancel_leaving(self) -> None:
        """Undo `_start_leaving`: send to this server what waited for the next one."""
        if self._attempt is not None and self._attempt.leaving:
            self._attempt.leaving = False
            self.output.unseal()
            self._answers.ping_for_deferred()

    def _leave_now(self, current: Attempt) -> None:
        if current is self._attempt and current.leaving:
            error = LameDuckError(f"{current.server.address} is shutting down (lame duck mode)")
            self._drop_attempt(error, self._now)

    # ------------------------------------------------------------------ the end

    def _drop_attempt(self, error: Exception, now: float) -> None:
        """Close the stream of the present attempt, if there is one, and end the attempt."""
        current = self._attempt
        if current is None:
            return
        if current.ended is None:
            self._actions.append(CloseTransport(current.number))
        self._attempt_ended(current, error, now)

    def _attempt_ended(self, current: Attempt, error: Exception, now: float) -> None:
        """Make the next attempt, or close: this one has ended."""
        was_live = self._live
        self._attempt = None
        self._live = False
        self._stop_connecting()
        self.last_error = error
        if not was_live:
            self._connector.failed(current, error, now)
            self._next_attempt(now)
            return
        self._connector.lost(current, error, now)
        reconnecting = self._options.reconnect is not None and self.state is ClientState.CONNECTED
        self._notices.append(Disconnected(current.server.address, error, reconnecting=reconnecting))
        # Keep the output that no connection has taken, except what was for the lost one only.
        self.output.limit = self._options.reconnect_buffer
        self.output.keep_unsent()
        self.subscriptions.disconnected(self.output)
        self._fail_answers(error)
        if not reconnecting:
            self._enter_closed(error)
            return
        self._enter(ClientState.RECONNECTING)
        self._next_attempt(now)

    def _fail_answers(self, error: Exception) -> None:
        """Fail the PINGs and the requests that the lost connection had taken."""
        self._answers.disconnected(
            lambda: caused(ConnectionLostError, "the connection was lost before the answer", error)
        )
        self._replies.fail_all(
            lambda: caused(ConnectionLostError, "the connection was lost before the reply", error),
            unless=self.output.contains_request,
        )

    def _enter_closed(self, error: Exception | None) -> None:
        """Enter CLOSED, and end every op that is not done."""
        self._enter(ClientState.CLOSED)
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
            lambda: caused(ConnectionClosedError, "closed before the server's answer", reason)
        )
        self._replies.fail_all(
            lambda: caused(ConnectionClosedError, "closed before the reply", reason)
        )
        self.subscriptions.closed(
            lambda: caused(ConnectionClosedError, "closed before it was confirmed", reason)
        )
        self._replies.subscription = None
        self._waiters.closed(reason)
        self.closed.resolve(error)
        if current is None or current.ended is not None:
            self._actions.append(Finished())
        else:
            self._closing_attempt = current.number
            self._actions.append(CloseTransport(current.number))

    def _remove_after_pong(self, sub: Subscription) -> None:
        """Remove `sub` at the PONG for a PING after its UNSUB: no message can follow that."""
        ping = self._answers.ping()
        ping.on_done(lambda: None if ping.error else self.subscriptions.remove(sub))

    def _check_open(self) -> None:
        if self.state is ClientState.IDLE:
            raise NotConnectedError("not connected: call connect() first")
        if self.state is ClientState.CLOSED:
            why = f" ({self.last_error})" if self.last_error else ""
            raise ConnectionClosedError(f"the connection is closed{why}: call connect() first")

    def _refuse(self, size: int) -> None:
        """Raise the error for a publish of `size` bytes for which there is no room."""
        self._check_open()
        raise BufferFullError(
            f"no room for a message of {size} bytes while disconnected: {self.output.size} of "
            f"the {self.output.limit} bytes of reconnect_buffer are in use; wait for a connection"
        )
