"""Run scenarios: queues that record each call, and servers that can crash.

A scenario is a coroutine function that takes a `Stage`. Each call of its queues is one line of the
trace: the call, and its result or the type of the error. An error does not end the scenario.
Ports, namespaces and inbox names are replaced by placeholders; everything else must be the same in
each world. The texts of errors are not recorded: other tests check them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from operator import gt
from typing import Any, Final

from nasq import Closed, Connected, Disconnected, Message, NASQueue, SlowConsumer, Stats
from nasq_proto import Notice

from .worlds import Rules, Server, World

__all__ = ["MODULES", "SCENARIOS", "Actor", "Stage", "each", "play", "scenario"]

Trace = list[str]
Body = Callable[["Stage"], Coroutine[Any, Any, None]]
BodyOfCase = Callable[["Stage", Any], Coroutine[Any, Any, None]]

SCENARIOS: Final[dict[str, Body]] = {}
# The module of each scenario, by its last name: its trace is recorded in a file of that name.
MODULES: Final[dict[str, str]] = {}

# A longer value is recorded as its length.
_LONGEST: Final = 80


def scenario(body: Body) -> Body:
    """Add a coroutine function to the scenarios, under its name."""
    _enter(body.__name__, body, body.__module__)
    return body


def each(cases: dict[str, Any]) -> Callable[[BodyOfCase], BodyOfCase]:
    """Add a coroutine function once for each case, under its name and the name of the case."""

    def enter(body: BodyOfCase) -> BodyOfCase:
        for name, case in cases.items():
            name = f"{body.__name__}: {name}"
            _enter(name, partial(_play_case, body, case), body.__module__)
        return body

    return enter


async def _play_case(body: BodyOfCase, case: Any, stage: Stage) -> None:
    await body(stage, case)


def _enter(name: str, body: Body, module: str) -> None:
    name = name.replace("_", " ")
    assert name not in SCENARIOS, f"two scenarios are named {name!r}"
    SCENARIOS[name] = body
    MODULES[name] = module.rpartition(".")[2]


def play(name: str, world: World) -> Trace:
    """Run one scenario in one world, and return its trace."""
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
        trace: the lines recorded so far.
    """

    def __init__(self, world: World, servers: ExitStack) -> None:
        self.trace: Trace = []
        self._world = world
        self._servers = servers
        self._actors: list[Actor] = []
        # The lines of each actor, while calls run concurrently.
        self._lanes: dict[str, Trace] | None = None

    def queue(self, label: str = "queue", **options: Any) -> Actor:
        """A queue that is not connected yet."""
        notices: list[Notice] = []
        queue = self._world.kit.queue(on_event=notices.append, **options)
        actor = Actor(self, label, queue, notices)
        self._actors.append(actor)
        return actor

    async def connected(self, label: str = "queue", **options: Any) -> Actor:
        """A queue after `connect()`, which is recorded only if it fails."""
        actor = self.queue(label, **options)
        if not await actor.raw.connect():
            self.write(f"{label}.connect() -> False")
        return actor

    def server(self, **rules: Any) -> Server:
        """A separate server, which runs until the scenario ends."""
        return self._servers.enter_context(self._world.serve(Rules(**rules)))

    async def crash(self, server: Server, *queues: Actor) -> None:
        """Kill a server, and wait until these queues are disconnected."""
        for queue in queues:
            # With data in flight it would be chance which messages are lost.
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
        """Poll a condition until it is true."""
        await self._world.kit.until(condition)

    async def beside(self, *bodies: Callable[[], Awaitable[object]]) -> None:
        """Run bodies concurrently, each with separate actors.

        The order between actors is not recorded: the lines are sorted by actor.
        """
        self._lanes = {}
        await self._world.kit.gather(*bodies)
        lanes, self._lanes = self._lanes, None
        for label in sorted(lanes):
            self.trace += [f"| {line}" for line in lanes[label]]

    def show(self, what: str, look: Callable[..., object], *args: object) -> None:
        """Record the value of an expression, or the type of its error."""
        try:
            self.write(f"{what} -> {_shown(look(*args))}")
        except Exception as error:
            self.write(f"{what} raises {type(error).__name__}")

    def write(self, line: str, label: str = "") -> None:
        """Add a line to the trace, with placeholders for what differs from run to run."""
        line = line.replace(self._world.kit.namespace, "NS")
        line = re.sub(r"(127\.0\.0\.1|localhost):\d+", "HOST:PORT", line)
        line = re.sub(r"_INBOX\.\w{22}", "_INBOX.ID", line)
        line = line.replace("BlockingNASQueue", "NASQueue")
        lane = self.trace if self._lanes is None else self._lanes.setdefault(label, [])
        lane.append(line)

    async def leave(self) -> None:
        """Disconnect all queues, and record their events and counters.

        The usual events, Connected and Closed without an error, are not recorded.
        """
        for actor in self._actors:
            await actor.raw.disconnect()
        for actor in self._actors:
            await self.until(actor.has_ended)
            notices = _merged(actor.notices)
            kinds = [type(notice) for notice in notices]
            if kinds != [Connected, Closed] or notices[-1] != Closed(None, 0):
                self.write(f"{actor.label} events: {', '.join(map(_notice, notices)) or 'none'}")
            if not actor.shares:
                self.write(f"{actor.label} stats: {_counters(actor.raw.stats()) or 'none'}")


