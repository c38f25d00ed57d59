"""Sends messages, and keeps those here that the server will not bring back.

There are three ways to send, and a message takes the first one that is open to it:

1. On credit (`push_now`, `publish_now`, `request_now`): another message was sent in this turn, its
   write is scheduled, and the subject is known. Nothing but the size is checked.
2. At once (`send_now`): everything is checked, and nothing has to be waited for.
3. Slowly (`send`): other tasks run first, and the message waits for the socket, or for room in a
   bounded local queue.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, cast

from nasq_proto import ClientState, Head, Inbox, Overflow, QueueFullError, encode_headers
from nasq_proto.publisher import publish_on_credit, push_on_credit
from nasq_proto.replies import PendingReply

from .lifetime import weak_method
from .message import HeadersLike
from .notices import UnpoppedMessages
from .payload import Payload, encode_payload
from .routes import Routes
from .session import Session

__all__ = ["Sender"]

# Pushed messages that are kept with none popped before the queue reports it.
_UNPOPPED: Final = 10_000


class Sender:
    """Sends the messages of a queue.

    Attributes:
        push_now, publish_now: send a message without headers on credit; False: nothing was done.
        request_now: makes a request without headers on credit; None: nothing was done.
    """

    def __init__(self, session: Session, inbox: Inbox, routes: Routes) -> None:
        self._session = session
        self._client = session.client
        self._output = session.output
        self._inbox = inbox
        self._routes = routes
        # The time of the oldest message at the last checkpoint. While it stays the oldest, none was
        # popped. None: one was, so there is nothing to report.
        self._oldest_kept: float | None = -math.inf
        self._use_thread()
        session.on_start.append(weak_method(self._on_start))

    def _on_start(self, clock_moved: float) -> None:
        if self._oldest_kept is not None:
            self._oldest_kept = -math.inf
        self._use_thread()

    def _use_thread(self) -> None:
        """Let the current thread send on credit."""
        session, known = self._session, self._routes.known
        self.publish_now = publish_on_credit(self._output, known, session.thread)
        transport = session.transport
        self.request_now = self._client.request_on_credit(
            known, session.thread, session.kick if transport is None else transport.kick_now
        )
        self.push_now = push_on_credit(
            self._output, known, session.thread, self._inbox, session.now
        )

    # ------------------------------------------------------------------ one message

    def send_now(self, subject: str, body: bytes, headers: HeadersLike | None, keep: bool) -> bool:
        """Send at once.

        Args:
            keep: put the message into the local queue if the server will not bring it back.

        Returns:
            False if the call has to wait, or its caller has to be refused: then nothing was done.
        """
        if not self._session.admits():
            return False
        route = self._routes[subject]
        local = route.local if keep else None
        if local is not None and self._inbox.bounded:
            return False
        if headers is None:
            first = route.publisher.publish(body)
        else:
            first = self._client.publish(route.subject, body, None, headers)
        if first:
            self._session.schedule_write()
        if local is not None:
            self._keep(local, body, headers)
        return True

    async def send(
        self, subject: str, body: bytes, headers: HeadersLike | None, keep: bool
    ) -> None:
        """Like `send_now`, but wait as long as necessary."""
        await self._give_way()
        route = self._routes[subject]
        if keep and route.local is not None and self._inbox.bounded:
            await self._find_room(len(body) + (len(encode_headers(headers)) if headers else 0))
            # Meanwhile a subscription may have been made that brings the message back.
            route = self._routes[subject]
        if self._client.publish(route.subject, body, None, headers):
            self._session.schedule_write()
        if keep and route.local is not None:
            self._keep(route.local, body, headers)

    async def send_with_reply(
        self, subject: str, body: bytes, reply: str, headers: HeadersLike | None
    ) -> None:
        """Send a message that asks for replies, to a subject as the server knows it."""
        if not self._session.admits():
            await self._give_way()
        if self._client.publish(subject, body, reply, headers):
            self._session.schedule_write()

    def reply_now(self, to: bytes, body: bytes, headers: HeadersLike | None = None) -> bool:
        """Like `send_now`, to the reply subject of a message, which came from the wire.

        Raises:
            InvalidSubjectError: nothing can be published to that subject.
        """
        if not self._session.admits():
            return False
        if self._client.publish_raw(to, body, headers):
            self._session.schedule_write()
        return True

    async def reply(self, to: bytes, body: bytes, headers: HeadersLike | None) -> None:
        """Like `reply_now`, and wait for whatever has to be waited for."""
        await self._give_way()
        if self._client.publish_raw(to, body, headers):
            self._session.schedule_write()

    async def request(self, subject: str, body: bytes, headers: HeadersLike | None) -> PendingReply:
        """Make a request, after waiting for whatever has to be waited for, and write it early."""
        session = self._session
        if not session.admits():
            await session.give_way()
        route = self._routes[subject]
        try:
            op = self._client.request(route.subject, body, headers)
        except BaseException:
            session.kick()  # the subscription for replies may have been made
            raise
        try:
            session.write_early()
        except BaseException:
            self._client.abandon(op)
            raise
        return op

    # ------------------------------------------------------------------ many messages

    async def send_batches(self, subject: str, messages: Sequence[Payload]) -> int:
        """`push_many` of a sequence: encoded and appended a batch at a time."""
        start = 0
        while start < len(messages):
            batch = messages[start : start + self._batch_size(messages[start])]
            start += len(batch)
            if self._output.credit <= 0 or not self._session.admits():
                await self._give_way()
            route = self._routes[subject]
            bodies = _encoded(batch)
            if (
                bodies is None
                or (route.local is not None and self._inbox.bounded)
                or not self._output.accepts(bodies)
            ):
                # One of them will be refused, or has to wait, after those before it were sent.
                for message in batch:
                    body = encode_payload(message)
                    if not self.send_now(subject, body, None, True):
                        await self.send(subject, body, None, True)
                continue
            if route.publisher.publish_many(bodies):
                self._session.schedule_write()
            if route.local is not None:
                self._inbox.put_many(route.local, bodies, self._session.now())
        return len(messages)

    def _batch_size(self, message: Payload) -> int:
        """How many messages like this one are sent together."""
        return self._output.batch_size(len(message) if isinstance(message, (bytes, str)) else 0)

    # ------------------------------------------------------------------ the local queue

    def _keep(self, head: Head, body: bytes, headers: HeadersLike | None) -> None:
        """Put a pushed message into the local queue, since the server will not bring it back."""
        if headers is not None:
            block = encode_headers(headers)
            body = block + body
            head = Head(head.subject, b"", None, len(block), len(body))
        now = self._session.now()
        self._inbox.put(head, body, now)
        if self._inbox.bounded:
            self._client.report_drops(now)
            self._session.kick()

    async def _find_room(self, size: int) -> None:
        """Wait for room in a bounded local queue.

        Raises:
            QueueFullError: the queue is full, and its `overflow` is "error".
        """
        inbox, transport = self._inbox, self._session.transport
        if inbox.overflow is Overflow.ERROR and not inbox.has_room(size):
            raise QueueFullError(
                "the local queue is full, so this message was not pushed: pop messages first, or "
                "use publish(), which keeps no copy"
            )
        while (
            inbox.overflow is Overflow.BLOCK
            and inbox.bodies
            and transport is not None
            and self._client.state is not ClientState.CLOSED
            and not inbox.has_room(size)
        ):
            room = inbox.room()
            try:
                await transport.wait(room)
            except BaseException:
                inbox.abandon(room)
                raise

    async def _give_way(self) -> None:
        self._inbox.settle()  # a few at a time: no later call has to move all that was ever pushed
        if self._oldest_kept is not None:
            self._report_unpopped()
        await self._session.give_way()

    def _report_unpopped(self) -> None:
        """Report, once, that many pushed messages are kept here while none is ever popped."""
        inbox = self._inbox
        try:
            oldest, head = inbox.times[0], inbox.heads[0]
        except IndexError:
            oldest, head = -math.inf, None
        if self._oldest_kept == -math.inf:
            self._oldest_kept = oldest
        elif oldest is not self._oldest_kept:
            self._oldest_kept = None  # one was popped
        elif len(inbox.times) >= _UNPOPPED and head and not head.sid:  # it never was on the wire
            self._oldest_kept = None
            self._client.add_notice(UnpoppedMessages(len(inbox.times)))
            self._session.kick()


def _encoded(messages: Sequence[Payload]) -> list[bytes] | None:
    """The bodies of messages; None if one of them can't be encoded."""
    if set(map(type, messages)) == {bytes}:
        return list(cast("Sequence[bytes]", messages))
    try:
        return [m if type(m) is bytes else encode_payload(m) for m in messages]
    except (TypeError, ValueError):
        return None
