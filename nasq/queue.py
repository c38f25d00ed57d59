"""The queue: push, pop, subscribe, request. Written once for asyncio, trio and threads.

A coroutine here suspends in two places only, the transport's `wait` and `checkpoint`. Between two
of them it is atomic, on an event loop by nature and under threads because the blocking transport
is a monitor (see `nasq_transports.blocking`). Nothing here writes to a socket, so cancelling a
call interrupts waiting and nothing else.
"""

from __future__ import annotations

import math
import random
import threading
import time
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, TypeVar, cast

from nasq_proto import (
    Client,
    ClientOptions,
    ClientState,
    ConnectionClosedError,
    Head,
    Held,
    Inbox,
    InvalidOptionError,
    InvalidSubjectError,
    NASQError,
    NotConnectedError,
    Notice,
    Op,
    OpenTransport,
    OperationTimeoutError,
    Overflow,
    QueueFullError,
    ReconnectPolicy,
    Server,
    Subscription,
    UsageError,
    encode_headers,
    parse_server,
    server_at,
)
from nasq_proto.options import Authenticator, Secret
from nasq_proto.output import COST, CREDIT, CRLF
from nasq_proto.servers import DEFAULT_PORT
from nasq_transports import OnEvent, Transport, running_transport

from .auth import Source, credentials_authenticator, nkey_authenticator
from .message import HeadersLike, Message, Origin
from .namespace import Namespace
from .notices import UnanswerableRequest, UnpoppedMessages
from .payload import Payload, encode_payload
from .routes import Routes
from .stats import Stats

if TYPE_CHECKING:
    import ssl

__all__ = ["HeadersLike", "NASQueue", "OverflowPolicy"]

T = TypeVar("T")
OverflowPolicy = Literal["drop_newest", "drop_oldest", "block", "error"]

# push and pop take a checkpoint after so many calls that had nothing to wait for: a tight loop
# would starve everything else on its event loop, and output is written at a checkpoint. pop goes
# on for a few rounds of as many calls while they take no time: what is read while messages are
# there waits in memory, which costs more than to take it first.
_CALLS_PER_CHECKPOINT: Final = 256
_ROUNDS: Final = 8
# Fewer messages than this are pushed one by one by push_many, too: that is quicker.
_WORTH_A_BATCH: Final = 32
_TURN: Final = 0.001
# Pushed messages that are kept with none taken before the queue tells its owner so.
_UNPOPPED: Final = 10_000
# States in which connect() begins anew.
_DOWN: Final = (ClientState.IDLE, ClientState.CLOSED)
# Seconds that disconnect() spends on sending what was pushed, and on the stream's end.
_LINGER: Final = 5.0
_STOP: Final = 0.5
# As long as the peer takes something: after so many seconds without it has stopped reading.
_STALLED: Final = 0.5


class _Messages:
    """What `async for` iterates over; no generator, since trio warns of one that is left early."""

    __slots__ = ("_queue",)

    def __init__(self, queue: NASQueue) -> None:
        self._queue = queue

    def __aiter__(self) -> _Messages:
        return self

    async def __anext__(self) -> Message:
        message = self._queue._pop_now() or await self._queue.pop(math.inf)
        if message is None:
            raise StopAsyncIteration
        return message


