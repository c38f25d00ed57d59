"""Messages that push keeps in the local queue, on credit and in the other ways."""

from __future__ import annotations

import dis
import math
import signal
import sys
import threading
from datetime import datetime, timedelta
from typing import Any

import pytest

from nasq import BlockingNASQueue, Message
from nasq.server import LocalServer
from tests.conftest import Kit

from .test_lifecycle import inner


async def test_all_ways_to_push_keep_the_order(kit: Kit) -> None:
    async with kit.queue() as queue:
        before = datetime.now() - timedelta(seconds=1)
        for n in range(3000):
            if n % 500 == 7:
                await queue.push("a", b"%d" % n, headers={"Key": "value"})
            elif n % 300 == 11:
                await queue.push_many("b", [b"%d" % n])
            else:
                await queue.push("ab"[n % 2], b"%d" % n)
        assert queue.queue_size() == 3000
        messages = await queue.pop_many(3000)
        assert [message.json() for message in messages] == [*range(3000)]
        assert [message.subject for message in messages[100:200]] == ["a", "b"] * 50
        times = [message.timestamp for message in messages]
        assert times == sorted(times)
        assert before < times[0]
        assert times[-1] < datetime.now() + timedelta(seconds=1)
        await queue.flush()
        stats = queue.stats()
        assert stats.messages_out == 3000
        assert stats.messages_in == 0
        assert stats.bytes_out == sum(len(message._held[1]) for message in messages)


async def test_a_push_on_credit_wakes_a_pop_that_waits(kit: Kit) -> None:
    async with kit.queue() as queue:
        await queue.push("a", "x")
        assert await queue.pop() is not None
        got: list[Message | None] = []

        async def pop() -> None:
            got.append(await queue.pop(timeout=30.0))

        async def push() -> None:
            await kit.until_waiting(queue, 3)
            await queue.publish("b", "x")
            for n in range(3):
                await queue.push("a", b"%d" % n)

        await kit.gather(pop, pop, pop, push)
        assert sorted(message.text for message in got if message) == ["0", "1", "2"]


async def test_a_push_is_not_kept_here_while_its_subject_is_subscribed(kit: Kit) -> None:
    async with kit.queue() as queue:
        await queue.push("a", "1")
        await queue.push("a", "2")
        sid = await queue.subscribe_and_queue("a")
        await queue.push("a", "3")
        await queue.push("a", "4")
        await queue.flush()
        await queue.unsubscribe(sid)
        await queue.push("a", "5")
        await queue.push("a", "6")
        assert [message.text for message in await queue.pop_many(9)] == [*"123456"]
        assert queue.queue_size() == 0


async def test_a_bounded_queue_checks_each_push(kit: Kit) -> None:
    async with kit.queue(max_messages=5) as queue:
        for n in range(20):
            await queue.push("a", b"%d" % n)
        assert queue.queue_size() == 5
        assert queue.stats().dropped == 15


async def test_a_message_that_is_too_large_is_refused_on_credit_as_well(kit: Kit) -> None:
    async with kit.queue() as queue:
        await queue.push("a", b"x")
        limit = inner(queue)._session.output.max_payload
        for _ in range(2):
            with pytest.raises(ValueError, match="max_payload"):
                await queue.push("a", bytes(limit + 1))
        await queue.push("a", b"y")
        assert [message.text for message in await queue.pop_many(9)] == ["x", "y"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
def test_a_signal_handler_that_pushes_does_not_mix_up_messages(server: LocalServer) -> None:
    """The handler can run between any two steps of the push that it interrupts."""
    handled = 0

    def handler(*_: object) -> None:
        nonlocal handled
        handled += 1
        queue.push("b", b"b")

    with BlockingNASQueue(port=server.port, namespace="mixed") as queue:
        queue.push("b", b"b")
        before = signal.signal(signal.SIGALRM, handler)
        try:
            pushed = 1
            for turn in range(4000):
                signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + turn % 40))
                for _ in range(20):
                    queue.push("a", b"a")
                signal.setitimer(signal.ITIMER_REAL, 0)
                pushed += 20
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert handled > 100
        assert queue.queue_size() == pushed + handled
        for message in queue.pop_many(pushed + handled):
            assert message.subject == message.text
        assert queue.stats().messages_out == pushed + handled


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_push_sends_and_keeps_a_message_or_does_neither(
    server: LocalServer,
) -> None:
    class Interrupted(Exception):  # noqa: N818 - it represents KeyboardInterrupt
        """What a signal handler raises."""

    def handler(*_: object) -> None:
        raise Interrupted

    interrupted = 0
    with BlockingNASQueue(port=server.port, namespace="torn") as queue:
        queue.push("a", b"a")
        queue.push("b", b"b")
        before = signal.signal(signal.SIGALRM, handler)
        try:
            for turn in range(4000):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + turn % 40))
                    for _ in range(20):
                        queue.push("a", b"a")
                        queue.push("b", b"b")
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Interrupted:
                    interrupted += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert interrupted > 100
        for message in queue.pop_many(queue.queue_size()):
            assert message.subject == message.text


def _arguments(steps: list[tuple[str, Any]]) -> set[Any]:
    """The names that steps of the interpreter load or store."""
    found: set[Any] = set()
    for _, argument in steps:
        found |= set(argument) if isinstance(argument, tuple) else {argument}
    return found


def test_no_signal_is_handled_between_the_parts_of_a_kept_message() -> None:
    """CPython handles signals after a call and where a loop jumps back."""
    push = BlockingNASQueue()._sender.push_now
    names = [(step.opname, step.argval) for step in dis.Bytecode(push)]
    first = names.index(("STORE_ATTR", "frames"))
    last = names.index(("STORE_DEREF", "kept"))
    assert {"credit", "local", "payload", "at"} <= _arguments(names[first:last])
    assert not [name for name, _ in names[first:last] if name.startswith(("CALL", "JUMP_BACK"))]


def test_concurrent_pushes_and_pops_lose_no_message(server: LocalServer) -> None:
    total = 20_000
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with BlockingNASQueue(port=server.port, namespace="both") as queue:
            got: list[tuple[str, str]] = []

            def pop() -> None:
                while len(got) < 2 * total and (message := queue.pop(timeout=math.inf)):
                    got.append((message.subject, message.text))

            def push(subject: str) -> None:
                for n in range(total):
                    queue.push(subject, f"{subject}{n}")

            threads = [threading.Thread(target=push, args=(subject,)) for subject in "ab"]
            threads.append(threading.Thread(target=pop))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60.0)
            assert all(text[0] == subject for subject, text in got)
            for subject in "ab":
                mine = [text for name, text in got if name == subject]
                assert mine == [f"{subject}{n}" for n in range(total)]
    finally:
        sys.setswitchinterval(interval)
