"""Whatever answers at the port, a queue has typed errors, bounded memory, and comes back."""

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
from tests.e2e.hostile import INFO, HostileServer, Script, Victim
from tests.e2e.tools import LONG, client_of, unsent_bytes

# Promised is 2 s; a loaded machine of two cores gets the double.
RECOVERY = 4.0
# No case may have more in memory at once, the test's own included: a few chunks as they are
# read, a control line, the events of a chunk, and the answers that nobody takes.
MEMORY = 8 * 1024 * 1024
CONNECT_TIMEOUT = 0.25
# A broken promise of the peer is noticed at once; this is for the machine.
AT_ONCE = 5.0
# Thousands of PINGs that nobody's answers are read to.
FLOOD = 4000 if LONG else 300


@pytest.fixture
def hostile(kit: Kit) -> Iterator[HostileServer]:
    with HostileServer(kit.server.port) as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_is_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio logs what a callback raises, and nobody sees it."""
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
    """What `on_event` was told."""

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


async def recovers(kit: Kit, hostile: HostileServer, queue: NASQueue) -> None:
    hostile.good()
    start = time.monotonic()
    await kit.until(queue.is_connected, seconds=RECOVERY)
    await queue.subscribe_and_queue("works")
    await queue.push("works", "again")
    message = await queue.pop(timeout=RECOVERY)
    assert message is not None
    assert message.text == "again"
    took = time.monotonic() - start
    print(f"{kit.backend}: recovered after {took * 1000:.0f} ms")
    assert took < RECOVERY


# ------------------------------------------------------------------------------ in the handshake


class Case(NamedTuple):
    """What is played, and what may come of it."""

    script: Script
    errors: tuple[type[Exception], ...] = (RemoteProtocolError,)


def say(data: bytes, *errors: type[Exception]) -> Case:
    """Says this, then waits for the client to hang up."""

    def script(victim: Victim) -> None:
        victim.send(data)
        victim.await_hang_up()

    return Case(script, errors or (RemoteProtocolError,))


def info(fields: str) -> bytes:
    return b"INFO " + fields.encode("utf-8", "surrogateescape") + b"\r\n"


def endless(data: bytes) -> Callable[[Victim], None]:
    def script(victim: Victim) -> None:
        chunk = data * (65536 // len(data))
        while victim.sent < 64 * 1024 * 1024:
            victim.send(chunk)
        raise AssertionError("the client took 64 MiB of it")

    return script


def half_close(data: bytes) -> Callable[[Victim], None]:
    def script(victim: Victim) -> None:
        victim.send(data)
        victim.half_close()
        victim.await_hang_up()

    return script


def close_after(data: bytes) -> Callable[[Victim], None]:
    def script(victim: Victim) -> None:
        victim.send(data)

    return script


def drip(victim: Victim) -> None:
    """Always another byte, before anyone could lose patience with the last one."""
    victim.sock.settimeout(0.02)
    for byte in INFO[:-2] + b" " * 10_000:
        victim.send(bytes([byte]))
        try:
            victim.read_until(b"never")
        except TimeoutError:
            continue
    raise AssertionError("the client did not lose patience")


def after_connect(data: bytes) -> Callable[[Victim], None]:
    def script(victim: Victim) -> None:
        victim.send(INFO)
        victim.read_until(b"PING\r\n")
        victim.send(data)
        victim.await_hang_up()

    return script


def ping_flood(victim: Victim) -> None:
    """100,000 PINGs instead of the PONG, and nothing that the client says is read."""
    victim.send(INFO)
    victim.read_until(b"PING\r\n")
    for _ in range(100):
        victim.send(b"PING\r\n" * 1000)
    victim.await_hang_up()


NESTED = "[" * 100_000 + "]" * 100_000
TIMEOUT = (OperationTimeoutError,)
LOST = (ConnectionLostError,)

HANDSHAKE: dict[str, Case] = {
    "endless line": Case(endless(b"A")),
    "endless INFO": Case(endless(b"INFO {")),
    "INFO that is no JSON": say(b"INFO {nonsense\r\n"),
    "INFO that is empty": say(b"INFO \r\n"),
    "INFO that is a list": say(info("[]")),
    "INFO that is a number of many digits": say(info("9" * 200_000)),
    "INFO with a max_payload of many digits": say(info('{"max_payload":' + "9" * 200_000 + "}")),
    "INFO with an infinite max_payload": say(info('{"max_payload":1e999}')),
    "INFO with a max_payload of text": say(info('{"max_payload":"1"}')),
    "INFO with a max_payload of null": say(info('{"max_payload":null}')),
    "INFO with headers of text": say(info('{"headers":"yes"}')),
    "INFO with connect_urls of numbers": say(info('{"connect_urls":[1,2]}')),
    "INFO with connect_urls of text": say(info('{"connect_urls":"a:1"}')),
    "INFO nested deep": say(info(f'{{"a":{NESTED}}}')),
    "INFO that is no UTF-8": say(b'INFO {"server_id":"\xff\xfe"}\r\n'),
    "MSG of 10^12 bytes": say(INFO + b"MSG a 1 1000000000000\r\n"),
    "MSG before INFO": say(b"MSG a 1 5\r\nhello\r\n"),
    "PONG before INFO": say(b"PONG\r\n"),
    "garbage": say(bytes(range(128, 256)) * 100 + b"\r\n"),
    "zeros": say(b"\0" * 1000 + b"\n"),
    "HTTP": Case(close_after(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")),
    "a TLS alert": Case(close_after(b"\x15\x03\x03\x00\x02\x02\x28"), LOST),
    "a TLS record": say(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03", *TIMEOUT),
    "silence": say(b"", *TIMEOUT),
    "silence within INFO": say(INFO[:20], *TIMEOUT),
    "silence after INFO": say(INFO, *TIMEOUT),
    "silence after CONNECT": Case(after_connect(b""), TIMEOUT),
    "silence within PONG": Case(after_connect(b"+OK\r\nPON"), TIMEOUT),
    "silence where TLS should begin": say(info('{"tls_required":true}'), *TIMEOUT),
    "garbage where TLS should begin": say(
        info('{"tls_required":true}') + b"\x15\x03", RemoteProtocolError, TLSError
    ),
    "one byte after the other": Case(drip, TIMEOUT),
    "PING flood": Case(ping_flood, TIMEOUT),
    "INFO for ever": Case(endless(INFO), TIMEOUT),
    "+OK for ever": Case(endless(b"INFO {}\r\n" + b"+OK\r\n" * 5000), TIMEOUT),
    "half-close": Case(half_close(b""), LOST),
    "half-close after INFO": Case(half_close(INFO), LOST),
    "hang-up": Case(close_after(b""), LOST),
    "hang-up within INFO": Case(close_after(INFO[:20]), LOST),
    "hang-up after INFO": Case(close_after(INFO), (*LOST, ConnectionError)),
}


@pytest.mark.parametrize("name", HANDSHAKE)
async def test_in_the_handshake(kit: Kit, hostile: HostileServer, name: str) -> None:
    case = HANDSHAKE[name]
    watch = Watch()
    # Soon at the next attempt; how soon it recovers as it is by itself, the tests below tell.
    policy = ReconnectPolicy(delay=0.02, max_delay=0.1)
    queue = make(kit, hostile, watch, reconnect=policy)
    hostile.hostile(case.script)
    with memory_bounded():
        # The first connection: False, and why. That it is the client that gives up, and before
        # the peer has nothing more to say, is seen from the peer: no script ends by itself.
        assert await queue.connect() is False
        assert isinstance(queue.last_error, NASQError), repr(queue.last_error)
        assert isinstance(queue.last_error, (*case.errors, ConnectionError)), queue.last_error
        assert not queue.is_connected()
        with pytest.raises(NASQError):
            await queue.push("a", "x")
    # A later one: it goes on trying.
    hostile.good()
    while not await queue.connect():  # a busy machine may take longer than CONNECT_TIMEOUT
        assert isinstance(queue.last_error, OperationTimeoutError)
    hostile.hostile(case.script)
    await kit.until(lambda: watch.errors)
    await kit.until(lambda: len(hostile.victims) >= 2)
    assert not queue.is_connected()
    assert watch.reconnected == 0
    assert isinstance(queue.last_error, (*case.errors, ConnectionError)), repr(queue.last_error)
    await recovers(kit, hostile, queue)
    await queue.disconnect()


# ------------------------------------------------------------------------------ later


def evil(data: bytes) -> Script:
    """A good handshake, then this."""

    def script(victim: Victim) -> None:
        victim.handshake()
        victim.send(data)
        victim.await_hang_up()

    return script


def evil_half_close(data: bytes) -> Script:
    def script(victim: Victim) -> None:
        victim.handshake()
        half_close(data)(victim)

    return script


def evil_endless(data: bytes) -> Script:
    def script(victim: Victim) -> None:
        victim.handshake()
        endless(data)(victim)

    return script


LATER: dict[str, Case] = {
    "endless line": Case(evil_endless(b"A")),
    "endless MSG line": Case(evil_endless(b"MSG ")),
    "MSG of 10^12 bytes": Case(evil(b"MSG a 1 1000000000000\r\n")),
    "MSG of 10^9-1 bytes": Case(evil_endless(b"MSG a 1 999999999\r\n")),
    "MSG of -1 bytes": Case(evil(b"MSG a 1 -1\r\n")),
    "MSG of 1e3 bytes": Case(evil(b"MSG a 1 1e3\r\n")),
    "MSG of too many arguments": Case(evil(b"MSG a 1 b c 1\r\nx\r\n")),
    "MSG longer than it says": Case(evil(b"MSG a 1 1\r\nxyz\r\n")),
    "header longer than total": Case(evil(b"HMSG a 1 20 10\r\n" + b"x" * 20 + b"\r\n")),
    "header of 10^12 bytes": Case(evil(b"HMSG a 1 1000000000000 1000000000001\r\n")),
    "INFO that is no JSON": Case(evil(b"INFO {nonsense\r\n")),
    "INFO of wrong types": Case(evil(info('{"max_payload":[]}'))),
    "INFO nested deep": Case(evil(info(f'{{"a":{NESTED}}}'))),
    "INFO with a number of many digits": Case(evil(info('{"max_payload":' + "9" * 200_000 + "}"))),
    "garbage": Case(evil(bytes(range(128, 256)) * 100 + b"\r\n")),
    "what only a client says": Case(evil(b"PUB a 1\r\nx\r\n")),
    "half-close": Case(evil_half_close(b""), LOST),
    "half-close within a message": Case(evil_half_close(b"MSG a 1 10\r\nhalf"), LOST),
}


@pytest.mark.parametrize("name", LATER)
async def test_later(kit: Kit, hostile: HostileServer, name: str) -> None:
    case = LATER[name]
    watch = Watch()
    queue = make(kit, hostile, watch, connect_timeout=5.0)
    hostile.good()
    assert await queue.connect() is True
    hostile.hostile(case.script)
    await kit.until(lambda: watch.errors)
    with memory_bounded():
        # Each time the client hangs up first: it is never connected with nobody who reads.
        await kit.until(lambda: hostile.hung_up_on >= 2)
        await kit.until(lambda: len(watch.errors) >= 3)
    for error in watch.errors[1:]:
        assert isinstance(error, case.errors), repr(error)
    await recovers(kit, hostile, queue)
    await queue.disconnect()


async def test_half_close_while_the_peer_reads_nothing(kit: Kit, hostile: HostileServer) -> None:
    """Bytes that nobody will ever take are no reason to think that the connection lives."""
    watch = Watch()
    queue = make(kit, hostile, watch, connect_timeout=5.0)

    def script(victim: Victim) -> None:
        victim.handshake()
        victim.gone.wait(0.5)
        victim.half_close()
        victim.gone.wait(20.0)

    hostile.hostile(script)
    assert await queue.connect() is True

    async def write() -> None:
        # The queue may know before the event is told, from another thread, and keep what comes.
        with suppress(BufferFullError):
            while not watch.errors:
                await queue.publish("a", "x" * 65536)

    async def notice() -> None:
        await kit.until(lambda: watch.errors)
        assert isinstance(watch.errors[0], ConnectionLostError)

    await kit.gather(write, notice)
    for victim in list(hostile.victims):
        victim.gone.set()
    await recovers(kit, hostile, queue)
    await queue.disconnect()


@pytest.mark.parametrize("seed", range(4))
async def test_closing_in_the_same_moment_that_the_socket_is_full(
    async_kit: Kit, hostile: HostileServer, seed: int
) -> None:
    """trio: the task for what the socket did not take began when the socket was closed already,
    and took the whole program with it. trio draws which of two tasks is first."""
    kit = async_kit

    def script(victim: Victim) -> None:
        victim.handshake()
        victim.gone.wait(20.0)

    hostile.hostile(script)
    queue = make(kit, hostile, Watch(), connect_timeout=5.0)
    assert await queue.connect() is True
    client, transport = client_of(queue), queue._transport
    assert isinstance(transport, BaseTransport)
    for _ in range(200):
        client.publish("a", bytes(65536))
    transport._pump()
    client.close()
    transport._pump()
    for victim in list(hostile.victims):
        victim.gone.set()
    await queue.disconnect()
    assert not queue.is_connected()


async def test_a_flood_of_pings_is_answered(kit: Kit, hostile: HostileServer) -> None:
    count = 100_000
    watch = Watch()
    queue = make(kit, hostile, watch, connect_timeout=5.0)
    answered = []

    def script(victim: Victim) -> None:
        victim.handshake()
        for _ in range(count // 1000):
            victim.send(b"PING\r\n" * 1000)
            victim.read_until(b"PONG\r\n" * 1000)
            answered.append(victim.received.count(b"PONG\r\n"))
            victim.received = b""
        victim.answer_pings()

    hostile.hostile(script)
    assert await queue.connect() is True
    await kit.until(lambda: sum(answered) >= count, seconds=30.0)
    await queue.flush()
    assert sum(answered) == count
    assert not watch.errors
    await queue.disconnect()


async def test_a_flood_of_pings_from_a_peer_that_reads_nothing(
    kit: Kit, hostile: HostileServer
) -> None:
    """Answers that nobody takes do not pile up: at some point the peer is given up."""
    watch = Watch()
    queue = make(kit, hostile, watch, connect_timeout=5.0)
    flooded = []

    def script(victim: Victim) -> None:
        victim.handshake()
        try:
            for _ in range(FLOOD):
                victim.send(b"PING\r\n" * 1000)
        finally:
            flooded.append(True)
        victim.answer_pings()

    hostile.hostile(script)
    assert await queue.connect() is True
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, unsent_bytes(queue))
        return bool(flooded)

    await kit.until(done, seconds=60.0)
    # As much as a publisher may gather, in the client and in the transport.
    assert most < 3 * 1024 * 1024
    assert all(isinstance(error, StaleConnectionError) for error in watch.errors)
    await recovers(kit, hostile, queue)
    await queue.disconnect()


async def test_ping_and_pong_in_one_chunk(kit: Kit, hostile: HostileServer) -> None:
    """The answer to both, and what was pushed meanwhile, goes out without another occasion."""
    watch = Watch()
    queue = make(kit, hostile, watch, connect_timeout=5.0)
    hostile.good()
    assert await queue.connect() is True
    pushed = threading.Event()
    arrived = threading.Event()

    def script(victim: Victim) -> None:
        pushed.wait(20.0)
        victim.send(INFO)
        victim.read_until(b"PING\r\n")
        victim.send(b"PING\r\nPONG\r\n")
        victim.read_until(b"PONG\r\n")
        victim.read_until(b"meanwhile\r\n")
        arrived.set()
        victim.answer_pings()

    hostile.hostile(script)
    await kit.until(lambda: watch.errors)
    await queue.publish("a", "meanwhile")
    pushed.set()
    await kit.until(arrived.is_set)
    await queue.disconnect()


async def test_one_byte_at_a_time_is_only_slow(kit: Kit, hostile: HostileServer) -> None:
    watch = Watch()
    queue = make(kit, hostile, watch, connect_timeout=10.0)
    prefix = kit.namespace.encode()

    def script(victim: Victim) -> None:
        def trickle(data: bytes) -> None:
            for byte in data:
                victim.send(bytes([byte]))

        trickle(INFO)
        victim.read_until(b"PING\r\n")
        trickle(b"PONG\r\n")
        victim.read_until(b"SUB ")
        trickle(b"PONG\r\nPING\r\n" + INFO)
        for n in range(20):
            body = b"x" * n
            trickle(b"MSG %b.a 1 %d\r\n%b\r\n" % (prefix, n, body))
            trickle(b"HMSG %b.a 1 12 %d\r\nNATS/1.0\r\n\r\n%b\r\n" % (prefix, 12 + n, body))
        victim.answer_pings()

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
                "with blank:1",
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
async def test_strange_but_no_lie(
    kit: Kit, hostile: HostileServer, fields: dict[str, object]
) -> None:
    """INFO that is allowed by its types, at the start and later, harms nothing."""
    watch = Watch()
    queue = make(kit, hostile, watch, connect_timeout=5.0)
    line = info(json.dumps({"server_id": "H", "headers": True, **fields}))

    def script(victim: Victim) -> None:
        victim.send(line)
        victim.read_until(b"PING\r\n")
        victim.received = b""
        victim.send(b"PONG\r\n" + line)
        victim.answer_pings()

    hostile.hostile(script)
    assert await queue.connect() is True
    await queue.flush()
    await queue.flush()
    assert queue.is_connected()
    assert not watch.errors
    await recovers(kit, hostile, queue)
    await queue.disconnect()


async def test_a_cluster_of_thousands_that_are_always_others(
    kit: Kit, hostile: HostileServer
) -> None:
    """INFO after INFO, each as long as a line may be: so many are kept, the rest passed over."""
    watch = Watch()
    queue = make(kit, hostile, watch, connect_timeout=5.0)
    lines = [
        info(json.dumps({"connect_urls": [f"h{turn}-{n}:1" for n in range(15_000)]}))
        for turn in range(3)
    ]

    def script(victim: Victim) -> None:
        victim.handshake()
        for line in lines:
            victim.send(line)
        victim.answer_pings()

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

CLOSES: dict[str, type[ServerError]] = {
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
STAYS: dict[str, type[ServerError]] = {
    "maximum subscriptions exceeded": SubscriptionLimitError,
    "Invalid Subject": SubscriptionRefusedError,
    "Invalid Publish Subject": ServerError,
    'Permissions Violation for Publish to "x"': PermissionsViolationError,
    'Permissions Violation for Subscription to "x"': PermissionsViolationError,
    'Permissions Violation for Subscription to "x" using queue "q" (sid "9")': (
        PermissionsViolationError
    ),
    'Permissions Violation for Publish with Reply of "x"': PermissionsViolationError,
    "Something That Nobody Has Heard Of": ServerError,
}


def err(text: str) -> bytes:
    return b"-ERR '" + text.encode() + b"'\r\n"


@pytest.mark.parametrize("before_info", [True, False], ids=["before INFO", "after CONNECT"])
async def test_err_in_the_handshake(kit: Kit, hostile: HostileServer, before_info: bool) -> None:
    for text, kind in (CLOSES | STAYS).items():
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


async def test_err_later(kit: Kit, hostile: HostileServer) -> None:
    for text, kind in (CLOSES | STAYS).items():
        watch = Watch()
        queue = make(kit, hostile, watch, connect_timeout=5.0)

        def script(victim: Victim, text: str = text) -> None:
            victim.handshake()
            victim.send(err(text))
            victim.answer_pings()

        hostile.hostile(script)
        assert await queue.connect() is True
        if text in CLOSES:
            await kit.until(lambda: watch.errors)  # noqa: B023  # used up in this turn
            error = watch.errors[0]
        else:
            await queue.flush()
            assert queue.is_connected()
            assert not watch.errors
            # On blocking sockets a thread of nasq's own hands the events out.
            await kit.until(lambda: isinstance(watch.events[-1], ServerErrorReceived))  # noqa: B023  # used up in this turn
            (error,) = [e.error for e in watch.events if isinstance(e, ServerErrorReceived)]
        assert type(error) is kind, text
        hostile.good()
        await kit.until(lambda: isinstance(watch.events[-1], Reconnected), seconds=RECOVERY)  # noqa: B023
        await queue.flush()
        await queue.disconnect()


async def test_refused_twice_with_the_same_words_it_stops(kit: Kit, hostile: HostileServer) -> None:
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
    assert len(hostile.victims) == 2
    with pytest.raises(NASQError):
        await queue.push("a", "x")
    hostile.good()
    assert await queue.connect() is True
    await queue.disconnect()


async def test_a_server_that_accepts_and_drops_is_paced(kit: Kit, hostile: HostileServer) -> None:
    watch = Watch()
    policy = ReconnectPolicy(delay=0.2, factor=1.0, max_delay=0.2)
    queue = make(kit, hostile, watch, connect_timeout=5.0, reconnect=policy)
    hostile.hostile(lambda victim: victim.handshake())
    await queue.connect()
    start = time.monotonic()
    await kit.until(lambda: len(hostile.victims) > 6)
    # Five waits of 0.1 s in the mean; all of them together below 0.05 s has odds of one in 10^5.
    assert time.monotonic() - start > 0.05
    await recovers(kit, hostile, queue)
    await queue.disconnect()
