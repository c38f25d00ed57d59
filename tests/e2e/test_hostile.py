"""Whatever a server sends, the queue reports typed errors, uses bounded memory and reconnects."""

from __future__ import annotations

import json
import logging
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import pytest

from nasq import (
    AuthenticationTimeoutError,
    AuthorizationError,
    BufferFullError,
    ConnectionClosedError,
    ConnectionLimitError,
    ConnectionLostError,
    Disconnected,
    NASQError,
    NASQueue,
    OperationTimeoutError,
    PermissionsViolationError,
    Reconnected,
    ReconnectPolicy,
    RemoteProtocolError,
    ServerError,
    ServerErrorReceived,
    StaleConnectionError,
    SubscriptionLimitError,
    SubscriptionRefusedError,
    TLSError,
    TLSRequiredError,
)
from nasq_proto import Notice
from nasq_proto.pool import MOST_ANNOUNCED
from nasq_transports.base import BaseTransport
from tests.conftest import Kit
from tests.e2e.hostile import INFO, HostileServer, Script, ServerConnection
from tests.e2e.tools import LONG, client_of, unsent_bytes

# The promise is 2 s; a loaded machine with two cores gets twice that.
RECOVERY_WITHIN = 4.0
# The limit for each case, including the test's own memory: a few chunks that were read, a control
# line, the events of a chunk, and PONGs that the peer does not read.
MEMORY = 8 * 1024 * 1024
CONNECT_TIMEOUT = 0.25
# The client notices a protocol violation immediately; the rest of the time is for slow machines.
AT_ONCE = 5.0
# Thousands of PINGs from a server that does not read the PONGs.
FLOOD = 4000 if LONG else 300