class NASQueue:
    """A push/pop queue over NATS, for asyncio or trio, whichever is running.

    What is pushed is published to `namespace.subject` and is in this queue: brought back by the
    server where a subscription of this queue matches the subject (in a queue group, given to one
    member of it), put into the local queue otherwise. `publish` sends and keeps nothing.

    Args:
        host, port: the server; not together with `servers`.
        namespace: prefix of every subject; may hold dots, then forms a tree. None: none, subjects
            are as other programs see them, the server's own (`$SYS.…`, `$JS.…`) included.
        servers: URLs such as "nats://user:password@host:4222", instead of host and port.
        user, password, token: a str, or a callable that is called anew for each connection. It
            may be a coroutine function, and may take its time: nothing else waits for it.
        credentials: a credentials file or its text, or a callable (as above) that returns either.
            A file is read anew for each connection, and may appear later.
        nkey_seed: a seed, a file that contains one, or a callable that returns either. A str is a
            file where it has a path separator or an extension, or where such a file is there.
        tls: True: TLS with the system's trust store; an ssl.SSLContext: with yours (client
            certificates go there). None: where a server requires it, and for tls:// and wss://.
        tls_handshake_first: TLS before the server's INFO, for servers set up so.
        shuffle_servers: try the servers in a random order.
        ignore_discovered_servers: connect to the servers that are named here only, whatever
            others they announce: for a client that can't reach those (containers, NAT).
        name: shown by the server's monitoring; no control characters, at most 256 bytes as UTF-8.
        connect_timeout: seconds for one attempt, from opening the socket to the server's answer;
            math.inf: no deadline.
        ping_interval: seconds between PINGs that this side sends; math.inf: never.
        max_pings_out: unanswered PINGs after which the connection is given up.
        reconnect: how a lost connection is made again; None: never.
        reconnect_buffer: bytes of pushes kept while disconnected.
        max_messages, max_bytes: bounds of the local queue, bytes of payload and headers; None:
            as much as memory holds.
        overflow: what a full local queue does with another message: "drop_newest",
            "drop_oldest", "block" (reading stops, and with it the answers to PING: a server
            gives up after minutes; push waits) or "error" (drops it, and the next pop raises
            QueueFullError; so does a push that would have been kept here). Every drop is
            counted in `stats().dropped` and reported as SlowConsumer, at most once a second.
        on_event: a plain function, called with each Connected, Disconnected, Reconnected, LameDuck,
            SlowConsumer, ServerErrorReceived, UnanswerableRequest, UnpoppedMessages and Closed.
            What it raises is logged and harms nothing.
        wait_for_server: seconds that `async with` and `connect()` go on trying at the start, for a
            server that is not up yet; math.inf: for ever.
        transport: a transport, or a callable that makes one; None: for the running event loop.

    Raises:
        TypeError, InvalidOptionError, InvalidSubjectError: an argument makes no sense.

    Attributes:
        last_error: why the last connection failed or broke; None when none did.
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = 4222,
        namespace: str | None = "default",
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
        overflow: OverflowPolicy = "drop_newest",
        on_event: OnEvent | None = None,
        wait_for_server: float = 0.0,
        transport: Transport | Callable[[], Transport] | None = None,
    ) -> None:
        self._namespace = Namespace(namespace)
        options = ClientOptions(
            servers=_servers(host, port, servers),
            user=user,
            password=password,
            token=token,
            authenticator=_authenticator(credentials, nkey_seed),
            tls=bool(tls),
            tls_first=tls_handshake_first,
            tls_context=None if isinstance(tls, bool) else tls,
            shuffle=shuffle_servers,
            ignore_discovered_servers=ignore_discovered_servers,
            name=name,
            connect_timeout=connect_timeout,
            ping_interval=ping_interval,
            max_pings_out=max_pings_out,
            reconnect=reconnect,
            reconnect_buffer=reconnect_buffer,
        )
        self._client = Client(options, rng=random.SystemRandom())
        # No more than 29 attributes: those of larger instances are looked up in a slower way by
        # CPython (3.11 to 3.13), and pop takes a fifth longer.
        self._inbox = inbox = Inbox(max_messages, max_bytes, _overflow(overflow))
        inbox.on_room = _while_it_lives(self._kick)
        self._client.watch(inbox)
        self._times, self._oldest = inbox.times, inbox.oldest.__next__
        # Held while messages are taken. More than a formality under threads: see BlockingNASQueue.
        self._pop_lock: AbstractContextManager[object] = nullcontext()
        self._output = self._client.output
        # Whether this caller may use the transport is looked at in every call, so cheaply.
        self._caller: Callable[[], object] = _anyone
        self._owner: object = None
        self._home: object = None
        self._thread: Callable[[], int] = threading.get_ident
        self._home_thread = 0
        self._now: Callable[[], float] = time.monotonic
        self._setup = _Setup(
            transport, _seconds(wait_for_server, "wait_for_server"), _checked(on_event)
        )
        self._relay = _OnEvent(self)
        self._transport: Transport | None = None
        # Calls of connect() that wait, and whether one has told its caller that a connection is up.
        self._connecting = 0
        self._connected = False
        # `closed` of the client whose user has asked for the end.
        self._left: Op[Exception | None] | None = None
        self._subscriptions: dict[int, Subscription] = {}
        self._unanswerable = 0
        # The time of the first message that is kept, as soon as a checkpoint sees it: while it is
        # the oldest one, none was taken. None: that need not be looked at any more.
        self._oldest_kept: float | None = -math.inf
        self._routes = Routes(self._client, self._namespace, self._subscriptions)
        self._push_lines = self._routes.push_lines
        self._publish_lines = self._routes.publish_lines
        self._calls_left = 0
        self._rounds_left = 0
        self._turn_began = 0.0
        self._origin = Origin(self._namespace, 0.0)

    # As it is called in messages: BlockingNASQueue has one inside.
    _kind = ""

    def __repr__(self) -> str:
        return (
            f"<{self._kind or type(self).__name__} {self._namespace.name!r} "
            f"{self._client.state.value}, {len(self._inbox)} messages>"
        )

    def __del__(self) -> None:
        # Not when it was never made in full.
        transport = getattr(self, "_transport", None)
        if transport is None or self._client.state is ClientState.CLOSED:
            return
        name = repr(self)  # before another thread closes it
        if transport.abandon():
            warnings.warn(
                f"{name} was dropped without disconnect(): use it in a with block, or call that; "
                "its connection is closed now",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    # ------------------------------------------------------------------ connection

    async def connect(self, timeout: float | None = None) -> bool:
        """Connect to the first server that answers.

        Once connected, the queue reconnects by itself. Calls that are made at the same time share
        one attempt.

        Args:
            timeout: seconds to go on trying, with the delays of the reconnect policy, for instance
                until a server that starts at the same time is up; math.inf: for ever. 0: each
                server is tried once, at most `connect_timeout` seconds for each that was named, and
                as long again for all that were announced. None: what `wait_for_server` says, 0 by
                default.

        Returns:
            Whether a connection is up. When not, `last_error` says why.

        Raises:
            TypeError, InvalidOptionError: the timeout makes no sense.
            UsageError: no event loop is running, or a transport is used a second time.

        Cancelled, it gives the attempt up, unless another call waits for it too.
        """
        seconds = self._setup.wait_for_server if timeout is None else _seconds(timeout)
        client = self._client
        self._check()
        if client.is_connected:
            self._connected = True
            return True
        ended: Op[None] | None = None
        while client.state in _DOWN and client.stopped is not ended:
            ended = client.stopped
            await self._stopped()
        opened: Op[None] | None = None
        self._connecting += 1
        try:
            # Someone else may have connected meanwhile: from here to `start` nothing is waited for.
            if client.state in _DOWN:
                transport = self._setup.new_transport()
                until = transport.now() + seconds if seconds else None
                opened = self._start(transport, until)
            else:
                assert self._transport is not None, "a client that is connecting was started"
                transport = self._transport
                until = transport.now() + seconds if seconds else None
                opened = client.open(transport.now(), until)
                transport.kick()
            try:
                await transport.wait(opened, None if until == math.inf else until)
            except TimeoutError:
                if self._connecting == 1 and not self._connected:
                    client.give_up()
                    self._kick()
                return False
            except (NASQError, OSError):
                return False
        except BaseException:
            # Also when it has just come up: nobody knows of it.
            if self._connecting == 1 and not self._connected:
                client.close()
                self._kick()
            raise
        finally:
            self._connecting -= 1
            if opened is not None:
                client.abandon(opened)
        self._connected = True
        return True

    def _start(self, transport: Transport, until: float | None) -> Op[None]:
        """Begin to connect. Where the transport can't be started, this is undone."""
        client = self._client
        self._connected = False
        self._transport = transport
        self._now = transport.now
        self._caller = transport.caller
        self._owner = self._home = transport.caller()
        self._thread = transport.thread
        self._home_thread = transport.thread()
        before = self._origin.wall_offset
        self._set_clock(transport)
        # What is still held was timed by the connection before; trio has a clock of its own.
        with self._pop_lock:
            self._inbox.move_times(before - self._origin.wall_offset)
        if self._oldest_kept is not None:
            self._oldest_kept = -math.inf
        opened = client.open(transport.now(), until, rng=transport.rng)
        client.closed.on_done(_while_it_lives(self._on_closed))
        try:
            self._relay = _OnEvent(self)
            transport.start(client, self._relay)
        except Exception as error:
            while (action := client.next_action()) is not None:
                if isinstance(action, OpenTransport):
                    client.transport_closed(action.attempt, error, transport.now())
            client.give_up()
            while client.next_action() is not None:
                pass
            client.take_notices()  # there is nobody to hand them out
            self._transport = None
            if not isinstance(error, OSError):  # no file descriptor is left, for instance
                raise
        return opened

    async def wait_connected(self, timeout: float | None = 5.0) -> bool:
        """Wait for a connection that is being made.

        Args:
            timeout: seconds; None or math.inf: for ever.

        Returns:
            Whether a connection is up; False at once when none is being made.
        """
        self._check()
        deadline = self._deadline(timeout)
        if self._client.is_connected:
            return True
        if self._transport is None or self._client.state is ClientState.CLOSED:
            return False
        op = self._client.connected()
        try:
            return await self._wait(op, deadline)
        except TimeoutError:
            return False

    async def disconnect(self) -> None:
        """Send what was pushed, within 5 seconds, and close. Idempotent.

        A server that takes no bytes for half a second is waited for no longer, nor one that does
        not answer for a second after the operating system has taken everything. With no connection
        up it returns at once. Pushes that were never sent are counted in `stats().unsent` and in
        the Closed event. The local queue stays readable. Every subscription ends: after another
        `connect()`, subscribe again.

        Cancellation cuts the sending short (trio: after at most those 5 seconds); the connection
        is closed all the same.
        """
        client, transport = self._client, self._transport
        self._check()
        self._left = client.closed
        if transport is None or client.state is ClientState.CLOSED:
            return
        try:
            if client.is_connected:
                flushed = client.flush()
                transport.kick()
                with transport.shield(_LINGER):
                    await self._linger(flushed, transport)
        except (NASQError, TimeoutError):
            pass  # what could not be sent is counted
        finally:
            client.close()
            self._kick()  # of the present transport: another call may have connected meanwhile
            await self._stopped()

    def is_connected(self) -> bool:
        """Whether a connection is up now."""
        return self._client.is_connected

    @property
    def last_error(self) -> Exception | None:
        """Why the last connection failed or broke; None when none did."""
        return self._client.last_error

    async def __aenter__(self) -> NASQueue:
        """Connect, or raise `last_error`."""
        self._check()
        try:
            connected = await self.connect()
        except BaseException:
            # Also when it has just come up: nobody will call __aexit__.
            self._client.close()
            self._kick()
            raise
        if not connected:
            raise self.last_error or ConnectionClosedError("closed while connecting")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect."""
        await self.disconnect()

    # ------------------------------------------------------------------ sending

    async def push(
        self, subject: str, message: Payload, headers: HeadersLike | None = None
    ) -> None:
        """Publish a message, and have it in this queue.

        Where a subscription of this queue matches the subject the server brings the message back:
        once for each that matches, as NATS delivers, and in a queue group to one member of the
        group, which may be another process. Where none does, it is put into the local queue here.
        A process that only produces should use `publish`, which keeps no copy.

        Returns when the message is on its way or, while disconnected, in the reconnect buffer;
        waits only while the socket is slow. `flush` tells when the server has it.

        Args:
            subject: in this queue's namespace; no wildcards.
            message: str (sent as UTF-8), bytes-like, or anything the json module takes.
            headers: str to str, or to a list of str for keys that repeat.

        Raises:
            TypeError, InvalidSubjectError, InvalidHeaderError, InvalidPayloadError,
            PayloadTooLargeError: nothing was sent.
            NotConnectedError, ConnectionClosedError: connect first.
            BufferFullError: disconnected, and the reconnect buffer is full.
            QueueFullError: the local queue is full, and `overflow` is "error".
            UsageError: called from another thread, event loop or process than `connect`.

        Cancelled while it waits, it has sent nothing.
        """
        body = message if type(message) is bytes else encode_payload(message)
        if not self._send_now(subject, body, headers, True):
            await self._send_slowly(subject, body, headers, True)

    async def push_many(
        self, subject: str, messages: Iterable[Payload], headers: HeadersLike | None = None
    ) -> int:
        """Push each of `messages`, in order.

        Returns:
            How many were pushed: all of them.

        Raises what `push` raises, at the first message that can't be pushed; those before it are
        on their way, and `stats().messages_out` counts them. The same holds for cancellation.
        TypeError when `messages` is one message, such as a str.
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
            return await self._send_batches(subject, messages)
        # One by one: whatever makes the messages may take its time between two of them.
        count = 0
        for message in messages:
            body = message if type(message) is bytes else encode_payload(message)
            if not self._send_now(subject, body, headers, True):
                await self._send_slowly(subject, body, headers, True)
            count += 1
        return count

    async def publish(
        self,
        subject: str,
        message: Payload,
        headers: HeadersLike | None = None,
        reply_to: str | None = None,
    ) -> None:
        """Send a message and keep nothing here: it is in this queue only if the server brings it.

        Args:
            subject, message, headers: as for `push`.
            reply_to: where replies go: a subject of this namespace, or an inbox (`_INBOX.…`).

        Raises what `push` raises; cancellation as there.
        """
        body = message if type(message) is bytes else encode_payload(message)
        if reply_to is None:
            if not self._send_now(subject, body, headers, False):
                await self._send_slowly(subject, body, headers, False)
            return
        reply = self._namespace.qualify_reply(reply_to)
        await self._send_raw(self._namespace.qualify(subject), body, reply, headers)

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
            timeout: seconds; None or math.inf: for ever.

        Raises:
            NoRespondersError: nobody is subscribed to the subject.
            OperationTimeoutError: no reply came in time.
            ConnectionLostError: the connection broke before the reply.
            PermissionsViolationError, SubscriptionRefusedError: the server refuses the request, or
                the subscription for its reply.

        It also raises what `push` raises.

        Cancelled, it forgets the request; a late reply is counted in `stats().unrouted`.
        """
        deadline = self._deadline(timeout)
        body = message if type(message) is bytes else encode_payload(message)
        client, output = self._client, self._output
        on_credit = output.credit > 0 and self._thread() == self._home_thread
        if not on_credit and (
            self._caller() is not self._owner or output.credit < 0 or client.congested
        ):
            await self._breathe()
        route = self._routes[subject]
        try:
            op = client.request(route.subject, body, headers)
        except BaseException:
            self._kick()  # the reply inbox may have been subscribed to
            raise
        if not output.credit:
            output.grant()
        transport = self._transport
        assert transport is not None, "the client is open"
        transport.kick_now()
        try:
            held = await transport.wait(op, deadline)
        except TimeoutError:
            client.abandon(op)
            raise OperationTimeoutError(
                f"no reply to the request on {subject!r} within {timeout:g} s"
            ) from None
        except BaseException:
            client.abandon(op)
            raise
        return Message(held, self._origin)

    async def respond(
        self, message: Message, reply: Payload, headers: HeadersLike | None = None
    ) -> None:
        """Answer a message that came with a `reply_to`.

        Any publisher can ask for a reply on a subject that can't be published to, such as `a.*`.
        Then nothing is sent and nothing is raised, since the caller made no mistake:
        `message.reply_error` tells why, `stats().unanswerable` counts it, and the first one is
        reported as UnanswerableRequest.

        Raises:
            UsageError: it asks for no reply.

        It also raises what `push` raises for the reply.
        """
        if not isinstance(message, Message):
            raise TypeError(f"respond takes a Message, not {type(message).__name__}")
        to = message.raw_reply
        if to is None:
            raise UsageError(f"the message on {message.subject!r} asks for no reply")
        body = reply if type(reply) is bytes else encode_payload(reply)
        try:
            output = self._output
            if output.credit <= 0 or self._thread() != self._home_thread:
                if (
                    self._caller() is not self._owner
                    or output.credit < 0
                    or self._calls_left <= 0
                    or self._client.congested
                ):
                    await self._breathe()
                self._calls_left -= 1
            if self._client.publish_raw(to, body, headers):
                self._kick()
                output.grant()
        except InvalidSubjectError as error:
            self._unanswerable += 1
            if self._unanswerable == 1:
                self._client.add_notice(UnanswerableRequest(message.subject, error))
                self._kick()

    async def flush(self, timeout: float | None = 10.0) -> None:
        """Wait until the server has processed everything that was sent before.

        While disconnected it waits for the next connection.

        Raises:
            OperationTimeoutError: not in time.
            ConnectionLostError: the connection broke first; what was sent before may be lost.
            NotConnectedError, ConnectionClosedError: connect first.
        """
        self._check()
        deadline = self._deadline(timeout)
        op = self._client.flush()
        if self._transport is not None:
            self._transport.kick_now()
        await self._within(op, deadline, timeout, "not flushed")

    async def drain(self, timeout: float | None = 30.0) -> None:
        """Take in what is under way, send everything, disconnect.

        Ends every subscription; messages that the server had already sent come in first. What is
        in the local queue can still be popped.

        Raises:
            OperationTimeoutError, ConnectionLostError: closed all the same; something may be lost.
            NotConnectedError, ConnectionClosedError: there is no connection to drain.

        Cancelled, it closes at once.
        """
        self._check()
        deadline = self._deadline(timeout)
        client = self._client
        op = client.drain()
        self._left = client.closed
        self._kick()
        try:
            await self._within(op, deadline, timeout, "not drained")
        finally:
            client.close()
            self._kick()
            await self._stopped()

    # ------------------------------------------------------------------ receiving

    async def pop(self, timeout: float | None = None) -> Message | None:
        """Take the oldest message of the local queue.

        Args:
            timeout: seconds to wait when it is empty; None: not at all; math.inf: for ever.

        Returns:
            The message, or None when there is none: in time, or since the queue is closed.

        Raises:
            NotConnectedError: it was to wait, and `connect` was not called, or failed.
            ConnectionClosedError: it was to wait, and reconnecting was given up. After
                `disconnect` it gives None instead.
            QueueFullError: messages were dropped since the last call, and `overflow` is "error".
            UsageError: called from another thread, event loop or process than `connect`.

        Cancelled or timed out, it loses no message and changes no order. (A KeyboardInterrupt, or
        what another signal handler raises, in the moment between taking a message and returning it
        loses that one.)
        """
        if timeout is not None and (type(timeout) is not float or not timeout >= 0.0):
            _seconds(timeout)
        message = self._pop_now()
        if message is None and (messages := await self._take(1, timeout)):
            message = messages[0]
        return message

    def _pop_now(self) -> Message | None:
        """The oldest message, where nothing has to be waited for, told or refused first."""
        if (
            self._times
            and self._calls_left > 0
            and not self._inbox.unraised
            and self._caller() is self._owner
        ):
            # `Inbox.take`, unfolded: this is the hot path.
            try:
                held = self._oldest()
            except IndexError:  # another thread, or a signal handler, was quicker
                return None
            self._calls_left -= 1
            if self._inbox.bounded:
                self._inbox.account_for(len(held[1]))
            return Message(held, self._origin)
        return None

    async def pop_many(self, max_messages: int, timeout: float | None = None) -> list[Message]:
        """Wait for the first message, as `pop`, and take what is there, `max_messages` at most.

        Returns:
            The messages, oldest first; an empty list where `pop` gives None.

        Raises and cancellation: as `pop`. What it has taken when it is interrupted is put back.
        """
        _check_most(max_messages, timeout)
        held: list[Held] = []
        try:
            return await self._pop_many(max_messages, timeout, held)
        except BaseException:
            self._put_back(held)
            raise

    async def _pop_many(self, most: int, timeout: float | None, held: list[Held]) -> list[Message]:
        """`pop_many` of what was checked. `held`: as for `_take_now`."""
        if (
            self._times
            and self._calls_left > 0
            and not self._inbox.unraised
            and self._caller() is self._owner
            and (messages := self._take_now(most, held))
        ):
            return messages
        return await self._take(most, timeout, held)

    def __aiter__(self) -> AsyncIterator[Message]:
        """Messages as they come, until the queue is disconnected and empty.

        Raises what `pop` raises with a timeout of math.inf.
        """
        return _Messages(self)

    async def _take(
        self, most: int, timeout: float | None, held: list[Held] | None = None
    ) -> list[Message]:
        """Take a checkpoint, if it is time for one; then `most` messages, or wait for the first.

        `held`: as for `_take_now`.
        """
        held = [] if held is None else held
        self._check()
        deadline = self._deadline(timeout) if timeout is not None else 0.0
        waits = timeout is not None and timeout > 0
        transport, inbox = self._transport, self._inbox
        if transport is None:
            self._raise_drops()
            if waits and not inbox.bodies:
                if not self._client.closed.done:
                    raise NotConnectedError(
                        "can't wait for messages: the queue was never connected; "
                        "call connect() first"
                    )
                self._raise_end(self._client.closed)
            return self._take_now(most, held)
        if not (inbox.bodies and self._turn_goes_on()):
            await self._checkpoint(transport)
            self._set_clock(transport)
        # Not before: what is dropped at the checkpoint wakes nobody who waits after it.
        self._raise_drops()
        again = False
        # Another caller may connect again before this one looks.
        closed = self._client.closed
        while not (messages := self._take_now(most, held)) and waits:
            if closed.done:
                self._raise_end(closed)
                break
            op = inbox.waiter(again=again)
            try:
                await transport.wait(op, deadline)
                self._raise_drops()
            except TimeoutError:
                inbox.abandon(op)
                waits = False
            except BaseException:
                inbox.abandon(op)
                raise
            again = True
            self._set_clock(transport)
        return messages

    def _take_now(self, most: int, held: list[Held]) -> list[Message]:
        """`most` messages of those that are there. Each counts as a call.

        They are added to `held` as well, which is empty before, so that a caller that is
        interrupted can put them back.
        """
        origin = self._origin
        try:
            with self._pop_lock, suppress(IndexError):
                held.extend(islice(self._inbox.oldest, min(most, len(self._times))))
        finally:
            if self._inbox.bounded:
                self._inbox.account_for(sum(len(one[1]) for one in held))
        self._calls_left -= len(held)
        return [Message(one, origin) for one in held]

    def _put_back(self, held: list[Held]) -> None:
        """The caller that took these was interrupted: make them the oldest again."""
        with self._pop_lock:
            self._inbox.put_back(held)
            held.clear()

    def _raise_end(self, closed: Op[Exception | None]) -> None:
        """Raise why no message can come any more, unless the user has closed the queue."""
        error = closed.result()
        if error is None or closed is self._left:
            return
        if self._connected:
            raise ConnectionClosedError(
                f"can't wait for messages: the connection was given up ({error}); "
                "call connect() again"
            ) from error
        raise NotConnectedError(
            f"can't wait for messages: connect() failed ({error}); call it again"
        ) from error

    def _raise_drops(self) -> None:
        """Raise what `overflow="error"` asks for, once for all that was dropped since."""
        dropped, self._inbox.unraised = self._inbox.unraised, 0
        if dropped:
            raise QueueFullError(
                f"the local queue was full: {dropped} messages were received and dropped", dropped
            )

    async def subscribe_and_queue(self, subject: str, queue_group: str = "") -> int:
        """Have what is published to `subject` put into this queue.

        Returns when the server has confirmed it: what anyone pushes from then on comes. While
        disconnected it waits for the next connection. It outlives a lost connection; it ends with
        `disconnect()` and when reconnecting is given up: subscribe again after `connect()`.

        Args:
            subject: in this queue's namespace; `*` stands for one token, `>` for the rest.
            queue_group: one member of the group gets each message; empty: every subscriber.

        Returns:
            The sid, for `unsubscribe`.

        Raises:
            TypeError, InvalidSubjectError: nothing was sent.
            PermissionsViolationError, SubscriptionRefusedError: the server refuses it;
                SubscriptionLimitError: there are as many as it allows.
            NotConnectedError, ConnectionClosedError: connect first.

        Cancelled, it takes the subscription back.
        """
        self._check()
        full = self._namespace.qualify(subject, wildcards=True)
        group = None if queue_group == "" else queue_group
        sub = self._client.subscribe(full, group, self._inbox.deliver)
        self._subscriptions[sub.sid] = sub
        self._routes.clear()
        sub.ended.on_done(_while_it_lives(self._forget_ended))
        self._kick()
        try:
            await self._wait(sub.confirmed)
        except BaseException:
            self._client.unsubscribe(sub)
            self._routes.clear()
            self._kick()
            raise
        return sub.sid

    async def unsubscribe(self, sid: int | None = None) -> None:
        """End one subscription, or all. Messages already queued stay.

        Returns when no more can come; while disconnected at once.

        Raises:
            UsageError: there is no subscription `sid`.

        Cancelled, it ends them all the same.
        """
        self._check()
        if sid is None:
            ending = list(self._subscriptions.values())
        elif sid in self._subscriptions:
            ending = [self._subscriptions[sid]]
        else:
            raise UsageError(
                f"there is no subscription {sid!r}; there are {sorted(self._subscriptions)}"
            )
        for sub in ending:
            self._client.unsubscribe(sub)
        self._routes.clear()
        if self._client.is_connected:
            self._kick()
            for sub in ending:
                await self._wait(sub.ended)

    # ------------------------------------------------------------------ the local queue

    def queue_size(self) -> int:
        """Messages in the local queue."""
        return len(self._inbox)

    def clear_queue(self) -> None:
        """Remove every message from the local queue."""
        self._check()
        with self._pop_lock:
            self._inbox.clear()

    def get_namespace(self) -> str | None:
        """The namespace; None where subjects have no prefix."""
        return self._namespace.name

    def stats(self) -> Stats:
        """What went through this queue so far. `stats()._asdict()` is a dict.

        Raises:
            UsageError: called from another thread than `connect`.
        """
        if self._caller is not _anyone and self._thread() != self._home_thread:
            # To count is to settle what came on credit: not while the other thread pushes.
            self._check()
        client, inbox = self._client, self._inbox
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

    # ------------------------------------------------------------------ inside

    def _check(self) -> None:
        """Refuse a caller from another thread, event loop or process."""
        if self._transport is not None and self._caller is not _anyone:
            self._transport.check()

    def _kick(self) -> None:
        if self._transport is not None:
            self._transport.kick()

    def _set_clock(self, transport: Transport) -> None:
        """How far wall time is from the transport's clock.

        Kept while it is right to a millisecond: a message's time is its own, and never before that
        of the message in front of it. The clock is looked at wherever a call may have waited.
        """
        offset = time.time() - transport.now()
        if abs(offset - self._origin.wall_offset) > 0.001:
            self._origin = Origin(self._namespace, offset)

    def _deadline(self, timeout: float | None) -> float | None:
        """A timeout of the public edge as a time on the transport's clock."""
        if timeout is None or (seconds := _seconds(timeout)) == math.inf:
            return None
        return seconds + self._now()

    async def _wait(self, op: Op[T], deadline: float | None = None) -> T:
        assert self._transport is not None, "an op comes from a client that was opened"
        try:
            return await self._transport.wait(op, deadline)
        except BaseException:
            self._client.abandon(op)
            raise

    async def _within(
        self, op: Op[T], deadline: float | None, timeout: float | None, failure: str
    ) -> T:
        """The result of `op`, or an error that begins with `failure`.

        The deadline is `timeout` from when the call began: it was made before anything was sent,
        so that a timeout that makes no sense does nothing.
        """
        try:
            return await self._wait(op, deadline)
        except TimeoutError:
            raise OperationTimeoutError(f"{failure} within {timeout:g} s") from None

    async def _linger(self, flushed: Op[None], transport: Transport) -> None:
        """Wait for `flushed` while what was pushed is on its way.

        Raises:
            TimeoutError: it takes too long; or the peer has stopped reading; or it does not answer
                for two slices after the operating system has taken everything, which goes on
                sending it after the end.
        """
        end = transport.now() + _LINGER
        unsent, slices = transport.unsent(), 0
        try:
            while True:
                try:
                    return await transport.wait(flushed, min(end, transport.now() + _STALLED))
                except TimeoutError:
                    before, unsent = unsent, transport.unsent()
                    slices = slices + 1 if unsent >= before else 0
                    all_taken = not unsent and not self._client.output.size
                    patience = 2 if all_taken else 1 if unsent else math.inf
                    if transport.now() >= end or slices >= patience:
                        raise
        finally:
            # Not before: one that waits for the next server would never be done.
            self._client.abandon(flushed)

    async def _stopped(self) -> None:
        """Wait for the transport to have let go of everything, within a bound."""
        client, transport = self._client, self._transport
        if transport is None or transport.caller() is not self._home:
            return  # never started, or its event loop has ended
        if not client.stopped.done:
            with transport.shield(_STOP), suppress(TimeoutError):
                await transport.wait(client.stopped, transport.now() + _STOP)

    async def _checkpoint(self, transport: Transport) -> None:
        """Let others run; from here on a new turn is counted.

        A closed queue may be used anywhere: then its framework is not here.
        """
        if self._oldest_kept is not None:
            self._look_for_unpopped()
        if transport.caller() is self._home:
            await transport.checkpoint()
        self._calls_left = _CALLS_PER_CHECKPOINT
        self._rounds_left = _ROUNDS
        self._turn_began = self._now()

    def _look_for_unpopped(self) -> None:
        """Tell the owner, once, of many messages that are pushed and kept while none is taken."""
        inbox = self._inbox
        try:
            oldest, head = inbox.times[0], inbox.heads[0]
        except IndexError:
            oldest, head = -math.inf, None
        if self._oldest_kept == -math.inf:
            self._oldest_kept = oldest
        elif oldest is not self._oldest_kept:
            self._oldest_kept = None  # one was taken
        elif len(inbox.times) >= _UNPOPPED and head and not head.sid:  # it never was on the wire
            self._oldest_kept = None
            self._client.add_notice(UnpoppedMessages(len(inbox.times)))
            self._kick()

    def _turn_goes_on(self) -> bool:
        """Whether others can wait a little longer for their turn."""
        self._rounds_left -= 1
        if self._rounds_left > 0 and self._now() - self._turn_began < _TURN:
            self._calls_left = _CALLS_PER_CHECKPOINT
            return True
        return False

    async def _breathe(self) -> None:
        """Let others run and output be written; wait while the socket is slow.

        Refuses a caller from another thread, event loop or process.
        """
        self._check()
        transport, client = self._transport, self._client
        if transport is None:
            return
        await self._checkpoint(transport)
        while client.congested:
            self._kick()
            await self._wait(client.writable())

    async def _find_room(self, size: int) -> None:
        """The local queue is bounded, and is to keep a message: wait for room, or refuse it."""
        inbox, transport = self._inbox, self._transport
        if inbox.overflow is Overflow.ERROR and not inbox.has_room(size):
            raise QueueFullError("the local queue is full: this message was not pushed")
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

    def _on_closed(self) -> None:
        # What is left in the local queue may be popped anywhere.
        self._caller, self._owner = _anyone, None
        self._relay.callback = self._setup.on_event
        self._inbox.wake_all()

    def _send_now(self, subject: str, body: bytes, headers: HeadersLike | None, keep: bool) -> bool:
        """Send, and keep here what the server won't bring back if `keep`, where nothing waits.

        Returns:
            False when something has to be waited for, or refused: then nothing was done.
        """
        output = self._output
        if output.credit > 0 and self._thread() == self._home_thread:
            if headers is None:
                # `Publisher.publish` on credit, unfolded: this is the hot path.
                lines = self._push_lines if keep else self._publish_lines
                size = len(body)
                try:
                    line = lines[subject].get(size)
                except (KeyError, TypeError):
                    line = None
                if line is not None and size <= output.max_payload:
                    output.frames += (line, body, CRLF)
                    output.credit -= size + COST
                    return True
        elif (
            self._caller() is not self._owner
            or output.credit < 0
            or self._calls_left <= 0
            or self._client.congested
        ):
            return False
        else:
            # The first of a turn of the loop, or nothing is sent by turns.
            self._calls_left -= 1
        route = self._routes[subject]
        local = route.local if keep else None
        if local is not None and self._inbox.bounded:
            return False
        if headers is None:
            first = route.publisher.publish(body)
        else:
            first = self._client.publish(route.subject, body, None, headers)
        if first:
            self._kick()
            output.grant()
        if local is not None:
            self._keep(local, body, headers)
        return True

    async def _send_slowly(
        self, subject: str, body: bytes, headers: HeadersLike | None, keep: bool
    ) -> None:
        """What `_send_now` does, with whatever has to be waited for."""
        await self._breathe()
        route = self._routes[subject]
        if keep and route.local is not None and self._inbox.bounded:
            await self._find_room(len(body) + (len(encode_headers(headers)) if headers else 0))
            # Meanwhile there may be a subscription that brings it back.
            route = self._routes[subject]
        if self._client.publish(route.subject, body, None, headers):
            self._kick()
            self._output.grant()
        if keep and route.local is not None:
            self._keep(route.local, body, headers)

    async def _send_raw(
        self, subject: str, body: bytes, reply: str | None, headers: HeadersLike | None
    ) -> None:
        """Send to a subject as the server knows it."""
        if self._caller() is not self._owner or self._calls_left <= 0 or self._client.congested:
            await self._breathe()
        self._calls_left -= 1
        if self._client.publish(subject, body, reply, headers):
            self._kick()

    async def _send_batches(self, subject: str, messages: Sequence[Payload]) -> int:
        """`push_many` of what is there in full: encoded and appended a batch at a time."""
        start = 0
        while start < len(messages):
            batch = messages[start : start + _batch_size(messages[start])]
            start += len(batch)
            if self._output.credit <= 0 or self._thread() != self._home_thread:
                await self._breathe()
            route = self._routes[subject]
            bodies = _encoded(batch)
            if (
                bodies is None
                or (route.local is not None and self._inbox.bounded)
                or not self._output.accepts(bodies)
            ):
                # One of them will be refused, or has to wait: those before it come first.
                for message in batch:
                    await self.push(subject, message)
                continue
            if route.publisher.publish_many(bodies):
                self._kick()
                self._output.grant()
            if route.local is not None:
                self._inbox.put_many(route.local, bodies, self._now())
        return len(messages)

    def _keep(self, head: Head, body: bytes, headers: HeadersLike | None) -> None:
        """Put a pushed message into the local queue: the server will not bring it back."""
        if headers is not None:
            block = encode_headers(headers)
            body = block + body
            head = Head(head.subject, b"", None, len(block), len(body))
        self._inbox.put(head, body, self._now())
        if self._inbox.bounded:
            self._client.report_drops(self._now())
            self._kick()

    def _forget_ended(self) -> None:
        """Forget the subscriptions that have ended."""
        for sid in [sid for sid, sub in self._subscriptions.items() if sub.ended.done]:
            del self._subscriptions[sid]
        self._routes.clear()


