"""The recorded script: one trace per scenario, the same on every backend.

    python -m tests.scenarios             play everything, and show what differs from the record
    python -m tests.scenarios --record    write the record anew

The record is `trace.json`. It is written only when asyncio, trio and blocking sockets agree. Look
at its diff before you commit it: a diff there is a change of behaviour.
"""

from __future__ import annotations

import argparse

from nasq.server import LocalServer
from tests.conftest import BACKENDS

from . import record
from .script import SCENARIOS, play
from .worlds import on_a_real_server


def main() -> None:
    """Play, compare, write."""
    parser = argparse.ArgumentParser("python -m tests.scenarios", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the record anew")
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
        record.write(expected)


if __name__ == "__main__":
    main()
