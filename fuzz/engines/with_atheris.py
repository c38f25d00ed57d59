"""The engine `atheris`: libFuzzer, with nasq_proto instrumented.

libFuzzer does not return but ends its process. So this module runs itself as a program in a child
process for each target, and reads what libFuzzer prints.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from fuzz.corpus import CORPUS, DICTIONARY, inputs_in
from fuzz.engines import Result
from fuzz.targets import TARGETS, Target

__all__ = ["available", "run"]

_LINE: Final = re.compile(r"#(\d+)\s.*cov: (\d+).* corp: (\d+)/")
_DONE: Final = re.compile(r"stat::number_of_executed_units: +(\d+)")
_INPUT_SECONDS: Final = 10
_INPUT_MIB: Final = 1024
# Reading a stream byte by byte takes time for each byte. The built-in engine makes longer inputs.
_LARGEST: Final = 64


def available() -> bool:
    """Whether atheris is installed."""
    return find_spec("atheris") is not None


def run(target: Target, seconds: float, seed: int, progress: Callable[[Result], None]) -> Result:
    """Fuzz one target."""
    from fuzz import crash

    result = Result(target.name)
    corpus = CORPUS / (target.corpus or target.name)
    known = 0
    last: deque[str] = deque(maxlen=20)
    with tempfile.TemporaryDirectory(prefix="nasq-fuzz-") as directory:
        found, artifacts = Path(directory, "found"), Path(directory, "artifacts")
        found.mkdir()
        artifacts.mkdir()
        clock = Path(directory, "clock")
        command = [
            *(sys.executable, "-m", "fuzz.engines.with_atheris", target.name, str(clock)),
            str(found),
            *([str(corpus)] if corpus.is_dir() else []),
            f"-max_total_time={max(1, round(seconds))}",
            f"-seed={seed}",
            f"-dict={DICTIONARY}",
            f"-artifact_prefix={artifacts}/",
            f"-timeout={_INPUT_SECONDS}",
            f"-rss_limit_mb={_INPUT_MIB}",
            f"-max_len={_LARGEST}",
            "-print_final_stats=1",
        ]
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, errors="replace"
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                last.append(line)
                if match := _LINE.match(line):
                    result.inputs = int(match[1])
                    result.coverage, result.corpus = int(match[2]), int(match[3])
                    if "INITED" in line:
                        known = result.coverage
                    result.new = result.coverage - known
                    _read_clock(clock, result, target)
                    progress(result)
                elif match := _DONE.search(line):
                    result.inputs = int(match[1])
        _read_clock(clock, result, target)
        result.found = list(inputs_in(found).values())
        for data in inputs_in(artifacts).values():
            try:
                target.test_one_input(data)
            except Exception as error:  # the same fault, in this process
                result.crashes.append(crash.report(target, data, error))
            else:
                bounds = f"{_INPUT_SECONDS} s or {_INPUT_MIB} MiB"
                slow = RuntimeError(
                    f"libFuzzer stopped at this input; it may need more than {bounds}"
                )
                result.crashes.append(crash.report(target, data, slow))
        if process.returncode and not result.crashes:
            tail = "".join(last)
            result.crashes.append(f"atheris ended with status {process.returncode}:\n{tail}")
    return result


def _read_clock(clock: Path, result: Result, target: Target) -> None:
    """Read the number of inputs and the processor time that the child process has written."""
    with suppress(OSError, ValueError):
        inputs, seconds = clock.read_text(encoding="ascii").split()
        result.seconds = float(seconds)
        result.executions = int(inputs) * target.executions


def _main() -> None:
    atheris: Any = import_module("atheris")
    name, clock, *arguments = sys.argv[1:]
    target = TARGETS[name]
    # atheris instruments modules on import. Importing this module did not import nasq_proto.
    with atheris.instrument_imports(include=["nasq_proto"], exclude=list(target.not_instrumented)):
        test_one_input = target.test_one_input
    count = 0
    start = time.process_time()

    def one(data: bytes) -> None:
        nonlocal count
        test_one_input(data)
        count += 1
        if not count & 1023:
            text = f"{count} {time.process_time() - start}"
            Path(clock).write_text(text, encoding="ascii")

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


if __name__ == "__main__":
    _main()
