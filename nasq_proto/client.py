"""The reconnecting NATS client, without I/O: it takes bytes and the time, and returns bytes,
actions and a deadline.

Theory of operation
-------------------
A transport drives a `Client` with its inputs (`transport_opened`, `tls_established`,
`credentials_given`, `credentials_failed`, `receive_data`, `transport_closed`, `handle_timeout`)
and serves its outputs (`next_action`, `data_to_send`, `next_timeout`, `wants_read`,
`take_notices`). Inputs never raise. Each connect attempt has a number; the client ignores reports
of an attempt that it has given up.

Commands (`publish`, `subscribe`, `request`, `flush`, …) do no I/O and never block. A command whose
result is not known yet returns an `Op`. An `Op` has no deadline: a caller that stops waiting for it
calls `abandon`. The client resolves every `Op`, at the latest when it closes.

The output is one list of frames. While a connection is up, `data_to_send` hands all of it over.
While none is, commands add to it, and `reconnect_buffer` bounds the publishes. When a connection
breaks, frames that were not handed over stay, in order, except requests (they fail), PING and
PONG. On the next connection the subscriptions that the lost one knew are replayed first, then the
list follows. So the order is kept and no frame is sent twice.

`Client` is split in two: `lifecycle` is about streams, from `open` to `close`; this module is about
the frames that a connection carries. `states` has the table of the client's states.

Known imperfections: frames that were handed over before the connection broke may have been lost,
and nothing reports it (core NATS delivers at most once). A `flush` that succeeds proves that the
server has received everything before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from .answers import Confirmation
from .attempt import Attempt
from .encoder import publish_head, raw_publish_head
from .errors import (
    ConnectionClosedError,
    InvalidHeaderError,
    NotConnectedError,
    PermissionsViolationError,
    ServerError,
    StaleConnectionError,
    SubscriptionRefusedError,
    server_error,
)
from .events import Err, Event, Info, Ping, Pong, ProtocolFailed
from .handshake import Phase, plaintext_after_info
from .headers import encode_headers
from .inbox import Inbox
from .lifecycle import Lifecycle
from .notices import Notice, ServerErrorReceived
from .ops import Op, fresh
from .output import HIGH_WATER, MOST_PONGS
from .publisher import Publisher, RequestNow, Route, publish_once, request_on_credit
from .replies import PendingReply, TakeReply
from .states import ClientState
from .subscriptions import Deliver, Subscription

__all__ = ["Client"]

_CACHED_PUBLISHERS: Final = 1024


class Client(Lifecycle):
    """A NATS client that reconnects, driven by a transport.

    Args:
        options: see `ClientOptions`.
        rng: the source of jitter and of the inbox's name; `open` can replace it.

    Attributes:
        state: see `ClientState`.
        info: the latest INFO; None before the first.
        last_error: why the last connection failed or broke.
        closed: done when the state is CLOSED, with the error that made the client close itself;
            None if the caller closed it. New for each `open`, like `stopped`.
        stopped: done when the client and its streams are closed, and the transport may stop.
        timers: the timers of the client and of features that are built on it.
        output: the frames that no connection has taken yet; it counts the publishes.
        reconnects: connections made after the first.
        dropped_unsent: accepted publishes that were never sent.
    """

    # ------------------------------------------------------------------ inputs

    def receive_data(self, attempt: int, data: bytes, now: float) -> None:
        """Process bytes that the transport has read."""
        current = self._current(attempt)
        if current is None:
            return
        self._now = now
        # A server that closes the connection because of an error sends nothing after that error.
        current.error = None
        pings = 0
        by_sid = self.subscriptions.by_sid
        for frame in current.connection.receive_frames(data):
            if current.phase is Phase.STARTING_TLS:
                self._drop_attempt(plaintext_after_info(current.server), now)
                return
            if isinstance(frame, tuple):
                sid, heads, bodies = frame
                sub = by_sid.get(sid)
                if sub is None:
                    self._unrouted += len(bodies)
                    continue
                if sub.max_msgs is not None and sub.delivered + len(bodies) >= sub.max_msgs:
                    # The server sent the excess before it knew of the maximum.
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
            self._answer_pings(current, pings, now)
        if injected := current.injected():
            self._drop_attempt(injected, now)
        if self._watched.bounded:
            self._watched.report(now)

    def handle_timeout(self, now: float) -> None:
        """Process what is due: the rest of a chunk, and timers.

        Call this at `next_timeout()`. Calling it earlier is harmless.
        """
        self._now = now
        current = self._attempt
        if current is not None and current.connection.has_unread:
            self.receive_data(current.number, b"", now)
            if current.ended is not None and not current.connection.has_unread:
                self.transport_closed(current.number, *current.ended, now)
        self.timers.run(now)

    # ------------------------------------------------------------------ outputs

    def data_to_send(self) -> bytes:
        """Take everything that is to be written to the present stream, in full and in order."""
        output, current = self.output, self._attempt
        data = output.hand_over() if self._live and output.frames else b""
        if current is not None and current.to_send:
            handshake, current.to_send = current.to_send, []
            output.pongs = 0
            return b"".join((*handshake, data))
        return data

    @property
    def has_output(self) -> bool:
        """Whether `data_to_send` returns anything, once a connection is up."""
        attempt = self._attempt
        return bool(self.output.frames or (attempt is not None and attempt.to_send))

    def slow_down(self) -> None:
        """Have the next publish check for congestion: the stream accepts no bytes now."""
        self.output.revoke()

    def next_timeout(self) -> float | None:
        """When to call `handle_timeout`; None: not until something else happens."""
        if self._attempt is not None and self._attempt.connection.has_unread:
            return self._now  # immediately, but after the other tasks of this turn
        return self.timers.next

    @property
    def has_notices(self) -> bool:
        """Whether `take_notices` returns anything."""
        return bool(self._notices)

    def take_notices(self) -> list[Notice]:
        """Take the notices since the last call, for the user's `on_event`."""
        notices, self._notices = self._notices, []
        return notices

    # ------------------------------------------------------------------ publishing

    def publish(
        self,
        subject: str,
        payload: bytes,
        reply: str | None = None,
        headers: Mapping[str, str | Sequence[str]] | None = None,
    ) -> bool:
        """Send a message, or keep it for the next connection.

        Returns:
            True if the output was empty before: kick the transport.

        Raises:
            TypeError, InvalidSubjectError, InvalidHeaderError, PayloadTooLargeError: nothing
                was sent.
            NotConnectedError, ConnectionClosedError: the client is not open.
            BufferFullError: disconnected, and `reconnect_buffer` is full.
        """
        if type(payload) is not bytes:
            payload = memoryview(payload).tobytes()  # len() of other buffers may not count bytes
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
        line, body = self._line_and_body(head, payload, headers)
        return publish_once(self.output, line, body, subject)

    def publisher(self, subject: str) -> Publisher:
        """Return the publisher of a subject: faster for many messages without headers and reply.

        Raises:
            TypeError, InvalidSubjectError: the subject can't be published to.
        """
        publisher = self._publishers.get(subject)
        if publisher is None:
            if len(self._publishers) >= _CACHED_PUBLISHERS:
                self._publishers.clear()
            publisher = self._publishers[subject] = Publisher(self.output, subject)
        return publisher

    @property
    def congested(self) -> bool:
        """Whether publishers should wait for `writable`, because much output is not sent yet."""
        return self.output.size > HIGH_WATER and self._live

    def writable(self) -> Op[None]:
        """Return an op that is done when the output was handed over, or the connection is lost."""
        if not self.congested:
            return Op.resolved(None)
        return self.output.writable()

    def _line_and_body(
        self,
        head: bytes,
        payload: bytes,
        headers: Mapping[str, str | Sequence[str]] | None,
    ) -> tuple[bytes, bytes]:
        """Return the control line that begins with `head`, and the body."""
        if headers is None:
            return b"%b%d\r\n" % (head, len(payload)), payload
        if self.info is not None and not self.info.headers:
            raise InvalidHeaderError(
                "this server does not support headers (nats-server before 2.2, or disabled): "
                "send the message without headers"
            )
        block = encode_headers(headers)
        body = block + payload
        return b"%b%d %d\r\n" % (head, len(block), len(body)), body

    # ------------------------------------------------------------------ subscriptions and requests

    def subscribe(self, subject: str, queue_group: str | None, deliver: Deliver) -> Subscription:
        """Subscribe; `confirmed` of the result is done when the server has accepted the SUB.

        Args:
            subject: may contain wildcards.
            queue_group: each message goes to one member of the group; None: no group.
            deliver: called with each run of messages: their heads, their bodies, the receive time.
                `Inbox.deliver` is such a function.

        Raises:
            TypeError, InvalidSubjectError: nothing was sent.
            NotConnectedError, ConnectionClosedError: the client is not open, or is draining.
        """
        self._check_open()
        if self.state is ClientState.DRAINING:
            raise ConnectionClosedError("the client is draining: it accepts no new subscriptions")
        sub = self.subscriptions.add(subject, queue_group, deliver)
        if self._live:
            self._answers.send(Confirmation(sub), sub.sub_frame)
        else:
            self.output.add(sub.sub_frame)
        return sub

    def unsubscribe(self, sub: Subscription, max_msgs: int | None = None) -> None:
        """End a subscription: now, or once it has received `max_msgs` messages since its start.

        Messages can still arrive until its `ended` is done.

        Raises:
            TypeError, LocalProtocolError: `max_msgs` is not a number that the server accepts;
                nothing has changed.
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
            self._remove_after_pong(sub)

    def request(
        self,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str | Sequence[str]] | None = None,
        *,
        take: TakeReply | None = None,
    ) -> PendingReply:
        """Publish with a reply subject, and return an op that is done with the last reply.

        It fails with `NoRespondersError`, or with `ConnectionLostError` when the connection breaks
        first. While disconnected, the request waits for the next connection. A request that has
        failed, or that was given up with `abandon`, is never sent later.

        Args:
            subject, payload, headers: see `publish`, also for the errors that they cause.
            take: called with the head, body and receive time of each reply, until it returns True.
                None: the first reply is the last.
        """
        if not self._live:
            self._check_open()
        if type(payload) is not bytes:
            payload = memoryview(payload).tobytes()
        op = self._replies.new(subject, take)
        try:
            replies = self._replies
            if replies.subscription is None or replies.subscription.ended.done:
                inbox = replies.inbox + "*"
                replies.subscription = self.subscribe(inbox, None, replies.deliver)
            if headers is None:
                publisher = self._publishers.get(subject) or self.publisher(subject)
                publisher.request(payload, op)
            else:
                head = publish_head(subject, op.reply, with_headers=True)
                line, body = self._line_and_body(head, payload, headers)
                self.output.expect(op, line)
                self.output.publish(line, body, subject)
        except BaseException:
            self.abandon(op)
            raise
        return op

    def request_on_credit(
        self,
        routes: Mapping[str, Route],
        thread: Callable[[], int],
        write_early: Callable[[], None],
    ) -> RequestNow:
        """A function that makes requests on credit; see `publisher.request_on_credit`."""
        return request_on_credit(self.output, routes, thread, self._replies, write_early)

    def flush(self) -> Op[None]:
        """Return an op that is done when the server has processed everything that was sent before.

        It fails with `ConnectionLostError` if the connection breaks first. While disconnected, the
        flush waits for the next connection.
        """
        self._check_open()
        if self._live and not (self._attempt and self._attempt.leaving):
            return self._answers.ping()
        return self._answers.defer()

    def drain(self) -> Op[None]:
        """Unsubscribe from everything, receive what is on its way, and send the rest.

        Call `close` when the result is done. It fails with `ConnectionLostError` if the connection
        breaks first; the client is CLOSED then.
        """
        self._check_open()
        if not self._live:
            return Op.failed(NotConnectedError(f"can't drain: the client is {self.state.value}"))
        if self.state is not ClientState.DRAINING:
            self._enter(ClientState.DRAINING)
            self._cancel_leaving()
            for sub in self.subscriptions:
                if sub is not self._replies.subscription:
                    self.unsubscribe(sub)
        return self._answers.ping()

    def connected(self) -> Op[bool]:
        """Return an op: done with True when a connection is up, or False when the client closes."""
        if self._live or self.state is ClientState.CLOSED:
            return Op.resolved(self._live)
        return self._waiters.ask()

    def abandon(self, op: Op[Any]) -> None:
        """Forget `op`: its caller no longer waits, because of a timeout or a cancellation."""
        if isinstance(op, PendingReply):
            self._replies.abandon(op)
            self.output.take_back_request(op)
        elif not self._waiters.abandon(op) and not self._answers.abandon(op):
            self.output.abandon(op)

    @property
    def unrouted(self) -> int:
        """How many messages belonged to no known subscription, including late replies."""
        return self._unrouted + self._replies.late

    # ------------------------------------------------------------------ inboxes

    def watch(self, inbox: Inbox) -> None:
        """Stop reading while `inbox` is blocked, and report what it drops."""
        self._watched.add(inbox)

    def unwatch(self, inbox: Inbox) -> None:
        """End `watch`; raises ValueError if `inbox` is not watched.

        If the inbox was blocked, `wants_read` may change: kick the transport.
        """
        self._watched.remove(inbox)

    def report_drops(self, now: float) -> None:
        """Report what watched inboxes have dropped, at most once a second."""
        self._watched.report(now)

    # ------------------------------------------------------------------ events of the wire

    def _on_event(self, current: Attempt, event: Event, now: float) -> None:
        if isinstance(event, Pong):
            self._on_pong(current, now)
        elif isinstance(event, Info):
            self._on_info(current, event, now)
        elif isinstance(event, Err):
            self._on_err(current, event, now)
        elif isinstance(event, ProtocolFailed):
            self._drop_attempt(event.error, now)

    def _on_pong(self, current: Attempt, now: float) -> None:
        if current.phase is Phase.AWAIT_PONG:
            self._handshake_done(current, now)
        else:
            self._answers.pong()

    def _answer_pings(self, current: Attempt, pings: int, now: float) -> None:
        """Answer `pings` PINGs, unless the server does not read the answers."""
        if self._live:
            self.output.add_pongs(pings)
        else:
            current.answer_pings(pings)
            self.output.pongs += pings
        if self.output.pongs > MOST_PONGS:
            self._drop_attempt(
                StaleConnectionError(
                    f"{current.server.address} sends PING after PING and does not read the answers"
                ),
                now,
            )

    def _on_err(self, current: Attempt, event: Err, now: float) -> None:
        """End the connection, fail what the server has refused, or report the error."""
        error = server_error(event.text, current.server.address)
        if not self._live or error.closes:
            self._drop_attempt(error, now)
            return
        if isinstance(error, (PermissionsViolationError, SubscriptionRefusedError)) and (
            sub := self._refused(error)
        ):
            if isinstance(error, SubscriptionRefusedError):
                error = type(error)(error.text, address=error.address, subject=sub.subject)
            waited_for = not sub.confirmed.done
            sub.confirmed.fail(error)
            self.subscriptions.remove(sub)
            if sub is self._replies.subscription:
                for op in self._replies.fail_all(partial(fresh, error)):
                    self.output.take_back_request(op)
            elif waited_for:
                return
        elif isinstance(error, PermissionsViolationError) and (
            request := self._replies.refused(error.subject, error)
        ):
            self.output.take_back_request(request)
            return
        # If the server closes the connection now, this is the reason.
        current.error = error if type(error) is ServerError else None
        self._notices.append(ServerErrorReceived(error))

    def _refused(
        self, error: PermissionsViolationError | SubscriptionRefusedError
    ) -> Subscription | None:
        """Return the subscription that the server has refused."""
        if isinstance(error, SubscriptionRefusedError):
            # The error names no subscription. Answers are in order, so it belongs to the SUB whose
            # PONG is next.
            next_ = self._answers.next
            return next_.sub if isinstance(next_, Confirmation) else None
        return self.subscriptions.refused(error) if error.operation == "subscribe" else None
