"""`nasq demo`: it checks its promises, and it ends after any failure."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nasq.cli.demo_workers import TRANSPORTS, Demo
from nasq.cli.target import Target
from nasq.server import LocalServer, find_server_binary
from tests.e2e.hostile import HostileServer

from .running import PATIENCE, end, nasq, on_terminal, running


def passed(out: str) -> bool:
    return (
        "✓ each of 120 jobs was processed exactly once" in out
        and "✓ no job was received in the other namespace" in out
    )


def test_it_starts_a_server(nowhere: str) -> None:
    done = nasq("demo", "--messages", "60")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"server: nats://{nowhere} (started for this demo)" in done.stdout
    assert passed(done.stdout)
    received = re.findall(r"worker +(asyncio|trio|blocking) +(\d+) +\d+%", done.stdout)
    assert len(received) == 6
    assert sum(int(count) for _, count in received) == 120
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    assert "\n\n\n" not in done.stdout


def test_a_terminal_shows_live_bars(url: str) -> None:
    seen, plain = on_terminal("demo", "-m", "60")
    assert "━" in seen, "bars"
    assert "\x1b[?25l" in seen, "the cursor is hidden"
    assert "\x1b[?25h" in seen, "and shown again"
    assert passed(plain)
    assert f"server: {url.removeprefix('nats://')} (already running)" in plain


def test_a_narrow_terminal(url: str) -> None:
    _, plain = on_terminal("demo", "-m", "60", columns=40)
    assert re.search(r"worker +trio +\d+ received", plain), "words are not cut"
    assert "✓ each of 120 jobs" in plain


def test_running_out_of_time_is_a_failure(url: str) -> None:
    done = nasq("demo", "-m", "300", "--seconds", "0.5")
    assert done.returncode == 1
    assert re.search(
        r"✗ of 600 jobs \d+ were not processed, 0 more than once \(stopped after 0.5 s\)",
        done.stdout,
    )


def test_without_trio(url: str) -> None:
    code = "import sys, importlib.util as util; find = util.find_spec\n"
    code += "util.find_spec = lambda name: None if name == 'trio' else find(name)\n"
    code += "from nasq.cli import run; sys.exit(run(['demo', '-m', '60']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "trio, which is not installed: python -m pip install 'nasq[trio]'" in done.stdout
    assert passed(done.stdout)


def test_a_server_that_dies_is_reported_at_once() -> None:
    with LocalServer() as server, running("demo", "-s", server.url) as demo:
        for line in demo.stdout:
            if re.match(r" 0\.5 s", line):
                break
        server.kill()
        _, err = demo.communicate(timeout=PATIENCE)
        assert demo.returncode == 1
        assert re.match(r"nasq: the \w+ (producer|worker) in (north|south) failed: ", err)


@pytest.mark.parametrize("command", ["demo", "bench"])
def test_an_address_of_another_kind_of_server(command: str, server: LocalServer) -> None:
    with HostileServer(server.port) as hostile:
        hostile.hostile(lambda connection: connection.send(b"HTTP/1.0 400 Bad Request\r\n\r\n"))
        done = nasq(command, "-s", f"nats://127.0.0.1:{hostile.port}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"nasq: no connection to 127.0.0.1:{hostile.port}: ")
    assert done.stderr.endswith(": name another server with --server\n")


# ---------------------------------------------------------------------- ending


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_worker_ends_without_a_producer(transport: str, server: LocalServer) -> None:
    target = Target({"servers": (server.url,), "namespace": f"demo-{transport}"})
    demo = Demo(target, 10)
    member = next(m for m in demo.members if (m.role, m.transport) == ("worker", transport))
    thread = threading.Thread(target=member.body, args=(demo, member), daemon=True)
    thread.start()
    assert member.ready.wait(PATIENCE)
    demo.finish.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_right_after_the_first_line(
    number: int, status: int, nowhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary, pid = tmp_path / "nats-server", tmp_path / "pid"
    binary.write_text(f'#!/bin/sh\necho $$ > {pid}\nexec {find_server_binary()} "$@"\n')
    binary.chmod(0o755)
    monkeypatch.setenv("NASQ_NATS_SERVER", str(binary))
    # Warnings are not errors here, since it does not wait for threads that take long to end.
    with running("demo", nasq=[sys.executable, "-m", "nasq"]) as demo:
        assert demo.stdout.readline().startswith("server: ")
        _, err = end(demo, number)
        assert (demo.returncode, err) == (status, "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
