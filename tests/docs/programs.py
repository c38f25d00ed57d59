"""Run the programs of docs/examples as a reader would: `python NAME.py`, in the same folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from nasq.server import LocalServer

from .pages import program

__all__ = ["PATIENCE", "Program", "environment", "run"]

# Seconds that a program may take for anything that a test waits for.
PATIENCE = 60.0
_LOCALHOST = Path(__file__).parent / "localhost"
# A program that gives a warning is a bad example. Without -X dev: on a slow machine asyncio would
# report slow callbacks.
_STRICT = (sys.executable, "-W", "error")


def environment(server: LocalServer) -> dict[str, str]:
    """The environment in which localhost:4222 is `server`."""
    return {
        **os.environ,
        "NASQ_DOCS_PORT": str(server.port),
        "NATS_URL": server.url,
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(_LOCALHOST), os.environ.get("PYTHONPATH")])
        ),
        "PYTHONUNBUFFERED": "1",
    }


def run(server: LocalServer, name: str, *arguments: str, command: Sequence[str] = ()) -> str:
    """Run a program to its end, and return what it has printed.

    It must exit with status 0 and write nothing to standard error. `command` is what runs it, in
    place of Python, and is followed by the program's name.
    """
    path = program(name)
    done = subprocess.run(
        [*(command or _STRICT), path.name, *arguments],
        cwd=path.parent,
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{name}: {done.stdout}{done.stderr}"
    return done.stdout


class Program:
    """A program that runs beside the test, as in another terminal. The test's end kills it.

    Args:
        server: what localhost:4222 is for the program.
        name: the program's file name; the current folder is the one that contains it.
        arguments: of the program.
        command: what runs it, in place of Python. The program's name does not follow.
    """

    def __init__(
        self, server: LocalServer, name: str, *arguments: str, command: Sequence[str] = ()
    ) -> None:
        path = program(name)
        self._name = name
        self._lines: list[str] = []
        self.process: subprocess.Popen[str] = subprocess.Popen(
            list(command) or [*_STRICT, path.name, *arguments],
            cwd=path.parent,
            env=environment(server),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def _read(self) -> None:
        assert self.process.stdout is not None, "it is a pipe"
        with self.process.stdout as lines:
            self._lines.extend(iter(lines.readline, ""))

    @property
    def output(self) -> str:
        """What it has printed so far, errors included."""
        return "".join(self._lines)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until its output contains `pattern`."""
        deadline = time.monotonic() + PATIENCE
        while True:
            over = time.monotonic() > deadline
            if self.process.poll() is not None:
                self._reader.join()
                over = True
            match = re.search(pattern, self.output)
            if match is not None:
                return match
            assert not over, f"{self._name} has not printed {pattern!r} but\n{self.output}"
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, number: signal.Signals | None = None, *, status: int = 0) -> str:
        """Wait for its end, after a signal if one is given, and return what it has printed."""
        if number is not None:
            self.send(number)
        got = self.process.wait(PATIENCE)
        self._reader.join()
        assert got == status, f"{self._name} ended with {got}:\n{self.output}"
        return self.output

    def kill(self) -> None:
        """End it at once, together with its children, as a crash does."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()
