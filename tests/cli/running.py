"""Running a command: to its end, beside the test, or on a terminal."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

__all__ = ["NASQ", "PATIENCE", "end", "nasq", "on_terminal", "running", "until", "watching"]

PATIENCE = 15.0
NASQ = [sys.executable, "-W", "error", "-m", "nasq"]


def nasq(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    done = subprocess.run(
        [*NASQ, *arguments], input=stdin, capture_output=True, timeout=PATIENCE, check=False
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


@contextmanager
def running(
    *arguments: str,
    stdin: int | None = None,
    stdout: int | IO[str] = subprocess.PIPE,
    nasq: Sequence[str] = NASQ,
) -> Iterator[Any]:
    """Run a command beside the test; it is killed if the test leaves it running."""
    with subprocess.Popen(
        [*nasq, *arguments], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def watching(*arguments: str, stdout: int | IO[str] = subprocess.PIPE) -> Iterator[Any]:
    """`nasq watch`, once it is subscribed."""
    with running("watch", *arguments, stdout=stdout) as process:
        line = process.stderr.readline()
        assert line.startswith("watching "), line
        yield process


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that nothing announces."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.02)


def end(process: Any, number: int = signal.SIGINT) -> tuple[str, str]:
    """Send a signal; what is left of its output."""
    process.send_signal(number)
    out, err = process.stdout.read(), process.stderr.read()  # with what readline has read ahead
    process.wait(PATIENCE)
    return out, err


def on_terminal(
    *arguments: str, columns: int = 80, then: Callable[[], None] = lambda: None
) -> tuple[str, str]:
    """Run a command on a terminal to its end; what it wrote there, as it is and without styles.

    Args:
        columns: the terminal's width.
        then: called when it has said something on stderr (or has ended).
    """
    main, other = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "LINES": "40"}
    with subprocess.Popen(
        [*NASQ, *arguments], stdout=other, stderr=subprocess.PIPE, env=environment
    ) as process:
        os.close(other)
        assert process.stderr is not None, "it is a pipe"
        process.stderr.readline()
        then()
        seen = _read_terminal(main)
        assert process.wait(PATIENCE) == 0
    return seen, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)


def _read_terminal(descriptor: int) -> str:
    """All that is written to a terminal until its other side is closed."""
    chunks: list[bytes] = []
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # EIO: how Linux says that the other side is closed
            chunk = b""
        if not chunk:
            os.close(descriptor)
            return b"".join(chunks).decode()
        chunks.append(chunk)