@pytest.fixture
def hostile(kit: Kit) -> Iterator[HostileServer]:
    with HostileServer(kit.server.port) as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_is_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio logs exceptions of callbacks, where they would go unnoticed."""
    yield
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not errors, [record.getMessage() for record in errors]


@contextmanager
def memory_bounded(bound: int = MEMORY) -> Iterator[None]:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < bound, f"{peak - before} bytes"


class Watch:
    """Collects the events that were reported to `on_event`."""

    def __init__(self) -> None:
        self.events: list[Notice] = []

    def __call__(self, event: Notice) -> None:
        self.events.append(event)

    @property
    def errors(self) -> list[Exception]:
        return [e.error for e in self.events if isinstance(e, Disconnected)]

    @property
    def reconnected(self) -> int:
        return sum(isinstance(e, Reconnected) for e in self.events)


def make(kit: Kit, hostile: HostileServer, watch: Watch, **options: object) -> NASQueue:
    return kit.queue(
        host="127.0.0.1",
        port=hostile.port,
        on_event=watch,
        **{"connect_timeout": CONNECT_TIMEOUT, **options},
    )


async def check_recovery(kit: Kit, hostile: HostileServer, queue: NASQueue) -> None:
    hostile.good()
    start = time.monotonic()
    await kit.until(queue.is_connected, seconds=RECOVERY_WITHIN)
    await queue.subscribe_and_queue("works")
    await queue.push("works", "again")
    message = await queue.pop(timeout=RECOVERY_WITHIN)
    assert message is not None
    assert message.text == "again"
    took = time.monotonic() - start
    print(f"{kit.backend}: recovered after {took * 1000:.0f} ms")
    assert took < RECOVERY_WITHIN


# ------------------------------------------------------------------------------ handshake


class Case(NamedTuple):
    """A script, and the errors that it may lead to."""

    script: Script
    errors: tuple[type[Exception], ...] = (RemoteProtocolError,)


def send(data: bytes, *errors: type[Exception]) -> Case:
    """Send `data`, then wait for the client to close the connection."""

    def script(connection: ServerConnection) -> None:
        connection.send(data)
        connection.await_hang_up()

    return Case(script, errors or (RemoteProtocolError,))


def info(fields: str) -> bytes:
    return b"INFO " + fields.encode("utf-8", "surrogateescape") + b"\r\n"


def endless(data: bytes) -> Callable[[ServerConnection], None]:
    def script(connection: ServerConnection) -> None:
        chunk = data * (65536 // len(data))
        while connection.sent < 64 * 1024 * 1024:
            connection.send(chunk)
        raise AssertionError("the client read 64 MiB of it")

    return script


def half_close(data: bytes) -> Callable[[ServerConnection], None]:
    def script(connection: ServerConnection) -> None:
        connection.send(data)
        connection.half_close()
        connection.await_hang_up()

    return script


def close_after(data: bytes) -> Callable[[ServerConnection], None]:
    def script(connection: ServerConnection) -> None:
        connection.send(data)

    return script


def drip(connection: ServerConnection) -> None:
    """Send one byte at a time, each before a timeout for the previous one could expire."""
    connection.sock.settimeout(0.02)
    for byte in INFO[:-2] + b" " * 10_000:
        connection.send(bytes([byte]))
        try:
            connection.read_until(b"never")
        except TimeoutError:
            continue
    raise AssertionError("the client did not give up")


def after_connect(data: bytes) -> Callable[[ServerConnection], None]:
    def script(connection: ServerConnection) -> None:
        connection.send(INFO)
        connection.read_until(b"PING\r\n")
        connection.send(data)
        connection.await_hang_up()

    return script


def ping_flood(connection: ServerConnection) -> None:
    """Send 100,000 PINGs instead of the PONG, and read nothing."""
    connection.send(INFO)
    connection.read_until(b"PING\r\n")
    for _ in range(100):
        connection.send(b"PING\r\n" * 1000)
    connection.await_hang_up()


NESTED = "[" * 100_000 + "]" * 100_000
TIMEOUT = (OperationTimeoutError,)
LOST = (ConnectionLostError,)

HANDSHAKE: dict[str, Case] = {
    "endless line": Case(endless(b"A")),
    "endless INFO": Case(endless(b"INFO {")),
    "INFO that is not JSON": send(b"INFO {nonsense\r\n"),
    "empty INFO": send(b"INFO \r\n"),
    "INFO that is a list": send(info("[]")),
    "INFO that is a number of many digits": send(info("9" * 200_000)),
    "INFO with a max_payload with many digits": send(info('{"max_payload":' + "9" * 200_000 + "}")),
    "INFO with an infinite max_payload": send(info('{"max_payload":1e999}')),
    "INFO with a string as max_payload": send(info('{"max_payload":"1"}')),
    "INFO with null as max_payload": send(info('{"max_payload":null}')),
    "INFO with a string as headers": send(info('{"headers":"yes"}')),
    "INFO with numbers as connect_urls": send(info('{"connect_urls":[1,2]}')),
    "INFO with a string as connect_urls": send(info('{"connect_urls":"a:1"}')),
    "deeply nested INFO": send(info(f'{{"a":{NESTED}}}')),
    "INFO that is not UTF-8": send(b'INFO {"server_id":"\xff\xfe"}\r\n'),
    "MSG of 10^12 bytes": send(INFO + b"MSG a 1 1000000000000\r\n"),
    "MSG before INFO": send(b"MSG a 1 5\r\nhello\r\n"),
    "PONG before INFO": send(b"PONG\r\n"),
    "garbage": send(bytes(range(128, 256)) * 100 + b"\r\n"),
    "zeros": send(b"\0" * 1000 + b"\n"),
    "HTTP": Case(close_after(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")),
    "a TLS alert": Case(close_after(b"\x15\x03\x03\x00\x02\x02\x28"), LOST),
    "a TLS record": send(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03", *TIMEOUT),
    "silence": send(b"", *TIMEOUT),
    "silence within INFO": send(INFO[:20], *TIMEOUT),
    "silence after INFO": send(INFO, *TIMEOUT),
    "silence after CONNECT": Case(after_connect(b""), TIMEOUT),
    "silence within PONG": Case(after_connect(b"+OK\r\nPON"), TIMEOUT),
    "silence instead of the TLS handshake": send(info('{"tls_required":true}'), *TIMEOUT),
    "garbage instead of the TLS handshake": send(
        info('{"tls_required":true}') + b"\x15\x03", RemoteProtocolError, TLSError
    ),
    "one byte at a time": Case(drip, TIMEOUT),
    "PING flood": Case(ping_flood, TIMEOUT),
    "INFO forever": Case(endless(INFO), TIMEOUT),
    "+OK forever": Case(endless(b"INFO {}\r\n" + b"+OK\r\n" * 5000), TIMEOUT),
    "half-close": Case(half_close(b""), LOST),
    "half-close after INFO": Case(half_close(INFO), LOST),
    "close": Case(close_after(b""), LOST),
    "close within INFO": Case(close_after(INFO[:20]), LOST),
    "close after INFO": Case(close_after(INFO), (*LOST, ConnectionError)),
}


@pytest.mark.parametrize("name", HANDSHAKE)
async def test_misbehaviour_during_the_handshake_leads_to_a_typed_error(
    kit: Kit, hostile: HostileServer, name: str
) -> None:
    case = HANDSHAKE[name]
    watch = Watch()
    # Retry soon. Other tests check how fast a queue reconnects with the default policy.
    policy = ReconnectPolicy(delay=0.02, max_delay=0.1)
    queue = make(kit, hostile, watch, reconnect=policy)
    hostile.hostile(case.script)
    with memory_bounded():
        # The first connection fails and connect() returns False. No script ends on its own, so
        # it is the client that gives up.
        assert await queue.connect() is False
        assert isinstance(queue.last_error, NASQError), repr(queue.last_error)
        assert isinstance(queue.last_error, (*case.errors, ConnectionError)), queue.last_error
        assert not queue.is_connected()
        with pytest.raises(NASQError):
            await queue.push("a", "x")
    # A later connection fails and the client keeps trying.
    hostile.good()
    while not await queue.connect():  # a busy machine may need more than CONNECT_TIMEOUT
        assert isinstance(queue.last_error, OperationTimeoutError)
    hostile.hostile(case.script)
    await kit.until(lambda: watch.errors)
    await kit.until(lambda: len(hostile.connections) >= 2)
    assert not queue.is_connected()
    assert watch.reconnected == 0
    assert isinstance(queue.last_error, (*case.errors, ConnectionError)), repr(queue.last_error)
    await check_recovery(kit, hostile, queue)
    await queue.disconnect()


# ------------------------------------------------------------------------------ after the handshake


def handshake_then_send(data: bytes) -> Script:
    """Perform a good handshake, then send `data`."""

    def script(connection: ServerConnection) -> None:
        connection.handshake()
        connection.send(data)
        connection.await_hang_up()

    return script


def handshake_then_half_close(data: bytes) -> Script:
    def script(connection: ServerConnection) -> None:
        connection.handshake()
        half_close(data)(connection)

    return script


def handshake_then_endless(data: bytes) -> Script:
    def script(connection: ServerConnection) -> None:
        connection.handshake()
        endless(data)(connection)

    return script


AFTER_HANDSHAKE: dict[str, Case] = {
    "endless line": Case(handshake_then_endless(b"A")),
    "endless MSG line": Case(handshake_then_endless(b"MSG ")),
    "MSG of 10^12 bytes": Case(handshake_then_send(b"MSG a 1 1000000000000\r\n")),
    "MSG of 10^9-1 bytes": Case(handshake_then_endless(b"MSG a 1 999999999\r\n")),
    "MSG of -1 bytes": Case(handshake_then_send(b"MSG a 1 -1\r\n")),
    "MSG of 1e3 bytes": Case(handshake_then_send(b"MSG a 1 1e3\r\n")),
    "MSG with too many arguments": Case(handshake_then_send(b"MSG a 1 b c 1\r\nx\r\n")),
    "MSG longer than its size": Case(handshake_then_send(b"MSG a 1 1\r\nxyz\r\n")),
    "header longer than total": Case(
        handshake_then_send(b"HMSG a 1 20 10\r\n" + b"x" * 20 + b"\r\n")
    ),
    "header of 10^12 bytes": Case(handshake_then_send(b"HMSG a 1 1000000000000 1000000000001\r\n")),
    "INFO that is not JSON": Case(handshake_then_send(b"INFO {nonsense\r\n")),
    "INFO with wrong types": Case(handshake_then_send(info('{"max_payload":[]}'))),
    "deeply nested INFO": Case(handshake_then_send(info(f'{{"a":{NESTED}}}'))),
    "INFO with a number of many digits": Case(
        handshake_then_send(info('{"max_payload":' + "9" * 200_000 + "}"))
    ),
    "garbage": Case(handshake_then_send(bytes(range(128, 256)) * 100 + b"\r\n")),
    "PUB from a server": Case(handshake_then_send(b"PUB a 1\r\nx\r\n")),
    "half-close": Case(handshake_then_half_close(b""), LOST),
    "half-close within a message": Case(handshake_then_half_close(b"MSG a 1 10\r\nhalf"), LOST),
}


@pytest.mark.parametrize("name", AFTER_HANDSHAKE)
async def test_misbehaviour_after_the_handshake_leads_to_a_typed_error(
    kit: Kit, hostile: HostileServer, name: str
) -> None:
    case = AFTER_HANDSHAKE[name]
    watch = Watch()
    queue = make(kit, hostile, watch, connect_timeout=5.0)
    hostile.good()
    assert await queue.connect() is True
    hostile.hostile(case.script)
    await kit.until(lambda: watch.errors)
    with memory_bounded():
        # The client closes each connection first, so it never stays connected without reading.
        await kit.until(lambda: hostile.hung_up_on >= 2)
        await kit.until(lambda: len(watch.errors) >= 3)
    for error in watch.errors[1:]:
        assert isinstance(error, case.errors), repr(error)
    await check_recovery(kit, hostile, queue)
    await queue.disconnect()


async def test_a_half_close_is_noticed_while_the_server_reads_nothing(
    kit: Kit, hostile: HostileServer
) -> None:
    """Unsent output does not make the client believe that the connection is still alive."""
    watch = Watch()
    queue = make(kit, hostile, watch, connect_timeout=5.0)

    def script(connection: ServerConnection) -> None:
        connection.handshake()
        connection.gone.wait(0.5)
        connection.half_close()
        connection.gone.wait(20.0)

    hostile.hostile(script)
    assert await queue.connect() is True

    async def write() -> None:
        # The queue may notice before the event is reported, from another thread, and buffer output.
        with suppress(BufferFullError):
            while not watch.errors:
                await queue.publish("a", "x" * 65536)

    async def notice() -> None:
        await kit.until(lambda: watch.errors)
        assert isinstance(watch.errors[0], ConnectionLostError)

    await kit.gather(write, notice)
    for connection in list(hostile.connections):
        connection.gone.set()
    await check_recovery(kit, hostile, queue)
    await queue.disconnect()


@pytest.mark.parametrize("seed", range(4))
async def test_closing_just_when_the_socket_is_full_is_safe(
    async_kit: Kit, hostile: HostileServer, seed: int
) -> None:
    """On trio, the task for the unsent rest of a write could start after the socket was closed, and
    ended the whole program. trio chooses at random which of two tasks runs first."""
    kit = async_kit

    def script(connection: ServerConnection) -> None:
        connection.handshake()
        connection.gone.wait(20.0)

    hostile.hostile(script)
    queue = make(kit, hostile, Watch(), connect_timeout=5.0)
    assert await queue.connect() is True
    client, transport = client_of(queue), queue._session.transport
    assert isinstance(transport, BaseTransport)
    for _ in range(200):
        client.publish("a", bytes(65536))
    transport._pump()
    client.close()
    transport._pump()
    for connection in list(hostile.connections):
        connection.gone.set()
    await queue.disconnect()
    assert not queue.is_connected()


async def test_every_ping_of_a_flood_is_answered(kit: Kit, hostile: HostileServer) -> None:
    count = 100_000
    watch = Watch()
    queue = make(kit, hostile, watch, connect_timeout=5.0)
    answered = []

    def script(connection: ServerConnection) -> None:
        connection.handshake()
        for _ in range(count // 1000):
            connection.send(b"PING\r\n" * 1000)
            connection.read_until(b"PONG\r\n" * 1000)
            answered.append(connection.received.count(b"PONG\r\n"))
            connection.received = b""
        connection.answer_pings()

    hostile.hostile(script)
    assert await queue.connect() is True
    await kit.until(lambda: sum(answered) >= count, seconds=30.0)
    await queue.flush()
    assert sum(answered) == count
    assert not watch.errors
    await queue.disconnect()


async def test_unread_pongs_do_not_pile_up(kit: Kit, hostile: HostileServer) -> None:
    """Unread PONGs do not pile up: at some point the client closes the connection."""
    watch = Watch()
    queue = make(kit, hostile, watch, connect_timeout=5.0)
    flooded = []

    def script(connection: ServerConnection) -> None:
        connection.handshake()
        try:
            for _ in range(FLOOD):
                connection.send(b"PING\r\n" * 1000)
        finally:
            flooded.append(True)
        connection.answer_pings()

    hostile.hostile(script)
    assert await queue.connect() is True
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, unsent_bytes(queue))
        return bool(flooded)

    await kit.until(done, seconds=60.0)
    # A publisher may buffer this much, in the client and in the transport.
    assert most < 3 * 1024 * 1024
    assert all(isinstance(error, StaleConnectionError) for error in watch.errors)
    await check_recovery(kit, hostile, queue)
    await queue.disconnect()


async def test_a_ping_and_the_pong_in_one_chunk_are_both_handled(
    kit: Kit, hostile: HostileServer
) -> None:
    """Both are answered, and messages pushed meanwhile are sent, without a further trigger."""
    watch = Watch()
    queue = make(kit, hostile, watch, connect_timeout=5.0)
    hostile.good()
    assert await queue.connect() is True
    pushed = threading.Event()
    arrived = threading.Event()

    def script(connection: ServerConnection) -> None:
        pushed.wait(20.0)
        connection.send(INFO)
        connection.read_until(b"PING\r\n")
        connection.send(b"PING\r\nPONG\r\n")
        connection.read_until(b"PONG\r\n")
        connection.read_until(b"meanwhile\r\n")
        arrived.set()
        connection.answer_pings()

    hostile.hostile(script)
    await kit.until(lambda: watch.errors)
    await queue.publish("a", "meanwhile")
    pushed.set()
    await kit.until(arrived.is_set)
    await queue.disconnect()


async def test_a_server_that_sends_single_bytes_is_understood(
    kit: Kit, hostile: HostileServer
) -> None:
    watch = Watch()
    queue = make(kit, hostile, watch, connect_timeout=10.0)
    prefix = kit.namespace.encode()

    def script(connection: ServerConnection) -> None:
        def trickle(data: bytes) -> None:
            for byte in data:
                connection.send(bytes([byte]))

        trickle(INFO)
        connection.read_until(b"PING\r\n")
        trickle(b"PONG\r\n")
        connection.read_until(b"SUB ")
        trickle(b"PONG\r\nPING\r\n" + INFO)
        for n in range(20):
            body = b"x" * n
            trickle(b"MSG %b.a 1 %d\r\n%b\r\n" % (prefix, n, body))
            trickle(b"HMSG %b.a 1 12 %d\r\nNATS/1.0\r\n\r\n%b\r\n" % (prefix, 12 + n, body))
        connection.answer_pings()

    hostile.hostile(script)
    assert await queue.connect() is True
    await queue.subscribe_and_queue("a")
    got: list[str] = []
    while len(got) < 40:
        message = await queue.pop(timeout=10.0)
        assert message is not None
        got.append(message.text)
    assert got == ["x" * (n // 2) for n in range(40)]
    assert not watch.errors
    await queue.disconnect()


@pytest.mark.parametrize(
    "fields",
    [
        {
            "connect_urls": [
                "",
                ":::",
                "a:99999",
                "h\0st:1",
                "with space:1",
                "[::1",
                "ü:4222",
                "@:1",
            ]
        },
        {"connect_urls": None, "max_payload": -1, "nonce": "\ud800", "unknown": {"a": [1, 2]}},
        {"max_payload": 0},
        {"max_payload": 2**62, "proto": -(2**62), "client_id": 10**300},
        {"ldm": True},
    ],
    ids=lambda fields: "+".join(fields),
)
async def test_odd_values_in_info_do_no_harm(
    kit: Kit, hostile: HostileServer, fields: dict[str, object]
) -> None:
    """An INFO with valid types and odd values does no harm, during the handshake and later."""
    watch = Watch()
    queue = make(kit, hostile, watch, connect_timeout=5.0)
    line = info(json.dumps({"server_id": "H", "headers": True, **fields}))

    def script(connection: ServerConnection) -> None:
        connection.send(line)
        connection.read_until(b"PING\r\n")
        connection.received = b""
        connection.send(b"PONG\r\n" + line)
        connection.answer_pings()

    hostile.hostile(script)
    assert await queue.connect() is True
    await queue.flush()
    await queue.flush()
    assert queue.is_connected()
    assert not watch.errors
    await check_recovery(kit, hostile, queue)
    await queue.disconnect()


async def test_the_number_of_announced_servers_that_are_kept_is_limited(
    kit: Kit, hostile: HostileServer
) -> None:
    """Of many INFO lines of maximum length, a limited number of addresses is kept."""
    watch = Watch()
    queue = make(kit, hostile, watch, connect_timeout=5.0)
    lines = [
        info(json.dumps({"connect_urls": [f"h{turn}-{n}:1" for n in range(15_000)]}))
        for turn in range(3)
    ]

    def script(connection: ServerConnection) -> None:
        connection.handshake()
        for line in lines:
            connection.send(line)
        connection.answer_pings()

    hostile.hostile(script)
    assert await queue.connect() is True
    start = time.monotonic()
    await queue.flush()
    await kit.until(lambda: len(client_of(queue)._connector.pool) > MOST_ANNOUNCED)
    for _ in range(3):
        await queue.flush()
    assert time.monotonic() - start < AT_ONCE
    assert len(client_of(queue)._connector.pool) == 1 + MOST_ANNOUNCED
    assert queue.is_connected()
    await queue.disconnect()


# ------------------------------------------------------------------------------ -ERR

CLOSING_ERRORS: dict[str, type[ServerError]] = {
    "Unknown Protocol Operation": ServerError,
    "maximum control line exceeded": ServerError,
    "Maximum Payload Violation": ServerError,
    "Authorization Violation": AuthorizationError,
    "Authentication Timeout": AuthenticationTimeoutError,
    "User Authentication Expired": AuthorizationError,
    "User Authentication Revoked": AuthorizationError,
    "Account Authentication Expired": AuthorizationError,
    "maximum connections exceeded": ConnectionLimitError,
    "maximum account active connections exceeded": ConnectionLimitError,
    "Connection throttling is active. Please try again later.": ConnectionLimitError,
    "Secure Connection - TLS Required": TLSRequiredError,
    "Stale Connection": ServerError,
    "invalid client protocol": ServerError,
    "no responders requires headers support": ServerError,
    "attempted to connect to route port": ServerError,
}
OTHER_ERRORS: dict[str, type[ServerError]] = {
    "maximum subscriptions exceeded": SubscriptionLimitError,
    "Invalid Subject": SubscriptionRefusedError,
    "Invalid Publish Subject": ServerError,
    'Permissions Violation for Publish to "x"': PermissionsViolationError,
    'Permissions Violation for Subscription to "x"': PermissionsViolationError,
    'Permissions Violation for Subscription to "x" using queue "q" (sid "9")': (
        PermissionsViolationError
    ),
    'Permissions Violation for Publish with Reply of "x"': PermissionsViolationError,
    "Some Unknown Error": ServerError,
}


def err(text: str) -> bytes:
    return b"-ERR '" + text.encode() + b"'\r\n"


@pytest.mark.parametrize("before_info", [True, False], ids=["before INFO", "after CONNECT"])
async def test_an_err_during_the_handshake_is_a_typed_error(
    kit: Kit, hostile: HostileServer, before_info: bool
) -> None:
    for text, kind in (CLOSING_ERRORS | OTHER_ERRORS).items():
        queue = make(kit, hostile, Watch(), connect_timeout=5.0)
        hostile.hostile(close_after(err(text)) if before_info else after_connect(err(text)))
        assert await queue.connect() is False
        assert type(queue.last_error) is kind, text
        assert queue.last_error.text == text
        assert not queue.is_connected()
        hostile.good()
        assert await queue.connect() is True
        await queue.flush()
        await queue.disconnect()


async def test_an_err_after_the_handshake_is_a_typed_error(
    kit: Kit, hostile: HostileServer
) -> None:
    for text, kind in (CLOSING_ERRORS | OTHER_ERRORS).items():
        watch = Watch()
        queue = make(kit, hostile, watch, connect_timeout=5.0)

        def script(connection: ServerConnection, text: str = text) -> None:
            connection.handshake()
            connection.send(err(text))
            connection.answer_pings()

        hostile.hostile(script)
        assert await queue.connect() is True
        if text in CLOSING_ERRORS:
            await kit.until(lambda: watch.errors)  # noqa: B023  # called in this iteration
            error = watch.errors[0]
        else:
            await queue.flush()
            assert queue.is_connected()
            assert not watch.errors
            # On blocking sockets another thread of nasq reports the events.
            await kit.until(lambda: isinstance(watch.events[-1], ServerErrorReceived))  # noqa: B023  # called in this iteration
            (error,) = [e.error for e in watch.events if isinstance(e, ServerErrorReceived)]
        assert type(error) is kind, text
        hostile.good()
        await kit.until(lambda: isinstance(watch.events[-1], Reconnected), seconds=RECOVERY_WITHIN)  # noqa: B023
        await queue.flush()
        await queue.disconnect()


async def test_the_queue_is_closed_after_two_identical_refusals(
    kit: Kit, hostile: HostileServer
) -> None:
    watch = Watch()
    queue = make(kit, hostile, watch, connect_timeout=5.0)
    hostile.good()
    assert await queue.connect() is True
    hostile.hostile(after_connect(err("Authorization Violation")))
    with pytest.raises(ConnectionClosedError):
        await queue.pop(timeout=AT_ONCE)
    await kit.until(lambda: not queue.is_connected())
    assert await queue.wait_connected(AT_ONCE) is False
    assert type(queue.last_error) is AuthorizationError
    assert len(hostile.connections) == 2
    with pytest.raises(NASQError):
        await queue.push("a", "x")
    hostile.good()
    assert await queue.connect() is True
    await queue.disconnect()


async def test_reconnecting_to_a_server_that_hangs_up_is_paced(
    kit: Kit, hostile: HostileServer
) -> None:
    watch = Watch()
    policy = ReconnectPolicy(delay=0.2, factor=1.0, max_delay=0.2)
    queue = make(kit, hostile, watch, connect_timeout=5.0, reconnect=policy)
    hostile.hostile(lambda connection: connection.handshake())
    await queue.connect()
    start = time.monotonic()
    await kit.until(lambda: len(hostile.connections) > 6)
    # Five waits of 0.1 s on average. Their sum is below 0.05 s once in 10^5 runs.
    assert time.monotonic() - start > 0.05
    await check_recovery(kit, hostile, queue)
    await queue.disconnect()
