"""The queue for asyncio and trio: push, pop, subscribe, request.

This module has the public methods and their documentation. `session` decides whether a call may
continue and how long it waits, `sender` sends, `receiver` takes messages out of the local queue.
`BlockingNASQueue` uses the same parts, so each method is written once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Final, Unpack

from nasq_proto import Held, InvalidSubjectError, UsageError

from .facade import Facade
from .lifetime import weak_method
from .message import HeadersLike, Message
from .notices import UnanswerableRequest
from .options import (
    ASYNC_QUEUE_DEFAULTS,
    AsyncQueueOptions,
    OptionsSignature,
    seconds_of,
    with_defaults,
)
from .parts import Parts
from .payload import Payload, encode_payload
from .receiver import Messages, check_pop_many
from .stats import Stats

__all__ = ["NASQueue"]

# push_many pushes fewer messages than this one by one, which is faster.
_WORTH_A_BATCH: Final = 32


class NASQueue(Facade):
    """A push/pop queue over NATS, for asyncio or trio, whichever is running.

    `push` publishes a message to `namespace.subject`, and the message arrives in this queue as
    well: if a subscription of this queue matches the subject, the server brings it back (in a queue
    group, to one member); otherwise it is put into the local queue. `publish` keeps no copy.

    Args:
        host, port: the server; not together with the option `servers`.
        namespace: prefix of every subject. It may contain dots, so namespaces form a tree. None: no
            prefix; subjects are as other programs see them, including the server's own (`$SYS.…`,
            `$JS.…`).
        options: keyword arguments, documented in `QueueOptions`; and `transport`, a transport or a
            callable that makes one. By default the transport fits the event loop that is running.

    Raises:
        TypeError, InvalidOptionError, InvalidSubjectError: an argument is invalid; the error says
            which one.

    Attributes:
        last_error: why the last connection failed or broke; None when none did.

    >>> import asyncio
    >>> from nasq import NASQueue
    >>> async def main():
    ...     async with NASQueue(port=port, namespace="shop") as queue:
    ...         await queue.subscribe_and_queue("orders.*", queue_group="workers")
    ...         await queue.push("orders.new", {"id": 7})
    ...         message = await queue.pop(timeout=5.0)
    ...         return message.subject, message.json()
    >>> asyncio.run(main())
    ('orders.new', {'id': 7})
    """

    __signature__ = OptionsSignature(ASYNC_QUEUE_DEFAULTS)

    def __init__(
        self,
        host: str = "localhost",
        port: int = 4222,
        namespace: str | None = "default",
        **options: Unpack[AsyncQueueOptions],
    ) -> None:
        kind = type(self).__name__
        options = with_defaults(kind, options, ASYNC_QUEUE_DEFAULTS)
        self._use(Parts(host, port, namespace, options, kind=kind))

    def _use(self, parts: Parts) -> None:
        self._kind = parts.kind
        self._namespace = parts.namespace
        self._session = parts.session
        self._sender = parts.sender
        self._receiver = parts.receiver
        self._inbox = parts.inbox
        self._routes = parts.routes
        self._subscriptions = parts.subscriptions
        self._unanswerable = 0

    def __repr__(self) -> str:
        return (
            f"<{self._kind} {self._namespace.name!r} {self._session.client.state.value}, "
            f"{len(self._inbox)} messages>"
        )

    # ------------------------------------------------------------------ sending

    async def push(
        self, subject: str, message: Payload, headers: HeadersLike | None = None
    ) -> None:
        """Publish a message that also arrives in this queue.

        If a subscription of this queue matches the subject, the server brings the message back:
        once for each subscription that matches, as NATS delivers, and in a queue group to one
        member, which may be another process. If none matches, the message is put into the local
        queue here. A process that only produces should use `publish`, which keeps no copy.

        Returns when the message is on its way or, while disconnected, in the reconnect buffer. It
        waits only while the socket is slow, or for room under `overflow="block"`. `flush` waits
        until the server has the message.

        Args:
            subject: in this queue's namespace; no wildcards.
            message: str (sent as UTF-8), bytes-like, or anything that the json module can encode.
            headers: str to str, or to a list of str for keys that repeat.

        Raises:
            TypeError, InvalidSubjectError, InvalidHeaderError, InvalidPayloadError: an argument
                can't be sent; nothing was sent.
            PayloadTooLargeError: the server does not accept messages of this size; nothing was
                sent.
            NotConnectedError, ConnectionClosedError: call `connect` first.
            BufferFullError: disconnected, and the reconnect buffer is full.
            QueueFullError: the local queue is full, and `overflow` is "error".
            UsageError: called from another thread, event loop or process than `connect`.

        If it is cancelled while it waits, it has sent nothing.
        """
        body = message if type(message) is bytes else encode_payload(message)
        sender = self._sender
        if headers is None and sender.push_now(subject, body):
            return
        if not sender.send_now(subject, body, headers, True):
            await sender.send(subject, body, headers, True)

    async def push_many(
        self, subject: str, messages: Iterable[Payload], headers: HeadersLike | None = None
    ) -> int:
        """Push each of `messages`, in order.

        Returns:
            The number of messages that were pushed: all of them.

        Raises:
            TypeError: `messages` is one message, such as a str.

        It also raises what `push` raises, at the first message that can't be pushed. The messages
        before it are on their way, and `stats().messages_out` counts them.
        The same is true if it is cancelled.
        """
        if isinstance(messages, (str, bytes, bytearray, memoryview, dict)):
            raise TypeError(
                f"messages must be an iterable of messages, not one {type(messages).__name__}: "
                "push() takes a single message"
            )
        if (
            headers is None
            and isinstance(messages, (list, tuple))
            and len(messages) >= _WORTH_A_BATCH
        ):
            return await self._sender.send_batches(subject, messages)
        # One by one: an iterator may take its time between two messages.
        sender, count = self._sender, 0
        for message in messages:
            body = message if type(message) is bytes else encode_payload(message)
            on_credit = headers is None and sender.push_now(subject, body)
            if not (on_credit or sender.send_now(subject, body, headers, True)):
                await sender.send(subject, body, headers, True)
            count += 1
        return count

    async def publish(
        self,
        subject: str,
        message: Payload,
        headers: HeadersLike | None = None,
        reply_to: str | None = None,
    ) -> None:
        """Send a message and keep nothing here.

        The message is in this queue only if the server brings it back.

        Args:
            subject, message, headers: as for `push`.
            reply_to: the subject for replies: one of this namespace, or an inbox (`_INBOX.…`, or
                with the option `inbox_prefix`).

        It raises what `push` raises.
        If it is cancelled while it waits, it has sent nothing.
        """
        body = message if type(message) is bytes else encode_payload(message)
        sender = self._sender
        if reply_to is not None:
            reply = self._namespace.qualify_reply(reply_to)
            await sender.send_with_reply(self._namespace.qualify(subject), body, reply, headers)
            return
        if headers is None and sender.publish_now(subject, body):
            return
        if not sender.send_now(subject, body, headers, False):
            await sender.send(subject, body, headers, False)

    async def request(
        self,
        subject: str,
        message: Payload,
        *,
        timeout: float | None = 5.0,
        headers: HeadersLike | None = None,
    ) -> Message:
        """Publish a message and wait for the first reply.

        Args:
            subject, message, headers: as for `push`.
            timeout: seconds; None or math.inf: forever.

        Raises:
            TypeError, InvalidOptionError: the timeout is not a valid number of seconds.
            NoRespondersError: nothing is subscribed to the subject.
            OperationTimeoutError: no reply arrived in time.
            ConnectionLostError: the connection broke before the reply.
            PermissionsViolationError, SubscriptionRefusedError: the server refuses the request, or
                the subscription for its reply.

        It also raises what `push` raises.

        If it is cancelled, the request is forgotten; a late reply is counted in `stats().unrouted`.

        >>> async def serve(queue):
        ...     message = await queue.pop(timeout=5.0)
        ...     await queue.respond(message, 2 * message.json())
        >>> async def main():
        ...     async with NASQueue(port=port) as service, NASQueue(port=port) as client:
        ...         await service.subscribe_and_queue("double")
        ...         reply, _ = await asyncio.gather(client.request("double", 21), serve(service))
        ...         return reply.json()
        >>> import asyncio
        >>> asyncio.run(main())
        42
        """
        session = self._session
        deadline = session.deadline(timeout)
        body = message if type(message) is bytes else encode_payload(message)
        op = self._sender.request_now(subject, body) if headers is None else None
        if op is None:
            op = await self._sender.request(subject, body, headers)
        transport = session.transport
        assert transport is not None, "the client is open"
        try:
            held = await transport.wait(op, deadline)  # `Session.ask`, without its coroutine
        except BaseException as error:
            session.gave_up(op, error, timeout, f"no reply to the request on {subject!r}")
            raise
        return Message(held, self._receiver.origin)

    async def respond(
        self, message: Message, reply: Payload, headers: HeadersLike | None = None
    ) -> None:
        """Answer a message that has a `reply_to`.

        Any publisher can ask for a reply on a subject that can't be published to, such as `a.*`.
        Then nothing is sent and nothing is raised, since the caller made no mistake:
        `message.reply_error` is the reason, `stats().unanswerable` counts it, and the first one is
        reported as UnanswerableRequest.

        Raises:
            UsageError: the message asks for no reply.

        It also raises what `push` raises for the reply.
        If it is cancelled while it waits, it has sent nothing.
        """
        if not isinstance(message, Message):
            raise TypeError(f"respond takes a Message, not {type(message).__name__}")
        to = message.raw_reply
        if to is None:
            raise UsageError(
                f"the message on {message.subject!r} asks for no reply: answer only messages whose "
                "reply_to is not None"
            )
        body = reply if type(reply) is bytes else encode_payload(reply)
        sender, session = self._sender, self._session
        try:
            if not sender.reply_now(to, body, headers):
                await sender.reply(to, body, headers)
        except InvalidSubjectError as error:
            self._unanswerable += 1
            if self._unanswerable == 1:
                session.client.add_notice(UnanswerableRequest(message.subject, error))
                session.kick()

    # ------------------------------------------------------------------ receiving

    async def pop(self, timeout: float | None = None) -> Message | None:
        """Take the oldest message of the local queue.

        Args:
            timeout: seconds to wait if the queue is empty. None: do not wait. math.inf: forever.

        Returns:
            The message. None if none arrived in time, or if the queue is empty and closed.

        Raises:
            NotConnectedError: it would have to wait, and `connect` was not called or has failed.
            ConnectionClosedError: it would have to wait, and reconnecting was given up. After
                `disconnect` it returns None instead.
            QueueFullError: messages were dropped since the last call, and `overflow` is "error".
            UsageError: called from another thread, event loop or process than `connect`.

        If it is cancelled or times out, no message is lost and the order stays the same. Only a
        signal handler that raises (KeyboardInterrupt) in the moment between taking a message and
        returning it loses that message.
        """
        # `seconds_of`, without the call for the usual types: this is the hot path.
        kind = type(timeout)
        if timeout is not None and not ((kind is float or kind is int) and timeout >= 0):
            seconds_of(timeout)
        message = self._receiver.pop_now()
        return message if message is not None else await self._receiver.pop(timeout)

    async def pop_many(self, max_messages: int, timeout: float | None = None) -> list[Message]:
        """Wait for a first message, as `pop` does, and take up to `max_messages` that are here.

        Args:
            max_messages: at least 1.
            timeout: as for `pop`.

        Returns:
            The messages, oldest first; an empty list if `pop` would return None.

        It raises what `pop` raises, and InvalidOptionError if `max_messages` is not valid. If it is
        interrupted, the messages that it has taken are put back.
        """
        check_pop_many(max_messages, timeout)
        held: list[Held] = []
        try:
            return await self._receiver.pop_many(max_messages, timeout, held)
        except BaseException:
            self._receiver.put_back(held)
            raise

    def __aiter__(self) -> AsyncIterator[Message]:
        """Iterate over messages until the queue is disconnected and empty.

        It raises what `pop` raises with a timeout of math.inf.

        >>> async def main():
        ...     async with NASQueue(port=port) as queue:
        ...         await queue.push_many("numbers", [1, 2, 3])
        ...     return [message.json() async for message in queue]
        >>> import asyncio
        >>> asyncio.run(main())
        [1, 2, 3]
        """
        return Messages(self._receiver)

    async def subscribe_and_queue(self, subject: str, queue_group: str = "") -> int:
        """Subscribe to a subject, and put its messages into the local queue.

        Returns when the server has confirmed the subscription: every message that is pushed from
        then on arrives. While disconnected, it waits for the next connection. The subscription
        survives a lost connection. It ends with `disconnect()`, and when reconnecting is given up;
        after another `connect()`, subscribe again.

        Args:
            subject: in this queue's namespace; `*` stands for one token, `>` for the rest.
            queue_group: one member of the group gets each message; empty: every subscriber does.

        Returns:
            The sid, for `unsubscribe`.

        Raises:
            TypeError, InvalidSubjectError: an argument is invalid; nothing was sent.
            PermissionsViolationError, SubscriptionRefusedError: the server refuses it.
            SubscriptionLimitError: the server's limit of subscriptions is reached.
            NotConnectedError, ConnectionClosedError: call `connect` first.

        If it is cancelled, the subscription is taken back.
        """
        session = self._session
        session.check()
        full = self._namespace.qualify(subject, wildcards=True)
        group = None if queue_group == "" else queue_group
        sub = session.client.subscribe(full, group, self._inbox.deliver)
        self._subscriptions[sub.sid] = sub
        self._routes.clear()
        sub.ended.on_done(weak_method(self._forget_ended))
        session.kick()
        try:
            await session.wait(sub.confirmed)
        except BaseException:
            session.client.unsubscribe(sub)
            self._routes.clear()
            session.kick()
            raise
        return sub.sid

    async def unsubscribe(self, sid: int | None = None) -> None:
        """End one subscription, or all if `sid` is None. Messages in the local queue stay.

        Returns when no more messages can arrive; while disconnected, immediately.

        Raises:
            UsageError: no subscription has this sid.

        If it is cancelled, the subscriptions end all the same.
        """
        session = self._session
        session.check()
        if sid is None:
            ending = list(self._subscriptions.values())
        elif sid in self._subscriptions:
            ending = [self._subscriptions[sid]]
        else:
            known = ", ".join(map(str, sorted(self._subscriptions))) or "none"
            raise UsageError(f"no subscription with sid {sid!r} (current sids: {known})")
        for sub in ending:
            session.client.unsubscribe(sub)
        self._routes.clear()
        if session.is_connected:
            session.kick()
            for sub in ending:
                await session.wait(sub.ended)

    def _forget_ended(self) -> None:
        """Forget the subscriptions that have ended."""
        for sid in [sid for sid, sub in self._subscriptions.items() if sub.ended.done]:
            del self._subscriptions[sid]
        self._routes.clear()

    # ------------------------------------------------------------------ the local queue

    def queue_size(self) -> int:
        """The number of messages in the local queue."""
        return len(self._inbox)

    def clear_queue(self) -> None:
        """Remove every message from the local queue.

        Raises:
            UsageError: called from another thread, event loop or process than `connect`.
        """
        self._session.check()
        self._receiver.clear()

    def get_namespace(self) -> str | None:
        """The namespace; None where subjects have no prefix."""
        return self._namespace.name

    def stats(self) -> Stats:
        """Return the counters of this queue. `stats()._asdict()` is a dict.

        Raises:
            UsageError: called from another thread than `connect`.
        """
        # Counting settles what was sent on credit, so no other thread may send meanwhile.
        self._session.check_thread()
        client, inbox = self._session.client, self._inbox
        return Stats(
            messages_in=inbox.messages_in,
            bytes_in=inbox.bytes_in,
            messages_out=client.output.messages_out,
            bytes_out=client.output.bytes_out,
            pending=len(inbox),
            dropped=inbox.dropped,
            unsent=client.dropped_unsent,
            unrouted=client.unrouted,
            reconnects=client.reconnects,
            unanswerable=self._unanswerable,
        )


def queue_of(parts: Parts) -> NASQueue:
    """A queue that is made of these parts."""
    queue = NASQueue.__new__(NASQueue)
    queue._use(parts)
    return queue
