"""`nasq bench`: how fast it is here, on each transport.

Three measures: pushing until the server has confirmed it all; from one queue through the server
into another and out of it; and the round trip of a request. Sender and receiver share a process,
so the second is what one core does for both.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from nasq import BlockingNASQueue, Message, MissingDependencyError, NASQueue

from .connection import Target, connection_options, some_server

__all__ = ["bench"]

# Subjects: one that nobody listens to, one that the receiver pops, one that it answers on.
_NOWHERE: Final = "nowhere"
_FLOW: Final = "flow"
_ECHO: Final = "echo"
_CHUNK: Final = 500
_PATIENCE: Final = 30.0
_REQUESTS: Final = 2000

Step = Callable[[], Awaitable[None]]
Together = Callable[[Step, Step], Awaitable[None]]


class Job(NamedTuple):
    """What is measured, and who wants to hear how far it is."""

    servers: tuple[str, ...]
    namespace: str
    messages: int
    payload: bytes
    requests: int
    tick: Callable[[int], None]

    @property
    def steps(self) -> int:
        """How much `tick` is called for in sum."""
        return 2 * self.messages + self.requests

    def chunks(self) -> Iterator[int]:
        """The messages in portions: between them there is time for the progress bar."""
        for at in range(0, self.messages, _CHUNK):
            yield min(_CHUNK, self.messages - at)


class Result(NamedTuple):
    """What came out: seconds for all messages, and for each request."""

    push: float
    flow: float
    round_trips: list[float]

    def percentile(self, percent: int) -> float:
        """Seconds within which so many percent of the requests were answered."""
        return statistics.quantiles(self.round_trips, n=100, method="inclusive")[percent - 1]


# ---------------------------------------------------------------------- measuring


async def _measure(job: Job, together: Together) -> Result:
    """On an event loop. The same for asyncio and trio, but for running two steps together."""
    async with (
        NASQueue(servers=job.servers, namespace=job.namespace, reconnect=None) as sender,
        NASQueue(servers=job.servers, namespace=job.namespace, reconnect=None) as receiver,
    ):
        start = time.perf_counter()
        for count in job.chunks():
            await sender.push_many(_NOWHERE, [job.payload] * count)
            sender.clear_queue()  # what nobody listens to, push keeps here
            job.tick(count)
        await sender.flush(_PATIENCE)
        push = time.perf_counter() - start

        async def send() -> None:
            for count in job.chunks():
                for _ in range(count):
                    await sender.publish(_FLOW, job.payload)

        async def receive() -> None:
            for count in job.chunks():
                for _ in range(count):
                    _came(await receiver.pop(_PATIENCE))
                job.tick(count)

        await receiver.subscribe_and_queue(_FLOW)
        start = time.perf_counter()
        await together(send, receive)
        flow = time.perf_counter() - start

        async def answer() -> None:
            for _ in range(job.requests):
                request = _came(await receiver.pop(_PATIENCE))
                await receiver.respond(request, request.message)

        round_trips: list[float] = []

        async def ask() -> None:
            for _ in range(job.requests):
                asked = time.perf_counter()
                await sender.request(_ECHO, job.payload)
                round_trips.append(time.perf_counter() - asked)
                job.tick(1)

        await receiver.subscribe_and_queue(_ECHO)
        await together(answer, ask)
        return Result(push, flow, round_trips)


def _measure_asyncio(job: Job) -> Result:
    async def together(first: Step, second: Step) -> None:
        await asyncio.gather(first(), second())

    return asyncio.run(_measure(job, together))


def _measure_trio(job: Job) -> Result:
    import trio  # optional

    async def together(first: Step, second: Step) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(first)
                nursery.start_soon(second)
        except BaseExceptionGroup as group:  # as asyncio.gather: whoever failed first
            raise group.exceptions[0] from None

    return trio.run(_measure, job, together)


def _measure_blocking(job: Job) -> Result:
    """The same in plain code, with a thread for the other side."""
    with (
        BlockingNASQueue(servers=job.servers, namespace=job.namespace, reconnect=None) as sender,
        BlockingNASQueue(servers=job.servers, namespace=job.namespace, reconnect=None) as receiver,
    ):
        start = time.perf_counter()
        for count in job.chunks():
            sender.push_many(_NOWHERE, [job.payload] * count)
            sender.clear_queue()
            job.tick(count)
        sender.flush(_PATIENCE)
        push = time.perf_counter() - start

        def send() -> None:
            for _ in range(job.messages):
                sender.publish(_FLOW, job.payload)

        receiver.subscribe_and_queue(_FLOW)
        start = time.perf_counter()
        other = threading.Thread(target=send, daemon=True)
        other.start()
        for count in job.chunks():
            for _ in range(count):
                _came(receiver.pop(_PATIENCE))
            job.tick(count)
        other.join()
        flow = time.perf_counter() - start

        def answer() -> None:
            for _ in range(job.requests):
                request = _came(receiver.pop(_PATIENCE))
                receiver.respond(request, request.message)

        round_trips: list[float] = []
        receiver.subscribe_and_queue(_ECHO)
        other = threading.Thread(target=answer, daemon=True)
        other.start()
        for _ in range(job.requests):
            asked = time.perf_counter()
            sender.request(_ECHO, job.payload)
            round_trips.append(time.perf_counter() - asked)
            job.tick(1)
        other.join()
        return Result(push, flow, round_trips)


def _came(message: Message | None) -> Message:
    if message is None:
        raise click.ClickException(f"no message came for {_PATIENCE:g} s: is the server all right?")
    return message


_MEASURES: Final = {
    "asyncio": _measure_asyncio,
    "trio": _measure_trio,
    "blocking": _measure_blocking,
}


# ---------------------------------------------------------------------- the command


@click.command()
@click.option(
    "-m",
    "--messages",
    type=click.IntRange(1),
    default=50_000,
    show_default=True,
    help="How many to push, and how many to receive.",
)
@click.option(
    "--size", type=click.IntRange(0), default=128, show_default=True, help="Bytes of a payload."
)
@click.option(
    "-t",
    "--transport",
    type=click.Choice([*_MEASURES, "all"]),
    default="all",
    show_default=True,
    help="What runs the queue.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@connection_options
def bench(target: Target, messages: int, size: int, transport: str, as_json: bool) -> None:
    """Measure pushing, receiving and requests on this machine.

    Starts a nats-server when nothing answers at the address.

    "push" is until the server has confirmed them all. "push to pop" is from one queue through
    the server into another, popped one by one; both are in this process. "round trip" is a
    request and its reply, one after the other.

    With --json, rates are in messages a second and round trips in seconds.
    """
    transports = _chosen(transport)
    results: dict[str, Result] = {}
    with some_server(target) as (target, _), _progress(as_json) as progress:
        for name in transports:
            task = progress.add_task(name)
            job = Job(
                target.servers,
                f"{target.namespace}.bench-{secrets.token_hex(3)}",
                messages,
                b"x" * size,
                min(_REQUESTS, max(2, messages // 10)),
                partial(progress.advance, task),
            )
            progress.update(task, total=job.steps)
            results[name] = _MEASURES[name](job)
    if as_json:
        click.echo(json.dumps(_as_json(target, messages, size, results)))
    else:
        console = Console()
        console.print(f"{messages:,} messages of {size:,} bytes, server at {target.addresses}")
        console.print(_table(messages, results))


def _chosen(transport: str) -> list[str]:
    has_trio = find_spec("trio") is not None
    if transport == "all":
        if not has_trio:
            click.echo("not on trio, which isn't installed: pip install 'nasq[trio]'", err=True)
        return [name for name in _MEASURES if name != "trio" or has_trio]
    if transport == "trio" and not has_trio:
        raise MissingDependencyError(
            "trio is not installed: python -m pip install 'nasq[trio]', or choose another transport"
        )
    return [transport]


def _progress(quiet: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("[cyan]{task.description:8}"),
        BarColumn(40),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )


def _as_json(
    target: Target, messages: int, size: int, results: dict[str, Result]
) -> dict[str, Any]:
    return {
        "servers": target.addresses,
        "messages": messages,
        "size": size,
        "results": [
            {
                "transport": name,
                "push_rate": round(messages / result.push, 1),
                "push_to_pop_rate": round(messages / result.flow, 1),
                "requests": len(result.round_trips),
                "round_trip": {f"p{p}": round(result.percentile(p), 7) for p in (50, 90, 99)},
            }
            for name, result in results.items()
        ],
    }


def _table(messages: int, results: dict[str, Result]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("transport")
    for heading in ("push", "push to pop", "round trip p50", "p90", "p99"):
        table.add_column(heading, justify="right")
    for name, result in results.items():
        table.add_row(
            Text(name, style="cyan"),
            f"{messages / result.push:,.0f}/s",
            f"{messages / result.flow:,.0f}/s",
            *(f"{result.percentile(p) * 1e6:,.0f} µs" for p in (50, 90, 99)),
        )
    return table
