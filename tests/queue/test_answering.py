"""A service continues whatever reply subjects it is sent."""

from __future__ import annotations

import logging
import socket

import pytest

from nasq import NoRespondersError, UnanswerableRequest, UsageError
from nasq.server import LocalServer
from tests.conftest import Kit

BAD = [b"a.*", b"a..b", b".a", b"a.", b">", b"a.>.b", b"x." + b"y" * 5000]
GOOD = [b"x" * 1000, b"caf\xe9.\xff", "grüß".encode(), b"_INBOX.gone.1", b"a*", b"a>b"]


def ask(port: int, subject: str, replies: list[bytes]) -> None:
    """Send a request with each reply subject over a plain socket."""
    with socket.create_connection(("127.0.0.1", port), timeout=10.0) as sock:
        sock.sendall(b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n')
        for reply in replies:
            sock.sendall(b"PUB %b %b 1\r\nx\r\n" % (subject.encode(), reply))
        sock.sendall(b"PING\r\n")
        got = b""
        while b"PONG" not in got:
            data = sock.recv(65536)
            assert data, f"the server hung up: {got!r}"
            got += data


async def test_respond_does_not_raise_for_an_invalid_reply_subject(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[object] = []
    config = "max_control_line: 8192"
    with (
        LocalServer(config=config) as local,
        caplog.at_level(logging.WARNING, logger="nasq"),
    ):
        queue = kit.queue(port=local.port, on_event=events.append)
        async with queue, kit.queue(port=local.port) as client:
            await queue.subscribe_and_queue("job")
            full = f"{kit.namespace}.job"
            ask(local.port, full, [*BAD, *GOOD])
            errors: list[str | None] = []

            async def serve() -> None:
                for n in range(len(BAD) + len(GOOD) + 1):
                    message = await queue.pop(timeout=10.0)
                    assert message is not None
                    headers = {"N": str(n)} if n % 2 else None
                    await queue.respond(message, "done", headers)
                    errors.append(message.reply_error)

            async def request() -> None:
                await kit.until(lambda: len(errors) == len(BAD) + len(GOOD))
                assert (await client.request("job", "x")).text == "done"

            await kit.gather(serve, request)
            await queue.flush()
            assert queue.is_connected()
            assert all(errors[: len(BAD)])
            assert errors[len(BAD) :] == [None] * (len(GOOD) + 1)
            assert queue.stats().unanswerable == len(BAD)
            assert queue.stats().reconnects == 0
    reports = [event for event in events if isinstance(event, UnanswerableRequest)]
    assert len(reports) == 1
    assert reports[0].subject == "job"
    assert "wildcard" in str(reports[0].error)
    assert caplog.text.count("a request on 'job' was not answered") == 1


async def test_respond_still_raises_for_the_callers_own_mistakes(kit: Kit) -> None:
    async with kit.queue() as queue:
        await queue.subscribe_and_queue("job")
        ask(kit.server.port, f"{kit.namespace}.job", [b"a.*"])
        message = await queue.pop(timeout=10.0)
        assert message is not None
        with pytest.raises(TypeError):
            await queue.respond(message, object())
        await queue.push("other", "x")
        plain = await queue.pop(timeout=10.0)
        assert plain is not None
        assert plain.reply_error is None
        with pytest.raises(UsageError):
            await queue.respond(plain, "x")
        with pytest.raises(NoRespondersError):
            await queue.request("nobody", "x")
