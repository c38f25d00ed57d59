"""Invalid arguments, interrupted calls, counters and caches."""

from __future__ import annotations

import json
import logging
import math
import random
import signal
import threading
from functools import partial
from typing import Any

import pytest

from nasq import (
    BlockingNASQueue,
    InvalidHeaderError,
    InvalidOptionError,
    InvalidSubjectError,
    NASQueue,
    Stats,
    UnpoppedMessages,
    UsageError,
)
from nasq.server import LocalServer
from nasq_proto import Head, Inbox, encode_headers
from tests.conftest import Kit

from .test_lifecycle import inner

# ---------------------------------------------------------------------- arguments


@pytest.mark.parametrize("one", ["hello", b"hello", bytearray(b"x"), memoryview(b"x"), {"a": 1}])
async def test_push_many_refuses_a_single_message(kit: Kit, one: Any) -> None:
    async with kit.queue() as queue:
        with pytest.raises(TypeError, match="push\\(\\) takes a single message"):
            await queue.push_many("a", one)
        assert queue.queue_size() == 0


async def coroutine_function(event: object) -> None:
    """Do nothing: it never runs."""


class AsyncCallable:
    async def __call__(self, event: object) -> None:
        """Do nothing: it never runs."""


@pytest.mark.parametrize(
    "callback",
    [
        coroutine_function,
        AsyncCallable(),
        AsyncCallable().__call__,
        partial(coroutine_function),
        "print",
        7,
    ],
)
def test_a_callback_that_would_never_run_is_refused(callback: Any) -> None:
    for facade in (NASQueue, BlockingNASQueue):
        with pytest.raises(TypeError, match="on_event"):
            facade(on_event=callback)


@pytest.mark.parametrize("there", [False, True], ids=["empty", "a message is there"])
async def test_an_invalid_timeout_is_always_refused(kit: Kit, *, there: bool) -> None:
    async with kit.queue() as queue:
        await queue.push("b", "y")
        assert await queue.pop() is not None
        if there:
            await queue.push("a", "x")
        for wrong in (-1, -0.1, math.nan, -math.inf):
            for call in (
                lambda t: queue.pop(timeout=t),
                lambda t: queue.pop_many(3, timeout=t),
                lambda t: queue.wait_connected(timeout=t),
                lambda t: queue.flush(timeout=t),
                lambda t: queue.request("a", "x", timeout=t),
            ):
                with pytest.raises(InvalidOptionError, match="number of seconds"):
                    await call(wrong)
        bad: list[Any] = ["5", [1], True, object()]
        for each in bad:
            with pytest.raises(TypeError, match="number of seconds"):
                await queue.pop(timeout=each)
            with pytest.raises(TypeError, match="number of seconds"):
                await queue.pop_many(3, timeout=each)
        assert queue.queue_size() == there
        assert (await queue.pop(timeout=0) is not None) is there


@pytest.mark.parametrize("headers", [["a"], "ab", 7, ["ab"], [("a", "b", "c")]])
async def test_headers_that_are_not_a_mapping_are_refused(kit: Kit, headers: Any) -> None:
    async with kit.queue() as queue:
        with pytest.raises(TypeError, match="headers must be a mapping of str to str"):
            await queue.push("a", "x", headers)
    assert encode_headers([("a", "b")]) == encode_headers({"a": "b"})
    with pytest.raises(InvalidHeaderError):
        encode_headers({"a b": "c"})


async def test_an_error_has_no_internal_error_as_its_context(kit: Kit) -> None:
    bad: Any = object()
    async with kit.queue() as queue:
        for call in (
            lambda: queue.push("bad subject", "x"),
            lambda: queue.push(7, "x"),  # type: ignore[arg-type]  # refused
            lambda: queue.push("a", bad),
            lambda: queue.publish("bad subject", "x"),
            lambda: queue.push_many("bad subject", ["x"] * 100),
            lambda: queue.push_many("a", [bad] * 100),
        ):
            with pytest.raises((TypeError, InvalidSubjectError)) as caught:
                await call()
            error: BaseException | None = caught.value
            assert error is not None
            assert error.__context__ is None or error.__suppress_context__


