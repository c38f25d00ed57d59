"""The same queue for plain blocking code: scripts, threads, Django views.

There is no event loop, and asyncio is not imported. A daemon thread drives the connection, and each
call here runs a coroutine of `NASQueue` to its end under one lock. Calls that need no wait use the
parts of the queue directly, without a coroutine.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, Unpack

from nasq_proto import ClientState, Held, InvalidSubjectError
from nasq_transports.blocking import BlockingTransport
from nasq_transports.sync import run_sync

from .message import HeadersLike, Message
from .options import (
    QUEUE_DEFAULTS,
    OptionsSignature,
    QueueOptions,
    seconds_of,
    with_defaults,
)
from .parts import Parts
from .payload import Payload, encode_payload
from .queue import queue_of
from .receiver import check_pop_many
from .stats import Stats

__all__ = ["BlockingNASQueue"]

T = TypeVar("T")
# A subject, or a reply subject as it is on the wire.
To = TypeVar("To", str, bytes)


class BlockingNASQueue:
    """`NASQueue` without async: the same names with the same meanings, safe from any thread.

    A call that waits blocks the calling thread only. KeyboardInterrupt ends its wait, as
    cancellation ends that of the coroutine.

    Args:
        host, port, namespace: as for `NASQueue`.
        options: keyword arguments, documented in `QueueOptions`. Callables among them are plain
            functions.

    Raises:
        TypeError, InvalidOptionError, InvalidSubjectError: an argument is invalid; the error says
            which one.

    Attributes:
        last_error: why the last connection failed or broke; None when none did.

    >>> from nasq import BlockingNASQueue
    >>> with BlockingNASQueue(port=port, namespace="docs") as queue:
    ...     queue.push("orders", {"id": 1})
    ...     queue.pop(timeout=1.0).json()
    {'id': 1}
    """

    __signature__ = OptionsSignature(QUEUE_DEFAULTS)

    def __init__(
        self,
        host: str = "localhost",
        port: int = 4222,
        namespace: str | None = "default",
        **options: Unpack[QueueOptions],
    ) -> None:
        kind = type(self).__name__
        options = with_defaults(kind, options, QUEUE_DEFAULTS)
        self._lock = threading.RLock()
        # With a single lock, a thread that pushes and one that pops would wait for each other at
        # every message.
        parts = Parts(
            host,
            port,
            namespace,
            {**options, "transport": partial(BlockingTransport, self._lock)},
            kind=kind,
            lock=self._lock,
            pop_lock=threading.RLock(),
        )
        self._queue = queue_of(parts)
        self._session = parts.session
        self._sender = sender = parts.sender
        self._push = partial(sender.send_now, keep=True)
        self._publish = partial(sender.send_now, keep=False)
        self._receiver = parts.receiver

    def __repr__(self) -> str:
        return repr(self._queue)

    def _run(self, coroutine: Coroutine[Any, Any, T], *, waits: bool = False) -> T:
        """Run a coroutine, and return its result.

        `waits`: it may wait, so a caller that must not wait is refused first.
        """
        session = self._session
        try:
            # Before the lock: in a forked child, a thread of the parent may hold it forever.
            if session.caller() is not session.owner:
                session.check()
            if waits and isinstance(session.transport, BlockingTransport):
                session.transport.check_wait(held=0)
        except BaseException:
            coroutine.close()
            raise
        try:
            return run_sync(coroutine, self._lock)
        except BaseException:
            # A signal handler may have raised just before the driver's thread was woken.
            with self._lock:
                session.kick()
            raise

    def connect(self, timeout: float | None = None) -> bool:
        """Connect to the first server that answers.

        Once connected, the queue reconnects by itself. Calls that are made at the same time share
        one attempt.

        Args:
            timeout: seconds to keep trying, for example while the server is being started. The
                reconnect policy sets the pauses. math.inf: forever. 0: try each server once, which
                takes at most `connect_timeout` seconds for each server in the options, and as long
                again for all announced servers together. None: the option `wait_for_server`, which
                is 0 by default.

        Returns:
            Whether a connection is up. If not, `last_error` is the reason.

        Raises:
            TypeError, InvalidOptionError: the timeout is not a valid number of seconds.
            UsageError: called from a process that was forked after an earlier `connect`.

        >>> queue = BlockingNASQueue(port=port)
        >>> queue.connect(timeout=10.0)
        True
        >>> queue.disconnect()
        """
        return self._run(self._queue.connect(timeout), waits=True)

    def wait_connected(self, timeout: float | None = 5.0) -> bool:
        """Wait for a connection that is being made.

        Args:
            timeout: seconds; None or math.inf: forever.

        Returns:
            Whether a connection is up; False immediately if none is being made.

        Raises:
            TypeError, InvalidOptionError: the timeout is not a valid number of seconds.
        """
        return self._run(self._queue.wait_connected(timeout))

    def disconnect(self) -> None:
        """Send what was pushed, within 5 seconds, and close. Idempotent.

        The wait is shorter when the server takes no bytes for half a second, or does not answer for
        a second after the operating system has taken all bytes. Without a connection, there is no
        wait. Pushes that were never sent are counted in `stats().unsent` and in the Closed event.
        The local queue stays readable. Every subscription ends: after another `connect()`,
        subscribe again.
        """
        closed = self._session.client.state is ClientState.CLOSED
        self._run(self._queue.disconnect(), waits=not closed)

    def is_connected(self) -> bool:
        """Whether a connection is up now."""
        return self._queue.is_connected()

    @property
    def last_error(self) -> Exception | None:
        """Why the last connection failed or broke; None when none did."""
        return self._queue.last_error

    def __enter__(self) -> BlockingNASQueue:
        """Connect, or raise `last_error`."""
        self._run(self._queue.__aenter__(), waits=True)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect."""
        self.disconnect()

    def push(self, subject: str, message: Payload, headers: HeadersLike | None = None) -> None:
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
            UsageError: called from a process that was forked after `connect`.
        """
        body = message if type(message) is bytes else encode_payload(message)
        if not self._send_now(self._sender.push_now, self._push, subject, body, headers):
            self._run(self._queue.push(subject, body, headers))

    def push_many(
        self, subject: str, messages: Iterable[Payload], headers: HeadersLike | None = None
    ) -> int:
        """Push each of `messages`, in order.

        Returns:
            The number of messages that were pushed: all of them.

        Raises:
            TypeError: `messages` is one message, such as a str.

        It also raises what `push` raises, at the first message that can't be pushed. The messages
        before it are on their way, and `stats().messages_out` counts them.
        """
        return self._run(self._queue.push_many(subject, messages, headers))

    def publish(
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
        """
        body = message if type(message) is bytes else encode_payload(message)
        if reply_to is not None or not self._send_now(
            self._sender.publish_now, self._publish, subject, body, headers
        ):
            self._run(self._queue.publish(subject, body, headers, reply_to))

    def _send_now(
        self,
        on_credit: Callable[[To, bytes], bool],
        at_once: Callable[[To, bytes, HeadersLike | None], bool],
        to: To,
        body: bytes,
        headers: HeadersLike | None,
    ) -> bool:
        """Send on credit, or at once; see `Sender`."""
        session, lock = self._session, self._lock
        if session.caller() is not session.owner:
            return False
        try:
            lock.acquire()  # `with lock` would take a third of the time of a push
            done = headers is None and on_credit(to, body)
            if not done:
                done = at_once(to, body, headers)
        except BaseException:
            # A KeyboardInterrupt may have been raised while `acquire` waited: then the lock is not
            # owned. If this call is in a signal handler and the call that it interrupted owns the
            # lock, `acquire` did not wait, and no signal is handled between `try` and its end. So a
            # lock that is owned was acquired here.
            if lock._is_owned():  # type: ignore[attr-defined]  # what Condition uses of it
                session.kick()  # perhaps the thread was not woken yet
                lock.release()
            raise
        lock.release()
        return done

    def request(
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
        """
        call = self._queue.request(subject, message, timeout=timeout, headers=headers)
        return self._run(call, waits=True)

    def respond(self, message: Message, reply: Payload, headers: HeadersLike | None = None) -> None:
        """Answer a message that has a `reply_to`.

        Any publisher can ask for a reply on a subject that can't be published to, such as `a.*`.
        Then nothing is sent and nothing is raised, since the caller made no mistake:
        `message.reply_error` is the reason, `stats().unanswerable` counts it, and the first one is
        reported as UnanswerableRequest.

        Raises:
            UsageError: the message asks for no reply.

        It also raises what `push` raises for the reply.
        """
        to = message.raw_reply if isinstance(message, Message) else None
        if to is not None:
            body = reply if type(reply) is bytes else encode_payload(reply)
            reply_now = self._sender.reply_now
            try:
                if self._send_now(reply_now, reply_now, to, body, headers):
                    return
            except InvalidSubjectError:
                pass  # nothing was sent; `NASQueue.respond` counts it
        self._run(self._queue.respond(message, reply, headers))

    def flush(self, timeout: float | None = 10.0) -> None:
        """Wait until the server has processed everything that was sent before.

        While disconnected, wait for the next connection as well.

        Args:
            timeout: seconds; None or math.inf: forever.

        Raises:
            OperationTimeoutError: the server did not answer in time.
            ConnectionLostError: the connection broke first; what was sent before may be lost.
            NotConnectedError, ConnectionClosedError: call `connect` first.
        """
        self._run(self._queue.flush(timeout), waits=True)

    def drain(self, timeout: float | None = 30.0) -> None:
        """End every subscription, take in what is on its way, send everything, and disconnect.

        Messages that the server had already sent arrive first. Messages in the local queue can
        still be popped afterwards.

        Args:
            timeout: seconds; None or math.inf: forever.

        Raises:
            OperationTimeoutError, ConnectionLostError: something may be lost. The connection is
                closed all the same.
            NotConnectedError, ConnectionClosedError: the queue is not connected.
        """
        self._run(self._queue.drain(timeout), waits=True)

    def pop(self, timeout: float | None = None) -> Message | None:
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
            UsageError: called from a process that was forked after `connect`.

        A KeyboardInterrupt ends the wait and loses nothing. Only in the moment between taking a
        message and returning it, it loses that message.

        >>> with BlockingNASQueue(port=port) as queue:
        ...     queue.push("orders", "Order #1001")
        ...     queue.pop().text, queue.pop(timeout=0.01)
        ('Order #1001', None)
        """
        # `seconds_of`, without the call for the usual types: this is the hot path.
        kind = type(timeout)
        if timeout is not None and not ((kind is float or kind is int) and timeout >= 0):
            seconds_of(timeout)
        session, receiver = self._session, self._receiver
        if session.caller() is session.owner:
            with receiver.lock:
                message = receiver.pop_now()
            if message is not None:
                return message
        return self._run(receiver.pop(timeout))

    def pop_many(self, max_messages: int, timeout: float | None = None) -> list[Message]:
        """Wait for a first message, as `pop` does, and take up to `max_messages` that are here.

        Args:
            max_messages: at least 1.
            timeout: as for `pop`.

        Returns:
            The messages, oldest first; an empty list if `pop` would return None.

        It raises what `pop` raises, and InvalidOptionError if `max_messages` is not valid. If it is
        interrupted, the messages that it has taken are put back.

        >>> with BlockingNASQueue(port=port) as queue:
        ...     queue.push_many("numbers", [1, 2, 3])
        ...     [message.json() for message in queue.pop_many(10)]
        3
        [1, 2, 3]
        """
        check_pop_many(max_messages, timeout)
        held: list[Held] = []
        try:
            return self._run(self._receiver.pop_many(max_messages, timeout, held))
        except BaseException:
            if held:  # else the lock may be held forever: this may be the child of a fork
                with self._lock:
                    self._receiver.put_back(held)
            raise

    def __iter__(self) -> Iterator[Message]:
        """Iterate over messages until the queue is disconnected and empty.

        It raises what `pop` raises with a timeout of math.inf.
        """
        while (message := self.pop(math.inf)) is not None:
            yield message

    def subscribe_and_queue(self, subject: str, queue_group: str = "") -> int:
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
        """
        return self._run(self._queue.subscribe_and_queue(subject, queue_group), waits=True)

    def unsubscribe(self, sid: int | None = None) -> None:
        """End one subscription, or all if `sid` is None. Messages in the local queue stay.

        Returns when no more messages can arrive; while disconnected, immediately.

        Raises:
            UsageError: no subscription has this sid.
        """
        self._run(self._queue.unsubscribe(sid), waits=True)

    def queue_size(self) -> int:
        """The number of messages in the local queue."""
        return self._queue.queue_size()

    def clear_queue(self) -> None:
        """Remove every message from the local queue."""
        self._session.check()
        with self._lock:
            self._queue.clear_queue()

    def get_namespace(self) -> str | None:
        """The namespace; None where subjects have no prefix."""
        return self._queue.get_namespace()

    def stats(self) -> Stats:
        """Return the counters of this queue. `stats()._asdict()` is a dict."""
        self._session.check()
        with self._lock:
            return self._queue.stats()
