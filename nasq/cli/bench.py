"""`nasq bench`: measure each backend against a server."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import click

from .command import Command
from .options import connection_options

if TYPE_CHECKING:
    from .measure import Result
    from .target import Target

__all__ = ["bench"]

_BACKENDS: Final = ("asyncio", "trio", "blocking")
_PERCENTILES: Final = (50, 90, 99, 99.9)


@click.command(cls=Command, short_help="Measure push, pop and request against a server.")
@click.option(
    "-m",
    "--messages",
    type=click.IntRange(1),
    metavar="N",
    default=50_000,
    show_default=True,
    help="The number of messages to push and to pop.",
)
@click.option(
    "--size",
    "sizes",
    type=click.IntRange(0),
    multiple=True,
    metavar="BYTES",
    default=(128,),
    help="The size of a payload. May be given more than once. [default: 128]",
)
@click.option(
    "-r",
    "--requests",
    type=click.IntRange(1),
    metavar="N",
    default=5_000,
    show_default=True,
    help="The number of requests.",
)
@click.option(
    "-c",
    "--concurrency",
    type=click.IntRange(1),
    metavar="N",
    default=1,
    show_default=True,
    help="The number of requests that are in flight at the same time.",
)
@click.option(
    "-b",
    "--backend",
    type=click.Choice([*_BACKENDS, "all"]),
    default="all",
    show_default=True,
    help="The transport to measure.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON object.")
@connection_options
def bench(
    target: Target,
    messages: int,
    sizes: tuple[int, ...],
    requests: int,
    concurrency: int,
    backend: str,
    as_json: bool,
) -> None:
    """Measure push, pop and request against a server.

    If no server answers at the address, a nats-server is started.

    "push" and "push_many" (in batches of 500) are measured until the server has confirmed all
    messages. "pop" is measured from one queue through the server to another queue, which pops the
    messages one by one. "request" is a request and its reply between two queues. Both queues are
    in this process, so it does the work of both sides.

    With --json rates are per second, and round trips are in seconds.

    \b
        nasq bench -b asyncio --size 16 --size 1024
        nasq bench -s nats://broker:4222 -m 1000000 -c 100 --json
    """
    from .bench_report import progress_bar, show
    from .local import some_server
    from .measure import Job, measure

    if sys.stdout is None:
        raise click.UsageError("standard output is closed: there is nowhere to print to")
    backends = _chosen(backend)
    results: list[Result] = []
    with some_server(target) as (target, _), progress_bar(quiet=as_json) as progress:
        for size in sizes:
            for name in backends:
                task = progress.add_task(f"{name}, {size:,} B")
                job = Job(
                    target.within(f"bench-{os.urandom(3).hex()}"),
                    messages,
                    b"x" * size,
                    requests,
                    concurrency,
                    partial(progress.advance, task),
                )
                progress.update(task, total=job.steps)
                results.append(measure(name, job))
    if as_json:
        counts = {"messages": messages, "requests": requests, "concurrency": concurrency}
        report = {"servers": target.addresses, **counts, "results": list(map(_as_json, results))}
        click.echo(json.dumps(report))
    else:
        heading = (
            f"{messages:,} messages, {requests:,} requests ({concurrency:,} at a time), "
            f"server at {target.addresses}"
        )
        show(heading, results, _PERCENTILES)


def _chosen(backend: str) -> list[str]:
    has_trio = find_spec("trio") is not None
    if backend == "all":
        if not has_trio:
            click.echo(
                "skipping trio, which is not installed: python -m pip install 'nasq[trio]'",
                err=True,
            )
        return [name for name in _BACKENDS if name != "trio" or has_trio]
    if backend == "trio" and not has_trio:
        from nasq_proto import MissingDependencyError

        raise MissingDependencyError(
            "trio is not installed: python -m pip install 'nasq[trio]', or choose another backend"
        )
    return [backend]


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "backend": result.backend,
        "size": result.size,
        **{f"{name}_rate": round(rate, 1) for name, rate in result.rates.items()},
        "round_trip": {
            **{f"p{p:g}": round(result.percentile(p), 7) for p in _PERCENTILES},
            "max": round(result.round_trips[-1], 7),
        },
    }
