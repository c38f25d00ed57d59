"""Ctrl-C, SIGTERM and SIGHUP: no traceback at any time, and the exit status that shells expect."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .running import PATIENCE, end, running, watching

# Interrupts the process when it begins to load a module, or when it exits.
INTERRUPTS = """
import atexit, os, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
if {name!r} == "exit":
    atexit.register(os.kill, os.getpid(), signal.SIGINT)
sys.argv[1:] = ["--version"] if {name!r} == "exit" else ["push", "a", "x"]
import nasq.cli
sys.exit(nasq.cli.main())
"""


@pytest.mark.parametrize(
    "name", ["nasq_proto.client", "click", "click.types", "nasq.cli.push", "exit"]
)
def test_ctrl_c_during_start_and_exit_is_quiet(name: str, nowhere: str) -> None:
    code = INTERRUPTS.format(name=name)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT  # a shell reports 130
    assert done.stderr == ""


def test_the_installed_script_starts_with_the_same_function() -> None:
    script = Path(sys.executable).with_name("nasq")
    assert "from nasq.cli import main" in script.read_text()
    done = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("nasq, version ")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("backend", ["asyncio", "trio", "blocking"])
def test_a_signal_ends_bench_on(backend: str, number: int, status: int, url: str) -> None:
    with watching("-n", "bench", "-c", "1") as watch:
        arguments = ["-n", "bench", "-b", backend, "-m", "10", "-r", "100000000"]
        with running("bench", *arguments) as bench:
            assert watch.wait(PATIENCE) == 0, "it has begun"
            assert end(bench, number) == ("", "")
            assert bench.returncode == status


def test_ignored_signals_stay_ignored(url: str) -> None:
    """`nohup` and a shell's `&` ignore signals for the commands that they start."""
    code = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    code += "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    code += "os.execv(sys.executable, [sys.executable, '-m', 'nasq', 'watch', '-n', 'ignored'])"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as watch:
        assert watch.stderr is not None, "it is a pipe"
        assert watch.stderr.readline().startswith("watching ")
        os.kill(watch.pid, signal.SIGHUP)
        os.kill(watch.pid, signal.SIGINT)
        os.kill(watch.pid, signal.SIGTERM)
        assert watch.wait(PATIENCE) == 143
