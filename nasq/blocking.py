"""The same queue in plain blocking code, for scripts, threads and Django views.

No event loop, no asyncio import: a daemon thread keeps the connection, and each call here runs the
coroutine of `NASQueue` to its end under one lock. What needs no wait is called as it is, without
the coroutine around it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Coroutine, Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from nasq_proto import ClientState, Held, ReconnectPolicy
from nasq_proto.options import Secret
from nasq_transports import OnEvent
from nasq_transports.blocking import BlockingTransport
from nasq_transports.sync import run_sync

from .auth import Source
from .message import Message
from .payload import Payload, encode_payload
from .queue import HeadersLike, NASQueue, _check_most, _seconds
from .stats import Stats

if TYPE_CHECKING:
    import ssl

__all__ = ["BlockingNASQueue"]

T = TypeVar("T")


class BlockingNASQueue:
    """`NASQueue` without async: the same names, the same meanings. Safe from any thread.

    Where a call waits, it blocks the calling thread and no other; KeyboardInterrupt ends it as
    cancellation ends the coroutine. Arguments: as `NASQueue`, but `transport`.

    >>> from nasq import BlockingNASQueue
    >>> with BlockingNASQueue(port=port, namespace="docs") as queue:
    ...     queue.push("orders", {"id": 1})
    ...     queue.pop(timeout=1.0).json()
    {'id': 1}
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = 4222,
        namespace: str = "default",
        *,
        servers: Iterable[str] | None = None,
        user: Secret = None,
        password: Secret = None,
        token: Secret = None,
        credentials: Source | None = None,
        nkey_seed: Source | None = None,
        tls: bool | ssl.SSLContext | None = None,
        tls_handshake_first: bool = False,
        shuffle_servers: bool = False,
        ignore_discovered_servers: bool = False,
        name: str | None = None,
        connect_timeout: float = 5.0,
        ping_interval: float = 120.0,
        max_pings_out: int = 2,
        reconnect: ReconnectPolicy | None = ReconnectPolicy(),
        reconnect_buffer: int = 8 * 1024 * 1024,
        max_messages: int | None = None,
        max_bytes: int | None = None,
        overflow: str = "drop_newest",
        on_event: OnEvent | None = None,
        wait_for_server: float = 0.0,
    ) -> None:
        self._lock = threading.RLock()
        self._queue = NASQueue(
            host,
            port,
            namespace,
            servers=servers,
            user=user,
            password=password,
            token=token,
            credentials=credentials,
            nkey_seed=nkey_seed,
            tls=tls,
            tls_handshake_first=tls_handshake_first,
            shuffle_servers=shuffle_servers,
            ignore_discovered_servers=ignore_discovered_servers,
            name=name,
            connect_timeout=connect_timeout,
            ping_interval=ping_interval,
            max_pings_out=max_pings_out,
            reconnect=reconnect,
            reconnect_buffer=reconnect_buffer,
            max_messages=max_messages,
            max_bytes=max_bytes,
            overflow=overflow,
            on_event=on_event,
            wait_for_server=wait_for_server,
            transport=partial(BlockingTransport, self._lock),
        )
        self._queue._kind = type(self).__name__
        # One thread that pushes and another that pops would otherwise hand the lock to each other
        # for every message. Whoever takes from a bounded queue makes room: that needs the lock.
        if not self._queue._inbox.bounded:
            self._queue._taking = threading.RLock()
        else:
            self._queue._taking = self._lock

    def __repr__(self) -> str:
        return repr(self._queue)

    def _run(self, coroutine: Coroutine[Any, Any, T], *, waits: bool = False) -> T:
        """The result of a coroutine. One that `waits` does nothing at all where it may not wait."""
        queue = self._queue
        try:
            if queue._caller() is not queue._owner:
                self._check()
            if waits and isinstance(queue._transport, BlockingTransport):
                queue._transport.check_wait(held=0)
        except BaseException:
            coroutine.close()
            raise
        try:
            return run_sync(coroutine, self._lock)
        except BaseException:
            # What a signal handler raises may have come just before the thread was woken.
            with self._lock:
                queue._kick()
            raise

    def _check(self) -> None:
        # Before the lock: in a forked child a thread of the parent may hold it for ever.
        self._queue._check()

    def connect(self, timeout: float | None = None) -> bool:
        """See `NASQueue.connect`."""
        return self._run(self._queue.connect(timeout), waits=True)

    def wait_connected(self, timeout: float | None = 5.0) -> bool:
        """See `NASQueue.wait_connected`."""
        return self._run(self._queue.wait_connected(timeout))

    def disconnect(self) -> None:
        """See `NASQueue.disconnect`."""
        closed = self._queue._client.state is ClientState.CLOSED
        self._run(self._queue.disconnect(), waits=not closed)

    def is_connected(self) -> bool:
        """See `NASQueue.is_connected`."""
        return self._queue.is_connected()

    @property
    def last_error(self) -> Exception | None:
        """See `NASQueue`."""
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
        """See `NASQueue.push`."""
        body = message if type(message) is bytes else encode_payload(message)
        if not self._send_now(subject, body, headers, True):
            self._run(self._queue.push(subject, body, headers))

    def push_many(
        self, subject: str, messages: Iterable[Payload], headers: HeadersLike | None = None
    ) -> int:
        """See `NASQueue.push_many`."""
        return self._run(self._queue.push_many(subject, messages, headers))

    def publish(
        self,
        subject: str,
        message: Payload,
        headers: HeadersLike | None = None,
        reply_to: str | None = None,
    ) -> None:
        """See `NASQueue.publish`."""
        body = message if type(message) is bytes else encode_payload(message)
        if reply_to is not None or not self._send_now(subject, body, headers, False):
            self._run(self._queue.publish(subject, body, headers, reply_to))

    def _send_now(self, subject: str, body: bytes, headers: HeadersLike | None, keep: bool) -> bool:
        """See `NASQueue._send_now`. With `with lock`, a third of a push would be the lock."""
        queue, lock = self._queue, self._lock
        if queue._caller() is not queue._owner:
            return False
        try:
            lock.acquire()
            done = queue._send_now(subject, body, headers, keep)
        except BaseException:
            # A KeyboardInterrupt may have come before the lock was there. Not where a call that a
            # signal handler has interrupted owns it already: `acquire` doesn't wait then, and no
            # signal is handled between `try` and its end. So what is owned was taken here.
            if lock._is_owned():  # type: ignore[attr-defined]  # what Condition uses of it
                queue._kick()  # or just before the thread was woken
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
        """See `NASQueue.request`."""
        call = self._queue.request(subject, message, timeout=timeout, headers=headers)
        return self._run(call, waits=True)

    def respond(self, message: Message, reply: Payload, headers: HeadersLike | None = None) -> None:
        """See `NASQueue.respond`."""
        self._run(self._queue.respond(message, reply, headers))

    def flush(self, timeout: float | None = 10.0) -> None:
        """See `NASQueue.flush`."""
        self._run(self._queue.flush(timeout), waits=True)

    def drain(self, timeout: float | None = 30.0) -> None:
        """See `NASQueue.drain`."""
        self._run(self._queue.drain(timeout), waits=True)

    def pop(self, timeout: float | None = None) -> Message | None:
        """See `NASQueue.pop`."""
        queue = self._queue
        if timeout is not None and (type(timeout) is not float or not timeout >= 0.0):
            _seconds(timeout)
        if queue._caller() is queue._owner:
            with queue._taking:
                message = queue._pop_now()
            if message is not None:
                return message
        return self._run(queue.pop(timeout))

    def pop_many(self, max_messages: int, timeout: float | None = None) -> list[Message]:
        """See `NASQueue.pop_many`."""
        _check_most(max_messages, timeout)
        held: list[Held] = []
        try:
            return self._run(self._queue._pop_many(max_messages, timeout, held))
        except BaseException:
            with self._lock:
                self._queue._put_back(held)
            raise

    def __iter__(self) -> Iterator[Message]:
        """Messages as they come, until the queue is disconnected and empty."""
        while (message := self.pop(math.inf)) is not None:
            yield message

    def subscribe_and_queue(self, subject: str, queue_group: str = "") -> int:
        """See `NASQueue.subscribe_and_queue`."""
        return self._run(self._queue.subscribe_and_queue(subject, queue_group), waits=True)

    def unsubscribe(self, sid: int | None = None) -> None:
        """See `NASQueue.unsubscribe`."""
        self._run(self._queue.unsubscribe(sid), waits=True)

    def queue_size(self) -> int:
        """See `NASQueue.queue_size`."""
        return self._queue.queue_size()

    def clear_queue(self) -> None:
        """See `NASQueue.clear_queue`."""
        self._check()
        with self._lock:
            self._queue.clear_queue()

    def get_namespace(self) -> str:
        """See `NASQueue.get_namespace`."""
        return self._queue.get_namespace()

    def stats(self) -> Stats:
        """See `NASQueue.stats`."""
        self._check()
        with self._lock:
            return self._queue.stats()
