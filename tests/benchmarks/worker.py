"""Measure once, in its own process, and print a JSON object.

python -m tests.benchmarks.worker ROW CONTENDER PORT COUNT
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

from . import decoders, imports
from .minimal import Minimal
from .nasq_async import NasqAsync
from .nasq_blocking import NasqBlocking
from .peers import PEERS
from .raw import RAW
from .rows import BY_NAME, MINIMAL, PUBLISH, Row
from .sample import Sample


def measure(row: Row, contender: str, port: int, count: int) -> Sample:
    """Return the figure of a contender in a row."""
    match row.kind:
        case "decode":
            return decoders.decode(contender, count, row.detail)
        case "events":
            return decoders.events(contender, count, row.detail)
        case "drip":
            return decoders.drip(contender, count)
        case "growth":
            return decoders.growth(contender, count)
        case "import":
            return imports.import_time(contender, count, row.detail)
    if contender in RAW:
        return RAW[contender](port, count)
    if contender == PUBLISH:
        return NasqAsync("asyncio").push_kept(port, count, int(row.detail), keep=False)
    return _connected(row, _client(contender, row.loop), port, count)


def _client(contender: str, loop: str) -> Any:
    if contender in PEERS:
        peer = PEERS[contender]()
        peer.loop = loop
        return peer
    if contender == MINIMAL:
        return Minimal()
    return NasqBlocking() if contender == "blocking" else NasqAsync(contender)


def _connected(row: Row, client: Any, port: int, count: int) -> Sample:
    match row.kind:
        case "publish":
            sample: Sample = client.publish(port, count, int(row.detail))
        case "push_many":
            sample = client.push_many(port, count, int(row.detail))
        case "receive":
            sample = client.receive(port, count, row.detail)
        case "request":
            sample = client.request(port, count, int(row.detail))
        case "push_kept":
            sample = client.push_kept(port, count, int(row.detail))
        case "respond":
            sample = client.respond(port, count)
        case "echo":
            sample = client.echo(port, count)
        case _:
            sample = client.held(port, count)
    return sample


def peak_mib() -> float:
    """Return the largest memory that this process has used.

    On Linux this is not `ru_maxrss`, which survives exec: a small process that was started by a
    large one would have the peak of the large one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Measure what the arguments name."""
    row, contender, port, count = BY_NAME[sys.argv[1]], sys.argv[2], sys.argv[3], sys.argv[4]
    sample = measure(row, contender, int(port), int(count))
    print(json.dumps({**sample._asdict(), "peak_mib": peak_mib()}))


if __name__ == "__main__":
    main()
