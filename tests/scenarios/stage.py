"""Where a scenario plays: queues whose every call is written down, and servers that can crash.

A scenario is a coroutine function that takes a `Stage`. What it has its queues do comes out as a
trace, lines that say what was called and what came of it. A call that raises is written down as
any other, and the scenario goes on. What differs from run to run by nature (ports, namespaces,
names of inboxes) is replaced by a word; everything else has to be the same everywhere.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from operator import gt
from typing import Any, Final

from nasq import Closed, Disconnected, Message, NASQError, NASQueue, SlowConsumer, Stats
from nasq_proto import Notice

from .worlds import Rules, Server, World

__all__ = ["SCENARIOS", "Actor", "Stage", "each", "play", "scenario"]

Trace = list[str]
Body = Callable[["Stage"], Coroutine[Any, Any, None]]
BodyOfCase = Callable[["Stage", Any], Coroutine[Any, Any, None]]

SCENARIOS: Final[dict[str, Body]] = {}

# What is longer stands in a trace as its length.
_LONGEST: Final = 80


def scenario(body: Body) -> Body:
    """Have a coroutine function played, under its own name."""
    _enter(body.__name__, body)
    return body


def each(cases: dict[str, Any]) -> Callable[[BodyOfCase], BodyOfCase]:
    """Have a coroutine function played once for each case, under its name and the case's."""

    def enter(body: BodyOfCase) -> BodyOfCase:
        for name, case in cases.items():
            _enter(f"{body.__name__}: {name}", partial(_play_case, body, case))
        return body

    return enter


async def _play_case(body: BodyOfCase, case: Any, stage: Stage) -> None:
    await body(stage, case)


def _enter(name: str, body: Body) -> None:
    name = name.replace("_", " ")
    assert name not in SCENARIOS, f"two scenarios are called {name!r}"
    SCENARIOS[name] = body


def play(name: str, world: World) -> Trace:
    """The trace of one scenario in one world."""
    with ExitStack() as servers:
        stage = Stage(world, servers)

        async def body() -> None:
            await SCENARIOS[name](stage)
            await stage.leave()

        try:
            world.kit.run(body)
        except BaseException as error:
            error.add_note("\n".join([f"in the scenario {name!r}, after:", *stage.trace]))
            raise
    return stage.trace


