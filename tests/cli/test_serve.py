"""`nasq serve`: run a server until a signal ends it."""

from __future__ import annotations

import os
import re
import signal

import pytest

from nasq.server import LocalServer, find_server_binary

from .running import PATIENCE, end, nasq, running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_until_a_signal(number: int) -> None:
    with running("serve", "--port", "0") as serve:
        first = serve.stdout.readline()
        match = re.match(
            r"nats-server is running at (nats://127\.0\.0\.1:\d+) \(pid \d+\)\n", first
        )
        assert match, first
        assert nasq("push", "a", "x", "-s", match[1]).returncode == 0
        out, err = end(serve, number)
        assert out.endswith("Press Ctrl-C to stop it.\n\nnats-server has stopped\n")
        assert f"nasq watch --server {match[1]}\n" in out
        assert err == ""
        assert serve.returncode == 0
        assert nasq("push", "a", "x", "-s", match[1]).returncode == 1


def test_a_port_that_is_in_use(server: LocalServer) -> None:
    done = nasq("serve", "--port", str(server.port))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"port {server.port} of 127.0.0.1 is already in use" in done.stderr
    assert "-p 0" in done.stderr


def test_a_server_that_stops_by_itself() -> None:
    with running("serve", "--port", "0", "--no-jetstream") as serve:
        match = re.search(r"\(pid (\d+)\)\n", serve.stdout.readline())
        assert match
        assert serve.stdout.readline() == "JetStream: disabled\n"
        os.kill(int(match[1]), signal.SIGTERM)
        assert serve.wait(PATIENCE) == 1
        assert "nats-server has stopped; its last log line: " in serve.stderr.read()


@pytest.mark.parametrize("command", ["serve", "demo", "bench"])
def test_without_a_binary(command: str, nowhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASQ_NATS_SERVER", "/nope")
    done = nasq(command)
    assert done.returncode == 2  # the same for anything that is not installed
    assert done.stderr == "nasq: NASQ_NATS_SERVER names '/nope', which is not an executable file\n"


def test_another_binary() -> None:
    binary = str(find_server_binary())
    with running("serve", "--port", "0", "--binary", binary) as serve:
        assert serve.stdout.readline().startswith("nats-server is running at ")
        end(serve)
