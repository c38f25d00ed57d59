"""The server is killed or frozen under load; the queues recover, on every transport."""

from __future__ import annotations

import time
from collections import defaultdict

from nasq import BufferFullError, Disconnected, NASQueue
from nasq.server import LocalServer
from nasq_proto import Notice
from nasq_proto.output import HIGH_WATER
from tests.conftest import Kit
from tests.e2e.tools import LONG, run_blocking, start_and_see_the_port_open, unsent_bytes

KILLS = 30 if LONG else 10
# The promise is 1 s; a loaded machine with two cores gets twice that.
RESUME_WITHIN = 2.0


class Log:
    """The messages that a consumer received, with their times."""

    def __init__(self) -> None:
        self.by_producer: dict[str, list[int]] = defaultdict(list)
        self.times: list[float] = []

    async def consume(self, queue: NASQueue) -> None:
        async for message in queue:
            producer, n, padding = message.json()
            assert len(padding) == n % 100
            self.by_producer[producer].append(n)
            self.times.append(time.monotonic())


async def test_queues_recover_from_repeated_kills_under_load(kit: Kit) -> None:
    resumed: list[float] = []
    reported: list[float] = []
    with LocalServer(jetstream=False) as server:
        both, other = kit.queue(port=server.port), kit.queue(port=server.port)
        assert await both.connect()
        assert await other.connect()
        await both.subscribe_and_queue("own")
        await both.subscribe_and_queue("theirs")
        log = Log()
        pushed = {"own": 0, "theirs": 0}
        # Numbers that the subscribing queue itself pushed while it was disconnected. It replays its
        # subscription first, so all of them must arrive.
        kept: list[int] = []
        over = False
        ended: list[str] = []

        async def produce(queue: NASQueue, name: str) -> None:
            while True:
                if over:
                    ended.append(name)
                    return
                for _ in range(10):
                    n = pushed[name]
                    connected, before = queue.is_connected(), queue.stats().reconnects
                    await queue.push(name, [name, n, "x" * (n % 100)])
                    pushed[name] = n + 1
                    if name == "own" and not connected and not queue.is_connected():
                        assert queue.stats().reconnects == before
                        kept.append(n)
                await kit.sleep(0.002)

        async def disturb() -> None:
            nonlocal over
            try:
                for kill in range(KILLS):
                    seen = len(log.times)
                    await kit.until(lambda seen=seen: len(log.times) > seen + 100)  # type: ignore[misc]
                    await run_blocking(kit, server.kill)
                    await kit.until(lambda: not both.is_connected() and not other.is_connected())
                    last = len(kept)
                    await kit.until(lambda last=last: len(kept) > last + 20)  # type: ignore[misc]
                    opened = await run_blocking(kit, lambda: start_and_see_the_port_open(server))
                    for name in ("own", "theirs"):
                        target = pushed[name]
                        await kit.until(
                            lambda name=name, target=target: (  # type: ignore[misc]
                                (log.by_producer[name] or [-1])[-1] >= target
                            )
                        )
                    resumed.append(next(t for t in log.times if t > opened) - opened)
                    assert both.stats().reconnects == kill + 1
                    assert other.stats().reconnects == kill + 1
            finally:
                over = True
                try:
                    await kit.until(lambda: len(ended) == 2)
                finally:
                    reported.append(time.monotonic())
                    await other.disconnect()
                    await both.disconnect()

        await kit.gather(
            lambda: log.consume(both),
            lambda: produce(both, "own"),
            lambda: produce(other, "theirs"),
            disturb,
        )
        # disconnect() ended the iteration.
        assert time.monotonic() - reported[0] < 6.0
    for name, got in log.by_producer.items():
        assert got == sorted(set(got)), f"{name}: out of order or received twice"
    assert len(kept) > 20 * KILLS
    assert set(kept) <= set(log.by_producer["own"]), "a message pushed while disconnected is lost"
    print(f"{kit.backend}: resumed after {', '.join(f'{t * 1000:.0f}' for t in resumed)} ms")
    assert max(resumed) < RESUME_WITHIN


async def test_a_frozen_server_is_noticed_while_a_push_is_blocked(kit: Kit) -> None:
    interval, pings = 0.4, 2
    chunk, kept = "x" * 262_144, 2 * 1024 * 1024
    lost: list[float] = []

    def on_event(notice: Notice) -> None:
        if isinstance(notice, Disconnected):
            lost.append(time.monotonic())

    with LocalServer(jetstream=False) as server:
        writer = kit.queue(
            port=server.port,
            ping_interval=interval,
            max_pings_out=pings,
            reconnect_buffer=kept,
            on_event=on_event,
        )
        reader = kit.queue(port=server.port, ping_interval=interval, max_pings_out=pings)
        assert await writer.connect()
        assert await reader.connect()
        await reader.subscribe_and_queue("a")
        await reader.subscribe_and_queue("probe")
        over = False
        ended = False
        refused = 0
        most = 0
        began = [0.0]  # when the current push was called
        longest = [0.0]
        got: list[int] = []

        async def write() -> None:
            nonlocal refused, most, ended
            n = 0
            while not over:
                began[0] = time.monotonic()
                try:
                    await writer.publish("a", f"{n} {chunk}")
                except BufferFullError:
                    refused += 1
                    await kit.sleep(0.005)
                else:
                    n += 1
                longest[0] = max(longest[0], time.monotonic() - began[0])
                most = max(most, unsent_bytes(writer))
                if not n % 8:
                    await kit.sleep(0.001)
            ended = True

        async def read() -> None:
            async for message in reader:
                if message.subject == "a":
                    number, _, rest = message.text.partition(" ")
                    assert rest == chunk
                    got.append(int(number))

        async def disturb() -> None:
            nonlocal over
            try:
                await kit.until(lambda: len(got) > 20)
                frozen = time.monotonic()
                server.suspend()
                await kit.until(lambda: lost, seconds=30.0)
                noticed = lost[0] - frozen
                assert not writer.is_connected()
                # The server stays frozen until the buffer is full: then pushes fail, not pile up.
                await kit.until(lambda: refused)
                server.resume()
                resumed = time.monotonic()
                await kit.until(writer.is_connected)
                await writer.flush()
                usable = time.monotonic() - resumed
                count = len(got)
                await kit.until(lambda: len(got) > count + 20)
                print(
                    f"{kit.backend}: noticed after {noticed:.2f} s, usable after "
                    f"{usable * 1000:.0f} ms, at most {most} bytes unsent, a push was blocked "
                    f"for {longest[0]:.2f} s"
                )
                assert noticed < (pings + 1) * interval + 1.0
                assert usable < RESUME_WITHIN
            finally:
                over = True
                try:
                    await kit.until(lambda: ended)
                finally:
                    await writer.disconnect()
                    await reader.disconnect()

        await kit.gather(write, read, disturb)
        assert len(got) == len(set(got)), "a message was received twice"
        # A push was blocked, but not longer than it took to notice the failure.
        assert 0.05 < longest[0] < (pings + 1) * interval + 1.5
        # The transport holds at most one turn's output. The client's list holds as much, or what
        # reconnect_buffer allows. When the connection breaks, both exist for a moment.
        assert most <= HIGH_WATER + max(HIGH_WATER, kept) + 4 * len(chunk)
        assert refused