class _Setup:
    """What a queue was given for its connections: where transports come from, how long to try,
    and what to call with each event."""

    __slots__ = ("_given", "_used", "on_event", "wait_for_server")

    def __init__(
        self,
        given: Transport | Callable[[], Transport] | None,
        wait_for_server: float,
        on_event: OnEvent | None,
    ) -> None:
        self._given = given
        self._used = False
        self.wait_for_server = wait_for_server
        self.on_event = on_event

    def new_transport(self) -> Transport:
        """A transport that was not used before.

        Raises:
            UsageError: no event loop is running, or the one that was given is used up.
        """
        if self._given is None:
            return running_transport()
        if callable(self._given):
            return self._given()
        if self._used:
            raise UsageError(
                "this transport was used for an earlier connection: to connect more than once, "
                "give a callable that makes a new one, such as transport=TrioTransport"
            )
        self._used = True
        return self._given


class _OnEvent:
    """Calls the `on_event` of a queue for its driver, without keeping the queue alive.

    The callable may well refer to the queue. When the connection has ended the queue may be gone
    before the last notices are handed out: for these `callback` is set.
    """

    __slots__ = ("_queue", "callback")

    def __init__(self, queue: NASQueue) -> None:
        self._queue = weakref.ref(queue)
        self.callback: OnEvent | None = None

    def __call__(self, notice: Notice) -> None:
        callback = self.callback
        if callback is None:
            queue = self._queue()
            callback = queue._setup.on_event if queue is not None else None
        if callback is not None:
            callback(notice)


