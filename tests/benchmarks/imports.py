"""What importing costs: a fresh interpreter that does, against one that does nothing.

Everyone's modules are compiled beforehand, as an installer does: a checkout that nothing compiled
would be measured with the compiler.
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
        # Without nats-py, in whose package it lives. Having it so costs imports of ours, which are
        # then a part of the interpreter that does nothing.
        code, bare = _ALONE + code, _ALONE
    # Not above: whatever a worker imports is measured with everything else.
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
