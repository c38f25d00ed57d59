"""Run all scenarios, and compare their traces with the recorded ones.

    python -m tests.scenarios             show the differences
    python -m tests.scenarios --record    record the traces again

The traces in `traces/` are written only if they are the same on asyncio, trio and blocking sockets.
A difference is a change of behaviour, so review it before you commit it.
"""

from __future__ import annotations

import argparse

from nasq.server import LocalServer
from tests.conftest import BACKENDS

from . import record
from .script import MODULES, SCENARIOS, play
from .worlds import on_a_real_server


def main() -> None:
    """Run, compare, record."""
    parser = argparse.ArgumentParser("python -m tests.scenarios", description=__doc__)
    parser.add_argument("--record", action="store_true", help="record the traces again")
    write = parser.parse_args().record
    with LocalServer(jetstream=False) as server:
        traces = {
            backend: {name: play(name, on_a_real_server(backend, server)) for name in SCENARIOS}
            for backend in BACKENDS
        }
    expected = traces[BACKENDS[0]] if write else record.read()
    differences = [
        record.difference(name, expected.get(name, []), trace, backend)
        for backend in BACKENDS
        for name, trace in traces[backend].items()
        if trace != expected.get(name)
    ]
    print(
        "\n".join(differences)
        or f"{len(SCENARIOS)} scenarios, the same on {len(BACKENDS)} backends"
    )
    if differences:
        raise SystemExit(1)
    if write:
        record.write(expected, MODULES)


if __name__ == "__main__":
    main()