class Actor:
    """A queue that records each call.

    Attributes:
        label: its name in the trace.
        raw: the queue itself, for calls that are not recorded.
        notices: the events that `on_event` was called with.
        shares: whether the server chooses how many messages it receives. Then its counters are
            not recorded.
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
        """The same queue under another label, for concurrent calls."""
        return Actor(self._stage, label, self.raw, self.notices)

    def disconnects(self) -> int:
        """The number of Disconnected events."""
        return sum(isinstance(notice, Disconnected) for notice in self.notices)

    def has_ended(self) -> bool:
        """Whether it was never connected, or reported Closed."""
        closed = bool(self.notices) and isinstance(self.notices[-1], Closed)
        return closed or "not connected yet," in repr(self)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.raw, name)
        if not callable(value):
            self._write(name, _result(value))
            return value
        if inspect.iscoroutinefunction(getattr(NASQueue, name)):
            return partial(self._await, name, value)
        return partial(self._call, name, value)

    async def iterate(self, count: int) -> None:
        """Take at most `count` messages with `async for`."""
        taken = []
        end = ""
        try:
            async for message in self.raw:
                taken.append(message)
                if len(taken) == count:
                    break
        except ConnectionError as error:
            end = f", then raises {type(error).__name__}"
        self._write(f"async for, at most {count}", f" -> {_shown(taken)}{end}")

    async def _await(self, name: str, method: Any, *args: Any, **kwargs: Any) -> Any:
        call = _call(name, args, kwargs)
        try:
            result = await method(*args, **kwargs)
        except Exception as error:
            self._write(call, f" raises {type(error).__name__}")
            return None
        self._write(call, _result(result))
        return result

    def _call(self, name: str, method: Any, *args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        self._write(_call(name, args, kwargs), _result(result))
        return result

    def _write(self, call: str, outcome: str) -> None:
        self._stage.write(f"{self.label}.{call}{outcome}", self.label)


def _call(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    shown = [_shown(arg) for arg in args]
    shown += [f"{key}={_shown(value)}" for key, value in kwargs.items()]
    return f"{name}({', '.join(shown)})"


def _result(value: object) -> str:
    return "" if value is None else f" -> {_shown(value)}"


def _shown(value: object) -> str:
    """A value as it is recorded: its repr, with exceptions for some types and for long values."""
    if isinstance(value, Message):
        headers = value.headers and {key: value.headers.get_all(key) for key in value.headers}
        fields: dict[str, object] = {"subject": value.subject, "message": value.message}
        fields |= {"headers": headers} if headers else {}
        fields |= {"reply_to": value.reply_to} if value.reply_to else {}
        return _call("Message", (), fields)
    if isinstance(value, Stats):
        return f"Stats({_counters(value)})"
    if isinstance(value, Exception):
        return type(value).__name__
    if isinstance(value, list) and value and isinstance(value[0], Message):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, (str, bytes)) and len(value) > _LONGEST:
        return f"<{type(value).__name__} of {len(value)}>"
    if isinstance(value, memoryview):
        return f"memoryview({value.obj!r})"
    return re.sub(r" at 0x\w+", "", repr(value))


def _counters(stats: Stats) -> str:
    """The counters that are not 0."""
    return ", ".join(f"{name}={count}" for name, count in stats._asdict().items() if count)


def _notice(notice: Notice) -> str:
    """The type of an event and its fields, except for the server's address and unset fields."""
    slots: tuple[str, ...] = notice.__slots__
    fields = [(name, getattr(notice, name)) for name in slots if name != "server"]
    shown = [f"{name}={_shown(value)}" for name, value in fields if value]
    return f"{type(notice).__name__}({', '.join(shown)})" if shown else type(notice).__name__


def _merged(notices: list[Notice]) -> list[Notice]:
    """The events, with all SlowConsumer events added up into one at the end.

    SlowConsumer is reported at most once a second, so their number is chance.
    """
    others = [notice for notice in notices if not isinstance(notice, SlowConsumer)]
    drops = [notice for notice in notices if isinstance(notice, SlowConsumer)]
    if drops:
        others.append(SlowConsumer(sum(notice.dropped for notice in drops), drops[-1].total))
    return others