def _while_it_lives(method: Callable[[], None]) -> Callable[[], None]:
    """A callable that calls the method while its object lives, and does not keep it alive."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        alive = reference()
        if alive is not None:
            alive()

    return call


def _batch_size(message: Payload) -> int:
    """How many messages of that kind are sent at once."""
    size = len(message) if isinstance(message, (bytes, str)) else 0
    return max(1, CREDIT // (COST + size))


def _encoded(messages: Sequence[Payload]) -> list[bytes] | None:
    """Their bodies; None when one can't be encoded."""
    if set(map(type, messages)) == {bytes}:
        return list(cast("Sequence[bytes]", messages))
    try:
        return [m if type(m) is bytes else encode_payload(m) for m in messages]
    except (TypeError, ValueError):
        return None


def _anyone() -> None:
    """The caller while there is no connection: nothing belongs to a thread or a loop."""


def _check_most(max_messages: int, timeout: float | None) -> None:
    """Refuse arguments of `pop_many` that make no sense."""
    if type(max_messages) is not int or max_messages < 1:
        raise InvalidOptionError(
            f"max_messages must be a number of at least 1, not {max_messages!r}"
        )
    if timeout is not None:
        _seconds(timeout)


def _checked(on_event: OnEvent | None) -> OnEvent | None:
    """Refuse an `on_event` that can't be called, or whose call would never run."""
    if on_event is None:
        return None
    if not callable(on_event):
        raise TypeError(f"on_event must be callable, not {type(on_event).__name__}")
    from inspect import iscoroutinefunction  # importing it takes a while

    if iscoroutinefunction(on_event) or iscoroutinefunction(type(on_event).__call__):
        raise TypeError(
            "on_event must be a plain function: it is called, and nobody would await it; "
            "have it put what it is given into a queue that a task of yours reads"
        )
    return on_event


