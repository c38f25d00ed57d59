"""`nasq.testing.Simulation`: what the seed decides, that runs repeat, and reports of hangs."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys

import pytest

from nasq import ConnectionLostError, NASQueue
from nasq.testing import Broker, Cancelled, DeadlockError, Simulation
from nasq_proto import Notice
from nasq_transports import memory


def stormy_run(seed: int) -> str:
    """Everything that happened in a run with random chunks, delays and cuts, with its time."""
    simulation = Simulation(seed, chop=40, delay=0.2, cuts=0.01)
    seen: list[str] = []

    def saw(what: object) -> None:
        seen.append(f"{simulation.now!r} {what!r}")

    async def worker(name: str) -> None:
        queue = NASQueue(transport=simulation.transport, on_event=saw)
        async with queue:
            await queue.subscribe_and_queue("jobs", queue_group="workers")
            while (message := await queue.pop(timeout=30.0)) is not None:
                saw((name, message.text, message.reply_to))
                if message.reply_to is not None:
                    await queue.respond(message, name)

    async def main() -> None:
        workers = [simulation.spawn(worker(name), name) for name in "abc"]
        await simulation.sleep(5.0)
        async with NASQueue(transport=simulation.transport, on_event=saw) as queue:
            for n in range(20):
                await queue.publish("jobs", n)
                try:
                    saw((await queue.request("jobs", f"request {n}", timeout=10.0)).text)
                except (TimeoutError, ConnectionError) as error:
                    saw(error)
        while not all(task.done for task in workers):
            await simulation.sleep(1.0)

    simulation.run(main())
    return "\n".join(seen)


def test_a_seed_replays_exactly_in_another_process_too() -> None:
    here = stormy_run(11)
    assert stormy_run(11) == here
    assert "Reconnected" in here, "no connection broke in this run"
    program = f"from {__name__} import stormy_run; print(stormy_run(11))"
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        there = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.rstrip("\n") == here


def test_another_seed_is_another_run() -> None:
    assert len({stormy_run(seed) for seed in range(5)}) == 5


def chunks_read(
    seed: int, *, chop: int | None = None, delay: float = 0.0
) -> list[tuple[float, int]]:
    """The time and size of each chunk that the client received."""
    simulation = Simulation(seed, chop=chop, delay=delay)
    chunks: list[tuple[float, int]] = []

    async def main() -> None:
        async with NASQueue(transport=simulation.transport) as queue:
            client = simulation.links[0].client
            receive = client.receive_data

            def record(attempt: int, data: bytes, now: float) -> None:
                chunks.append((now, len(data)))
                receive(attempt, data, now)

            client.receive_data = record  # type: ignore[method-assign]  # to record the chunks
            await queue.subscribe_and_queue("a")
            for n in range(30):
                await queue.publish("a", n)
                await simulation.sleep(0.01)
            await queue.flush()
            assert [m.json() for m in await queue.pop_many(100)] == list(range(30))

    simulation.run(main())
    return chunks


def test_the_seed_draws_the_size_of_each_chunk() -> None:
    one, other = ([size for _, size in chunks_read(seed, chop=9)] for seed in (1, 2))
    assert one != other
    assert set(one) == set(range(1, 10))


def test_the_seed_draws_each_delay_and_the_order_is_kept() -> None:
    one, other = ([when for when, _ in chunks_read(seed, delay=0.5)] for seed in (1, 2))
    assert one != other
    assert one == sorted(one)
    assert len(set(one)) > 3


def test_the_seed_draws_the_cuts_and_flushed_messages_arrive() -> None:
    def run(seed: int) -> int:
        simulation = Simulation(seed, cuts=0.05)
        flushed: list[int] = []

        async def main() -> int:
            async with NASQueue(transport=simulation.transport) as queue:
                await queue.subscribe_and_queue("a")
                for n in range(50):
                    await queue.push("a", n)
                    try:
                        await queue.flush()
                    except ConnectionLostError:
                        continue
                    flushed.append(n)
                assert await queue.wait_connected(60.0)
                got = [m.json() for m in await queue.pop_many(100)]
                assert got == sorted(set(got)), "a message came twice or out of order"
                assert set(flushed) <= set(got)
                return queue.stats().reconnects

        return simulation.run(main())

    reconnects = [run(seed) for seed in range(20)]
    assert all(reconnects)
    assert len(set(reconnects)) > 3


def test_cut_breaks_every_connection() -> None:
    simulation = Simulation()
    events: list[Notice] = []

    async def main() -> None:
        async with NASQueue(transport=simulation.transport, on_event=events.append) as queue:
            simulation.cut()
            assert await queue.wait_connected()
            assert queue.stats().reconnects == 1

    simulation.run(main())
    assert [type(e).__name__ for e in events] == [
        "Connected",
        "Disconnected",
        "Reconnected",
        "Closed",
    ]


def test_a_deadlock_error_lists_each_task_and_connection() -> None:
    simulation = Simulation(seed=5)

    async def consumer(queue: NASQueue) -> None:
        await queue.pop(timeout=math.inf)

    async def asker(queue: NASQueue) -> None:
        await queue.request("a", "never answered", timeout=None)

    async def broken() -> None:
        raise LookupError("a bug in the test")

    async def main() -> None:
        async with NASQueue(transport=simulation.transport) as queue:
            await queue.subscribe_and_queue("a")
            queue.clear_queue()
            simulation.spawn(asker(queue), "asker")
            await queue.pop(timeout=1.0)
            tasks = [simulation.spawn(consumer(queue), f"consumer {n}") for n in range(2)]
            simulation.spawn(broken())
            simulation.spawn(simulation.sleep(math.inf), "sleeper")
            while not all(task.done for task in tasks):
                await queue.pop(timeout=math.inf)

    with pytest.raises(DeadlockError) as caught:
        simulation.run(main())
    lines = str(caught.value).splitlines()
    assert lines[0] == "nothing more happens before the end of this run at 3600 s"
    wanted = [
        r"  main: <Op pending> without a deadline, in main:\d+ > pop:\d+ > pop:\d+ > .*",
        r"  asker: <PendingReply pending> without a deadline, in asker:\d+ > request:\d+ > .*",
        r"  consumer 0: <Op pending> without a deadline, in consumer:\d+ > pop:\d+ > .*",
        r"  consumer 1: <Op pending> without a deadline, .*",
        r"  broken: failed: LookupError\('a bug in the test'\)",
        r"  sleeper: inf s to pass, in sleep:\d+",
        r"  connection 1: <Client connected, 2 subscriptions, 1 requests, 0 bytes not handed over>",
    ]
    assert len(lines) == 1 + len(wanted)
    for line, pattern in zip(lines[1:], wanted, strict=True):
        assert re.fullmatch(pattern, line), line


def test_a_loop_in_which_no_time_passes_is_a_hang_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MAX_STEPS", 1000)
    simulation = Simulation()

    async def main() -> None:
        async with NASQueue(transport=simulation.transport) as queue:
            while await queue.pop() is None:
                pass

    with pytest.raises(DeadlockError, match=r"1000 steps .*at 0 s.*\n  main: its turn, in main:"):
        simulation.run(main())


def test_an_error_has_a_note_that_says_how_to_replay_the_run() -> None:
    simulation = Simulation(42, chop=7, cuts=0.5)

    async def main() -> None:
        raise ValueError("found by chance")

    with pytest.raises(ValueError, match="by chance") as caught:
        simulation.run(main())
    assert caught.value.__notes__ == ["to replay this run: Simulation(seed=42, chop=7, cuts=0.5)"]


def test_run_raises_the_error_of_a_spawned_task() -> None:
    async def fails() -> None:
        raise ValueError("unseen")

    async def main(simulation: Simulation, *, look: bool) -> None:
        task = simulation.spawn(fails())
        await simulation.sleep(1.0)
        if look:
            with pytest.raises(ValueError, match="unseen"):
                task.result()

    simulation = Simulation()
    simulation.run(main(simulation, look=True))
    simulation = Simulation()
    with pytest.raises(ValueError, match="unseen"):
        simulation.run(main(simulation, look=False))


def test_a_task_that_was_cancelled_has_not_failed() -> None:
    simulation = Simulation(broker=Broker())

    async def main() -> None:
        task = simulation.spawn(simulation.sleep(60.0))
        await simulation.sleep(1.0)
        simulation.cancel(task)
        await simulation.sleep(1.0)
        assert task.done
        with pytest.raises(Cancelled):
            task.result()

    simulation.run(main())
