"""`nasq demo`: it proves what it says, and ends whatever happens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nasq.cli.demo import _CONSUMERS as CONSUMERS
from nasq.cli.demo import Member, Plan
from nasq.cli.options import Target
from nasq.server import LocalServer, find_server_binary
from tests.e2e.hostile import HostileServer

from .running import PATIENCE, end, nasq, on_terminal, running


def passed(out: str) -> bool:
    return (
        "✓ 120 jobs sent, each processed exactly once" in out
        and "✓ none crossed into the other namespace" in out
    )


def test_it_brings_its_own_server(nowhere: str) -> None:
    done = nasq("demo", "--messages", "60")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"server: nats://{nowhere}, started for this" in done.stdout
    assert passed(done.stdout)
    received = re.findall(r"consumer +(asyncio|trio|blocking) +(\d+) +\d+%", done.stdout)
    assert len(received) == 6
    assert sum(int(count) for _, count in received) == 120
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    assert "\n\n\n" not in done.stdout


def test_on_a_terminal_it_is_live(url: str) -> None:
    seen, plain = on_terminal("demo", "-m", "60")
    assert "━" in seen, "the bars"
    assert "\x1b[?25l" in seen, "the cursor is hidden"
    assert "\x1b[?25h" in seen, "and comes back"
    assert passed(plain)
    assert f"server: {url.removeprefix('nats://')}, already running" in plain
    assert "worked on" not in plain


def test_a_narrow_terminal(url: str) -> None:
    _, plain = on_terminal("demo", "-m", "60", columns=40)
    assert re.search(r"consumer +trio +\d+ received", plain), "words are whole"
    assert "✓ 120 jobs sent" in plain


def test_not_in_time_is_a_failure(url: str) -> None:
    done = nasq("demo", "-m", "300", "--seconds", "0.5")
    assert done.returncode == 1
    assert re.search(
        r"✗ \d+ of 600 jobs were not processed, none twice \(stopped after 0.5 s\)", done.stdout
    )


def test_without_trio(url: str) -> None:
    code = "import sys, importlib.util as util; find = util.find_spec\n"
    code += "util.find_spec = lambda name: None if name == 'trio' else find(name)\n"
    code += "from nasq.cli import main; sys.exit(main(['demo', '-m', '60']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "trio, which isn't installed: python -m pip install 'nasq[trio]'" in done.stdout
    assert passed(done.stdout)


def test_a_server_that_dies_is_said_at_once() -> None:
    with LocalServer() as server, running("demo", "-s", server.url) as demo:
        for line in demo.stdout:
            if re.match(r" 0\.5 s", line):
                break
        server.kill()
        _, err = demo.communicate(timeout=PATIENCE)
        assert demo.returncode == 1
        assert re.match(r"nasq: the \w+ (producer|consumer) of (north|south) failed: ", err)


@pytest.mark.parametrize("command", ["demo", "bench"])
def test_what_answers_is_no_nats_server(command: str, server: LocalServer) -> None:
    with HostileServer(server.port) as hostile:
        hostile.hostile(lambda victim: victim.send(b"HTTP/1.0 400 Bad Request\r\n\r\n"))
        done = nasq(command, "-s", f"nats://127.0.0.1:{hostile.port}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"nasq: no connection to 127.0.0.1:{hostile.port}: ")
    assert done.stderr.endswith(": name another with --server\n")


# ---------------------------------------------------------------------- ending


@pytest.mark.parametrize("transport", CONSUMERS)
def test_a_consumer_ends_when_no_producer_has_started(transport: str, server: LocalServer) -> None:
    target = Target({"servers": (server.url,), "namespace": f"demo-{transport}"})
    plan = Plan(target, 10, threading.Event())
    member = Member("north", "consumer", transport, CONSUMERS[transport])
    thread = threading.Thread(target=member.run, args=(plan, member), daemon=True)
    thread.start()
    assert member.ready.wait(PATIENCE)
    plan.finish.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_just_behind_the_first_line(
    number: int, status: int, nowhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary, pid = tmp_path / "nats-server", tmp_path / "pid"
    binary.write_text(f'#!/bin/sh\necho $$ > {pid}\nexec {find_server_binary()} "$@"\n')
    binary.chmod(0o755)
    monkeypatch.setenv("NASQ_NATS_SERVER", str(binary))
    # Warnings are no errors here: it does not wait for threads that take long to end.
    with running("demo", nasq=[sys.executable, "-m", "nasq"]) as demo:
        assert demo.stdout.readline().startswith("server: ")
        _, err = end(demo, number)
        assert (demo.returncode, err) == (status, "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
