"""Run a command to its end, in the background, or on a terminal."""

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
    """Run a command to its end, and return its status and output."""
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
    """Run a command in the background. It is killed on exit."""
    with subprocess.Popen(
        [*nasq, *arguments], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def watching(*arguments: str, stdout: int | IO[str] = subprocess.PIPE) -> Iterator[Any]:
    """Run `nasq watch` in the background; yields when it is subscribed."""
    with running("watch", *arguments, stdout=stdout) as process:
        line = process.stderr.readline()
        assert line.startswith("watching "), line
        yield process


def until(condition: Callable[[], bool]) -> None:
    """Poll a condition until it is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the condition was not true in time"
        time.sleep(0.02)


def end(process: Any, number: int = signal.SIGINT) -> tuple[str, str]:
    """Send a signal, and return the rest of the output and of the errors."""
    process.send_signal(number)
    out, err = process.stdout.read(), process.stderr.read()  # including what readline has buffered
    process.wait(PATIENCE)
    return out, err


def on_terminal(
    *arguments: str, columns: int = 80, then: Callable[[], None] = lambda: None
) -> tuple[str, str]:
    """Run a command on a terminal to its end.

    Args:
        columns: the width of the terminal.
        then: called when the command has written a line to stderr or has ended.

    Returns:
        What it wrote to the terminal, unchanged and without escape sequences.
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
    """Read what is written to a terminal until its other side is closed."""
    chunks: list[bytes] = []
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # EIO on Linux: the other side is closed
            chunk = b""
        if not chunk:
            os.close(descriptor)
            return b"".join(chunks).decode()
        chunks.append(chunk)