class Stage:
    """One run of one scenario.

    Attributes:
        trace: what has happened so far.
    """

    def __init__(self, world: World, servers: ExitStack) -> None:
        self.trace: Trace = []
        self._world = world
        self._servers = servers
        self._actors: list[Actor] = []
        # While calls are made beside one another: each actor's lines for themselves.
        self._lanes: dict[str, Trace] | None = None

    def queue(self, label: str = "queue", **options: Any) -> Actor:
        """A queue, not yet connected."""
        notices: list[Notice] = []
        queue = self._world.kit.queue(on_event=notices.append, **options)
        actor = Actor(self, label, queue, notices)
        self._actors.append(actor)
        return actor

    async def connected(self, label: str = "queue", **options: Any) -> Actor:
        """A queue that is connected."""
        actor = self.queue(label, **options)
        await actor.connect()
        return actor

    def server(self, **rules: Any) -> Server:
        """A server of this scenario's own, until the scenario ends."""
        return self._servers.enter_context(self._world.serve(Rules(**rules)))

    async def crash(self, server: Server, *queues: Actor) -> None:
        """End a server, and wait until these queues have noticed."""
        for queue in queues:
            # With bytes under way it would be chance what is lost, and how the end looks.
            await queue.raw.flush()
        before = [queue.disconnects() for queue in queues]
        server.kill()
        await self.until(lambda: all(map(gt, [queue.disconnects() for queue in queues], before)))
        self.write("the server has crashed")

    async def come_back(self, server: Server, *queues: Actor) -> None:
        """Start a server again, and wait until these queues are connected to it."""
        server.start()
        for queue in queues:
            assert await queue.raw.wait_connected(10.0)
        self.write("the server is back")

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for what nothing announces."""
        await self._world.kit.until(condition)

    async def beside(self, *bodies: Callable[[], Awaitable[object]]) -> None:
        """Run bodies beside one another, each with actors of its own.

        No order between actors is claimed: their lines are sorted by actor.
        """
        self._lanes = {}
        await self._world.kit.gather(*bodies)
        lanes, self._lanes = self._lanes, None
        for label in sorted(lanes):
            self.trace += [f"beside: {line}" for line in lanes[label]]

    def show(self, what: str, look: Callable[..., object], *args: object) -> None:
        """Write down what an expression gives or raises."""
        try:
            self.write(f"{what} -> {_shown(look(*args))}")
        except NASQError as error:
            self.write(f"{what} raises {_raised(error)}")
        except Exception as error:
            # Python's own words change with its version.
            self.write(f"{what} raises {type(error).__name__}")

    def write(self, line: str, label: str = "") -> None:
        """Put a line into the trace, with what differs from run to run replaced by a word."""
        line = line.replace(self._world.kit.namespace, "NS")
        line = re.sub(r"(127\.0\.0\.1|localhost):\d+", "HOST:PORT", line)
        line = re.sub(r"_INBOX\.\w{22}", "_INBOX.ID", line)
        # Of a server that is killed the kernel may close the connections before the listener: who
        # connects again at once is accepted then, and reset.
        line = re.sub(
            r"\[Errno \d+\] Connection reset by peer", "[Errno N] Connection refused", line
        )
        line = re.sub(r"\[Errno \d+\]", "[Errno N]", line)
        # A server that is being killed may have taken the connection already.
        line = line.replace("[Errno N] Connection reset by peer", "[Errno N] Connection refused")
        line = re.sub(r"(can't be sent as JSON: ).*", r"\1WHY", line)
        line = line.replace("BlockingNASQueue", "NASQueue")
        lane = self.trace if self._lanes is None else self._lanes.setdefault(label, [])
        lane.append(line)

    async def leave(self) -> None:
        """Disconnect everyone, and write down what they were told and how they end."""
        for actor in self._actors:
            await actor.raw.disconnect()
        for actor in self._actors:
            await self.until(actor.has_ended)
            for notice in _together(actor.notices):
                self.write(f"{actor.label} was told {notice!r}")
            stats = "its share" if actor.shares else _shown(actor.raw.stats())
            self.write(f"{actor.label} ends as {actor!r} with {stats}")


class Actor:
    """A queue whose every call is written down.

    Attributes:
        label: what it is called in the trace.
        raw: the queue, for what is not to be written down.
        notices: what `on_event` was called with.
        shares: how much comes to it is the server's choice, so its stats are not written down.
    """

    def __init__(self, stage: Stage, label: str, raw: NASQueue, notices: list[Notice]) -> None:
        self.label = label
        self.raw = raw
        self.notices = notices
        self.shares = False
        self._stage = stage

    def __repr__(self) -> str:
        return repr(getattr(self.raw, "blocking", self.raw))

    def also(self, label: str) -> Actor:
        """The same queue under another label, for what is called beside."""
        return Actor(self._stage, label, self.raw, self.notices)

    def disconnects(self) -> int:
        """How often it was told that its connection is gone."""
        return sum(isinstance(notice, Disconnected) for notice in self.notices)

    def has_ended(self) -> bool:
        """It was never connected, or was told that it is closed."""
        told = bool(self.notices) and isinstance(self.notices[-1], Closed)
        return told or "not connected yet," in repr(self)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.raw, name)
        if not callable(value):
            self._write(name, f"-> {_shown(value)}")
            return value
        if inspect.iscoroutinefunction(getattr(NASQueue, name)):
            return partial(self._await, name, value)
        return partial(self._call, name, value)

    async def iterate(self, count: int) -> None:
        """Take `count` messages, or what there is, with `async for`."""
        taken = []
        end = ""
        try:
            async for message in self.raw:
                taken.append(message)
                if len(taken) == count:
                    break
        except ConnectionError as error:
            end = f", then raises {_raised(error)}"
        self._write(f"async for, at most {count}", f"-> {_shown(taken)}{end}")

    async def _await(self, name: str, method: Any, *args: Any, **kwargs: Any) -> Any:
        call = _call(name, args, kwargs)
        try:
            result = await method(*args, **kwargs)
        except Exception as error:
            self._write(call, f"raises {_raised(error)}")
            return None
        self._write(call, f"-> {_shown(result)}")
        return result

    def _call(self, name: str, method: Any, *args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        self._write(_call(name, args, kwargs), f"-> {_shown(result)}")
        return result

    def _write(self, call: str, outcome: str) -> None:
        self._stage.write(f"{self.label}.{call} {outcome}", self.label)


def _call(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    shown = [_shown(arg) for arg in args]
    shown += [f"{key}={_shown(value)}" for key, value in kwargs.items()]
    return f"{name}({', '.join(shown)})"


def _raised(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _shown(value: object) -> str:
    """A value in a line: as its repr, but for what is long, or has a repr that says too little."""
    if isinstance(value, Message):
        headers = value.headers and {key: value.headers.get_all(key) for key in value.headers}
        fields: dict[str, object] = {"subject": value.subject, "message": value.message}
        fields |= {"headers": headers} if headers else {}
        fields |= {"reply_to": value.reply_to} if value.reply_to else {}
        return _call("Message", (), fields)
    if isinstance(value, Stats):
        return _call("Stats", (), {k: v for k, v in value._asdict().items() if v})
    if isinstance(value, list) and value and isinstance(value[0], Message):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, (str, bytes)) and len(value) > _LONGEST:
        return f"<{type(value).__name__} of {len(value)}>"
    if isinstance(value, memoryview):
        return f"memoryview({value.obj!r})"
    return re.sub(r" at 0x\w+", "", repr(value))


def _together(notices: list[Notice]) -> list[Notice]:
    """The notices; drops, which are told at most once a second, added up at the end."""
    told = [notice for notice in notices if not isinstance(notice, SlowConsumer)]
    drops = [notice for notice in notices if isinstance(notice, SlowConsumer)]
    if drops:
        told.append(SlowConsumer(sum(notice.dropped for notice in drops), drops[-1].total))
    return told