def _seconds(timeout: float, what: str = "a timeout") -> float:
    """Refuse a timeout that makes no sense."""
    try:
        if isinstance(timeout, bool):
            raise TypeError
        valid = timeout >= 0.0
        seconds = float(timeout)
    except TypeError:
        raise TypeError(f"{what} must be a number of seconds, not {timeout!r}") from None
    if not valid:
        raise InvalidOptionError(f"{what} must be a number of seconds, not {timeout!r}")
    return seconds


def _overflow(name: str) -> Overflow:
    try:
        return Overflow(name)
    except ValueError:
        known = ", ".join(repr(policy.value) for policy in Overflow)
        raise InvalidOptionError(f"overflow must be one of {known}, not {name!r}") from None


def _authenticator(credentials: Source | None, nkey_seed: Source | None) -> Authenticator | None:
    if credentials is not None and nkey_seed is not None:
        raise InvalidOptionError("give credentials or nkey_seed, not both")
    if credentials is not None:
        return credentials_authenticator(credentials)
    return None if nkey_seed is None else nkey_authenticator(nkey_seed)


def _servers(host: str, port: int, urls: Iterable[str] | None) -> list[Server]:
    if urls is not None:
        if isinstance(urls, str):
            raise TypeError("servers must be a list of URLs, not one str")
        if (host, port) != ("localhost", DEFAULT_PORT):
            raise InvalidOptionError(
                "give host and port or servers, not both: put this server into the list"
            )
        servers = [parse_server(url) for url in urls]
        if not servers:
            raise InvalidOptionError("servers is empty: name at least one URL")
        return servers
    return [server_at(host, port)]