# ---------------------------------------------------------------------- interrupted


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("bounded", [False, True])
def test_an_interrupted_pop_many_loses_no_message_and_keeps_the_order(
    server: LocalServer, *, bounded: bool
) -> None:
    rng = random.Random(7)
    total = 20_000
    got: list[int] = []
    interrupted = 0

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    options: dict[str, Any] = {"max_messages": total} if bounded else {}
    with BlockingNASQueue(port=server.port, namespace="again", **options) as queue:
        queue.push_many("a", [b"%d" % n for n in range(total)])
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            while queue.queue_size():
                taken: list[Any] = []
                try:
                    signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-6, 3e-5))
                    taken += queue.pop_many(rng.randrange(1, 60))
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except KeyboardInterrupt:
                    interrupted += 1
                got += [message.json() for message in taken]
                signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert queue.queue_size() == 0
        if bounded:
            assert queue._queue._inbox._bytes == 0
    assert got == list(range(total))
    assert interrupted > 50


async def test_messages_that_were_taken_by_an_interrupted_call_are_put_back(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kit.queue() as queue:
        await queue.push_many("a", range(10))
        await queue.push("a", "last")

        class Interrupted(Exception):  # noqa: N818 - it represents KeyboardInterrupt
            """What a signal handler raises."""

        made = 0

        def interrupted(*args: Any) -> Any:
            nonlocal made
            made += 1
            if made == 4:
                raise Interrupted
            return args

        with monkeypatch.context() as patch:
            patch.setattr("nasq.receiver.Message", interrupted)
            with pytest.raises(Interrupted):
                await queue.pop_many(8)
        got = await queue.pop_many(100)
        assert [message.text for message in got] == [*map(str, range(10)), "last"]


def test_a_waiter_is_woken_for_a_message_that_is_put_back() -> None:
    inbox = Inbox()
    head = Head("a", b"1", None, 0, 1)
    for n in range(3):
        inbox.put(head, b"%d" % n, float(n))
    held = [inbox.take() for _ in range(3)]
    waiter = inbox.waiter()
    inbox.put_back(held[1:])
    inbox.put_back(held[:1])
    assert waiter.done
    assert inbox.items == held
    inbox.put_back([])
    assert len(inbox) == 3


# ---------------------------------------------------------------------- counters and caches


def test_stats_refuses_another_thread(server: LocalServer) -> None:
    import asyncio

    errors: list[Exception] = []

    async def main() -> None:
        async with NASQueue(port=server.port) as queue:

            def look() -> None:
                try:
                    queue.stats()
                except UsageError as error:
                    errors.append(error)

            await asyncio.to_thread(look)
            assert queue.stats().messages_out == 0

    asyncio.run(main())
    assert "another" in str(errors[0])


def test_counters_are_exact_while_other_threads_read_them(server: LocalServer) -> None:
    with BlockingNASQueue(port=server.port, namespace="counted") as queue:
        done = threading.Event()
        seen: list[int] = []

        def look() -> None:
            while not done.is_set():
                seen.append(queue.stats().messages_out)

        threads = [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(5000):
            queue.publish("a", b"x")
        done.set()
        for thread in threads:
            thread.join()
        assert queue.stats().messages_out == 5000
        assert queue.stats().bytes_out == 5000
        queue.flush()
        assert json.loads(json.dumps(queue.stats()._asdict()))["messages_out"] == 5000


async def test_the_cache_of_control_lines_is_bounded_in_total(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasq.routes._MOST_BYTES", 40_000)
    async with kit.queue() as queue:
        routes = inner(queue)._routes
        await queue.subscribe_and_queue("few.>")
        for size in range(100):
            for n in range(50):
                await queue.publish(f"s{n}", b"x" * size)
                await queue.push(f"few.{n}", b"x" * size)
            publishers = inner(queue)._session.client._publishers.values()
            # One line of each subject may not be counted yet.
            assert sum(len(publisher.lines) for publisher in publishers) <= 40_000 // 170 + 100
        await queue.push_many("few.0", [b"x" * n for n in range(200)])
        await queue.flush()
        assert queue.stats().messages_out == 100 * 100 + 200
        assert queue.queue_size() == 100 * 50 + 200
        assert routes._bytes <= 40_000


async def test_a_message_is_encoded_once(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    from nasq import payload

    encoded = 0

    def counted(message: object) -> bytes:
        nonlocal encoded
        encoded += 1
        return payload.encode_payload(message)

    for module in ("nasq.queue", "nasq.blocking", "nasq.sender"):
        monkeypatch.setattr(f"{module}.encode_payload", counted)
    async with kit.queue() as queue:
        await queue.subscribe_and_queue("b")
        for n in range(600):  # some of these calls take the slow path
            await queue.push("a", {"n": n})
            await queue.push("b", {"n": n})
            await queue.publish("a", {"n": n}, reply_to="c")
            await queue.publish("a", {"n": n}, {"Key": "value"})
        assert encoded == 4 * 600


async def test_publish_takes_no_checkpoint_for_each_message_while_disconnected(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalServer() as local:
        queue = kit.queue(port=local.port)
        await queue.connect()
        local.kill()
        await kit.until(lambda: not queue.is_connected())
        for _ in range(3):
            await queue.publish("a", b"x" * 1024 * 1024)
        turns = 0
        session = inner(queue)._session
        wrapped = session.checkpoint

        async def counted() -> None:
            nonlocal turns
            turns += 1
            await wrapped()

        monkeypatch.setattr(session, "checkpoint", counted)
        for _ in range(1000):
            await queue.publish("a", b"x")
        assert turns < 20
        await queue.disconnect()


# ---------------------------------------------------------------------- pushed, and never popped


async def test_a_queue_that_is_never_popped_is_reported_once(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("nasq.sender._UNPOPPED", 3000)
    events: list[object] = []
    with caplog.at_level(logging.WARNING, logger="nasq"):
        async with kit.queue(on_event=events.append) as queue:
            # It is checked at checkpoints, which are rare on blocking sockets.
            while not any(isinstance(event, UnpoppedMessages) for event in events):
                assert queue.queue_size() < 1_000_000
                for n in range(100):
                    await queue.push("a", n)
            for n in range(9000):
                await queue.push("a", n)
            await queue.flush()
    reports = [event for event in events if isinstance(event, UnpoppedMessages)]
    assert len(reports) == 1
    assert reports[0].kept >= 3000
    assert caplog.text.count("should use publish()") == 1


async def test_a_queue_that_is_popped_or_only_publishes_is_not_reported(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasq.sender._UNPOPPED", 1000)
    events: list[object] = []
    async with kit.queue(on_event=events.append) as queue:
        await queue.subscribe_and_queue("mine")
        for n in range(4000):
            await queue.publish("a", n)
            await queue.push("a", n)
            if n % 50 == 0:
                assert await queue.pop() is not None
        await queue.flush()
        queue.clear_queue()
        for n in range(4000):
            await queue.push("mine", n)
        await queue.flush()
        await queue.flush()
        assert queue.queue_size() == 4000
    assert not [event for event in events if isinstance(event, UnpoppedMessages)]


def test_instances_have_at_most_29_attributes() -> None:
    """With more attributes, CPython gives each instance a dictionary, and pop is a fifth slower."""
    queue = NASQueue()
    for part in (queue, queue._session, queue._sender, queue._receiver):
        assert len(vars(part)) <= 29


def test_blocking_stats_are_read_under_the_lock(server: LocalServer) -> None:
    """They are sums of counters that another thread may be changing."""
    with BlockingNASQueue(port=server.port, namespace="counters") as queue:
        held: list[bool] = []
        stats = queue._queue.stats

        def looking() -> Stats:
            held.append(queue._lock._is_owned())  # type: ignore[attr-defined]  # what Condition uses
            return stats()

        queue._queue.stats = looking  # type: ignore[method-assign]  # to look at the lock
        queue.stats()
        assert held == [True]
