"""Opening a stream: the first address that answers wins, and no socket is leaked."""

from __future__ import annotations

import errno
import math
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from nasq import ConnectFailedError, OperationTimeoutError
from nasq_transports.addresses import interleaved
from nasq_transports.blockingdial import Dial
from tests.conftest import Kit


@contextmanager
def black_hole() -> Iterator[int]:
    """A port on 127.0.0.1 that neither accepts nor refuses: its backlog is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(16):
            sock = stack.enter_context(socket.socket())
            sock.settimeout(0.2)
            try:
                sock.connect(address)
            except TimeoutError:
                break
        else:
            pytest.skip("this system has no end to a backlog")
        yield address[1]


NAME = "two.example"


def resolve_to(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """`NAME` has several addresses, each of which is a port on 127.0.0.1."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        if host not in (NAME, NAME.encode()):
            return real(host, port, *rest, **options)
        flags = options.get("flags", rest[3] if len(rest) > 3 else 0)
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        kind = socket.SOCK_STREAM
        return [(socket.AF_INET, kind, 6, "", ("127.0.0.1", port)) for port in ports]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


async def test_an_address_that_never_answers_does_not_block_the_others(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken IPv6, as in many containers: the first try would never end."""
    with black_hole() as nowhere:
        resolve_to(monkeypatch, nowhere, nowhere, kit.server.port)
        queue = kit.queue(host=NAME, port=4222, connect_timeout=math.inf)
        assert await queue.connect(), queue.last_error
        await queue.flush()
        await queue.disconnect()


async def test_an_address_that_refuses_is_skipped(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        resolve_to(monkeypatch, nobody.getsockname()[1], kit.server.port)
        queue = kit.queue(host=NAME, port=4222)
        assert await queue.connect(), queue.last_error
        await queue.disconnect()


async def test_if_no_address_answers_the_first_reason_is_reported(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        resolve_to(monkeypatch, nobody.getsockname()[1], nobody.getsockname()[1])
        queue = kit.queue(host=NAME, port=4222)
        assert await queue.connect() is False
        assert "refused" in str(queue.last_error).lower()


async def test_a_name_that_does_not_exist_is_a_failed_attempt(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    queue = kit.queue(host=NAME, port=4222)
    assert await queue.connect() is False
    assert "not known" in str(queue.last_error)


async def test_a_name_that_can_not_be_encoded_is_a_failed_attempt(kit: Kit) -> None:
    queue = kit.queue(host="a..b", port=4222)
    assert await queue.connect() is False
    assert isinstance(queue.last_error, ConnectFailedError)
    ((address, reason),) = queue.last_error.reasons
    assert address == "a..b:4222"
    assert isinstance(reason, OSError)


async def test_an_attempt_that_is_given_up_leaves_no_socket_and_no_thread(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[socket.socket] = []

    class Counted(socket.socket):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            if threading.current_thread().name.startswith("nasq connecting"):
                made.append(self)

    with black_hole() as nowhere:
        if kit.backend == "blocking":  # the others create sockets in other modules
            monkeypatch.setattr("nasq_transports.blockingdial.socket.socket", Counted)
        resolve_to(monkeypatch, nowhere, nowhere)
        queue = kit.queue(host=NAME, port=4222, connect_timeout=0.6)
        assert await queue.connect() is False
        assert isinstance(queue.last_error, OperationTimeoutError)
        assert "still opening the connection" in str(queue.last_error)
        await kit.until(
            lambda: not any(t.name.startswith("nasq connecting") for t in threading.enumerate())
        )
        await kit.until(lambda: all(sock.fileno() == -1 for sock in made))
        if kit.backend == "blocking":
            assert len(made) == 2


def test_a_dial_that_is_given_up_ends_even_if_no_address_answers() -> None:
    with black_hole() as nowhere:
        dial = Dial("127.0.0.1", nowhere)
        dial.give_up()
        with pytest.raises(ConnectionAbortedError) as caught:
            dial.run()
        assert caught.value.errno == errno.ECONNABORTED


def test_an_address_that_cannot_be_tried_is_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system lacks the address family, or has no file descriptor left."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        real = socket.getaddrinfo

        def getaddrinfo(*arguments: Any, **options: Any) -> Any:
            return [(4711, socket.SOCK_STREAM, 6, "", ("x", 1)), *real(*arguments, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        with Dial("127.0.0.1", port).run() as sock:
            assert sock.getpeername()[1] == port


def test_address_families_alternate() -> None:
    six, four = socket.AF_INET6, socket.AF_INET
    infos = [(six, 1), (six, 2), (six, 3), (four, 1), (four, 2)]
    expected = [(six, 1), (four, 1), (six, 2), (four, 2), (six, 3)]
    assert interleaved(infos) == expected
    assert interleaved(infos[:1]) == infos[:1]
