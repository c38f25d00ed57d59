"""Measure imports: a fresh interpreter that imports a client, against one that does nothing.

All modules are compiled before, as an installer does. Otherwise the compiler would be measured as
well for a client that runs from a checkout.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from .rows import PEERS
from .sample import Sample

_ALONE = "from tests.benchmarks.peers import nats_core_alone; nats_core_alone(); "
_CODE = {
    "nats-py": "import nats",
    "natsio": "import natsio",
    "nats-core": "import nats.client",
}


def import_time(contender: str, count: int, module: str) -> Sample:
    """Return milliseconds: the fastest of `count` starts."""
    code = _CODE[contender] if contender in PEERS else f"import {module}"
    bare = "pass"
    if contender == "nats-core":
        # Without nats-py, whose package it shares. This needs a few imports, so the interpreter
        # that does nothing makes them as well.
        code, bare = _ALONE + code, _ALONE
    # Imported here, since the imports of a worker count in every other measurement.
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        _start(code, environment)
        with_it, without = [], []
        for _ in range(count):
            with_it.append(_start(code, environment))
            without.append(_start(bare, environment))
    return Sample((min(with_it) - min(without)) * 1e3, 0.0)


def _start(code: str, environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return time.perf_counter() - start
