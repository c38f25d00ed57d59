"""The command line as users run it: real processes, a real server."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from nasq import BlockingNASQueue
from nasq.cli.latency import counts, edges
from nasq.server import LocalServer

pytest.importorskip("click")
pytest.importorskip("rich")

_PATIENCE = 15.0
_NASQ = [sys.executable, "-W", "error", "-m", "nasq"]


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def _sigint_works() -> Iterator[None]:
    """A shell that runs pytest in the background has SIGINT ignored, in our children as well."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def url(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server's URL, and the default of every command."""
    monkeypatch.setenv("NATS_URL", server.url)
    return server.url


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address where nothing listens, and the default of every command."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
    monkeypatch.setenv("NATS_URL", f"nats://{address}")
    return address


def _nasq(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    done = subprocess.run(
        [*_NASQ, *arguments], input=stdin, capture_output=True, timeout=_PATIENCE, check=False
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


@contextmanager
def _running(*arguments: str, stdout: int | IO[str] = subprocess.PIPE) -> Iterator[Any]:
    """Run a command beside the test; it is killed if the test leaves it running."""
    with subprocess.Popen(
        [*_NASQ, *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _watching(*arguments: str, stdout: int | IO[str] = subprocess.PIPE) -> Iterator[Any]:
    """`nasq watch`, once it is subscribed."""
    with _running("watch", *arguments, stdout=stdout) as process:
        line = process.stderr.readline()
        assert line.startswith("watching "), line
        yield process


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.02)


def _end(process: Any, number: int = signal.SIGINT) -> tuple[str, str]:
    process.send_signal(number)
    out, err = process.stdout.read(), process.stderr.read()  # with what readline has read ahead
    process.wait(_PATIENCE)
    return out, err


class TestUsage:
    def test_without_arguments_it_helps(self) -> None:
        done = _nasq()
        assert done.returncode == 0
        for command in ("demo", "serve", "push", "watch", "bench"):
            assert re.search(rf"^  {command} +[A-Z]", done.stdout, re.MULTILINE), command

    def test_version(self) -> None:
        assert re.fullmatch(r"nasq, version \d+\.\d+.*\n", _nasq("--version").stdout)

    @pytest.mark.parametrize("missing", ["click", "rich"])
    def test_without_what_it_needs(self, missing: str) -> None:
        code = f"import sys; sys.modules[{missing!r}] = None\n"
        code += "from nasq.cli import main; sys.exit(main([]))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr == (
            f"nasq: the command line needs {missing}: python -m pip install 'nasq[cli]'\n"
        )

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["nothing"], "No such command 'nothing'"),
            (["push"], "Missing argument 'SUBJECT'"),
            (["push", "a b", "x"], "holds ' '"),
            (["push", "a.*", "x"], "'*'"),
            (["push", "a", "x", "--header", "nope"], "'nope' is not KEY:VALUE"),
            (["push", "a", "x", "--header", "a b: c"], "printable ASCII"),
            (["push", "a", "x", "--namespace", "$SYS"], "starts with '$'"),
            (["push", "a", "x", "--server", "http://x"], "none of the schemes"),
            (["push", "a", "x", "--server", ","], "it names no server"),
            (["watch", "--group", "a b"], "queue group"),
            (["watch", "--count", "0"], "0 is not in the range"),
            (["bench", "--backend", "curio"], "'curio' is not one of"),
            (["bench", "--concurrency", "0"], "0 is not in the range"),
            (["serve", "--port", "65536"], "65536 is not in the range"),
        ],
    )
    def test_wrong_usage_is_one_line_and_2(self, arguments: list[str], says: str) -> None:
        done = _nasq(*arguments)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("nasq")
        assert says in done.stderr

    @pytest.mark.parametrize("command", [["push", "a", "x"], ["watch"]])
    def test_nobody_there_is_one_line_and_1(self, command: list[str], nowhere: str) -> None:
        done = _nasq(*command)
        assert done.returncode == 1
        assert done.stderr == (
            f"nasq: nothing listens on {nowhere}: start a server with `nasq serve`, "
            "or name yours with --server\n"
        )

    def test_refused_credentials_say_what_to_do(self) -> None:
        config = "authorization { user: ann, password: secret }"
        with LocalServer(config=config) as server:
            done = _nasq("push", "a", "x", "-s", server.url)
            assert done.returncode == 1
            assert done.stderr.count("\n") == 1
            assert "nats://user:password@host" in done.stderr
            done = _nasq("push", "a", "x", "-s", f"nats://ann:secret@127.0.0.1:{server.port}")
            assert done.returncode == 0


@pytest.mark.usefixtures("url")
class TestPushAndWatch:
    def test_one_message(self) -> None:
        with _watching("-n", "one") as watch:
            done = _nasq("push", "orders.new", "Order #1001", "-n", "one")
            assert done.returncode == 0
            assert done.stdout == ""
            assert done.stderr == "pushed 1 message to one.orders.new\n"
            line = watch.stdout.readline()
            assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  orders\.new  Order #1001\n", line)
            assert _end(watch) == ("", "")
            assert watch.returncode == 0

    def test_lines_as_they_are(self) -> None:
        with _watching("-n", "lines", "--json", "--count", "4") as watch:
            done = _nasq("push", "a", "-n", "lines", stdin=b"one\r\n\n\xc3\xbcber\n\xff\x00 end")
            assert done.stderr == "pushed 4 messages to lines.a\n"
            out, _ = watch.communicate(timeout=_PATIENCE)
        first, *others, last = [json.loads(line) for line in out.splitlines()]
        assert first.keys() == {"time", "subject", "headers", "reply_to", "message"}
        assert [line["message"] for line in (first, *others)] == ["one", "", "über"]
        assert base64.b64decode(last["message_base64"]) == b"\xff\x00 end"
        assert "message" not in last

    def test_headers(self) -> None:
        with _watching("-n", "headers", "--json", "--count", "1") as watch:
            _nasq("push", "a", "x", "-n", "headers", "-H", "Trace:1", "-H", "Trace: 2", "-H", "B:")
            line = json.loads(watch.stdout.readline())
            assert line["headers"] == {"Trace": ["1", "2"], "B": [""]}

    def test_for_people_nothing_moves_the_cursor_and_all_has_an_end(self) -> None:
        with _watching("-n", "people", "--count", "3") as watch:
            _nasq("push", "a", "\x1b[2Jboo", "-n", "people", "-H", "K:v")
            _nasq("push", "a", "x" * 5000, "-n", "people")
            _nasq("push", "a", "-n", "people", stdin=b"\xff\xfe")
            escaped, long, binary = watch.communicate(timeout=_PATIENCE)[0].splitlines()
        assert escaped.endswith(r"\x1b[2Jboo  K:v")
        assert len(long) <= 200
        assert long.endswith("x… (5,000 bytes)")
        assert binary.endswith("ff fe (2 bytes)")

    def test_what_is_no_json_stops_it(self) -> None:
        with _watching("-n", "json", "--count", "2") as watch:
            done = _nasq("push", "a", "--json", "-n", "json", stdin=b'{"a": 1}\n[2]\nnope\n[3]\n')
            assert done.returncode == 1
            assert done.stderr.startswith("nasq: stopped after 2 messages: it is no JSON: ")
            assert done.stderr.count("\n") == 1
            out, _ = watch.communicate(timeout=_PATIENCE)
        assert [line.split("  ")[-1] for line in out.splitlines()] == ['{"a": 1}', "[2]"]

    def test_a_message_that_is_too_large(self) -> None:
        done = _nasq("push", "a", stdin=b"x" * 2_000_000)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "max_payload" in done.stderr

    def test_a_group_shares(self, tmp_path: Path) -> None:
        paths = [tmp_path / "1", tmp_path / "2"]
        with paths[0].open("w") as first, paths[1].open("w") as second:
            arguments = ["jobs.*", "--group", "g", "-n", "group"]
            with _watching(*arguments, stdout=first), _watching(*arguments, stdout=second):
                _nasq("push", "jobs.a", "-n", "group", stdin=b"job\n" * 100)

                def counts() -> list[int]:
                    return [path.read_text().count("\n") for path in paths]

                _until(lambda: sum(counts()) >= 100)
                assert sum(counts()) == 100
                assert all(counts())

    def test_namespaces_are_apart(self) -> None:
        with _watching("-n", "apart.a", "--count", "1") as watch:
            _nasq("push", "x", "to b", "-n", "apart.b")
            _nasq("push", "x", "to a", "-n", "apart.a")
            assert watch.communicate(timeout=_PATIENCE)[0].endswith("to a\n")

    def test_too_few_in_time(self) -> None:
        done = _nasq("watch", "-n", "few", "--count", "2", "--for", "0.1")
        assert done.returncode == 1
        assert done.stderr.endswith("nasq: 0 of 2 messages came within 0.1 s\n")
        assert _nasq("watch", "-n", "few", "--for", "0.1").returncode == 0

    def test_a_reader_that_has_seen_enough(self) -> None:
        with _watching("-n", "pipe") as watch:
            watch.stdout.close()
            _nasq("push", "x", "-n", "pipe", stdin=b"x\n")
            assert watch.wait(_PATIENCE) == 0
            assert watch.stderr.read() == ""

    def test_the_server_comes_back(self) -> None:
        with LocalServer() as server, _watching("-s", server.url, "--count", "1") as watch:
            server.restart()
            assert watch.stderr.readline().startswith(f"lost 127.0.0.1:{server.port} (")
            assert watch.stderr.readline() == f"back at 127.0.0.1:{server.port}\n"
            _nasq("push", "x", "again", "-s", server.url)
            assert watch.communicate(timeout=_PATIENCE)[0].endswith("again\n")


class TestServe:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_until_it_is_told(self, number: int) -> None:
        with _running("serve", "--port", "0") as serve:
            first = serve.stdout.readline()
            match = re.match(r"nats-server is up at (nats://127\.0\.0\.1:\d+)\n", first)
            assert match, first
            assert _nasq("push", "a", "x", "-s", match[1]).returncode == 0
            out, err = _end(serve, number)
            assert out.endswith("Ctrl-C stops it.\n\nnats-server has stopped\n")
            assert f"nasq watch --server {match[1]}\n" in out
            assert err == ""
            assert serve.returncode == 0
            assert _nasq("push", "a", "x", "-s", match[1]).returncode == 1

    def test_a_port_that_is_taken(self, server: LocalServer) -> None:
        done = _nasq("serve", "--port", str(server.port))
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "address already in use" in done.stderr

    def test_a_server_that_ends_by_itself(self) -> None:
        with _running("serve", "--port", "0", "--no-jetstream") as serve:
            serve.stdout.readline()
            match = re.fullmatch(r"no JetStream, pid (\d+)\n", serve.stdout.readline())
            assert match
            os.kill(int(match[1]), signal.SIGTERM)
            assert serve.wait(_PATIENCE) == 1
            assert "ended by itself" in serve.stderr.read()

    def test_without_a_binary(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NASQ_NATS_SERVER", "/nope")
        done = _nasq("serve")
        assert done.returncode == 1
        assert done.stderr == (
            "nasq: NASQ_NATS_SERVER names '/nope', which is no executable here\n"
        )


class TestBench:
    @pytest.mark.usefixtures("url")
    def test_json(self) -> None:
        done = _nasq("bench", "-m", "200", "-r", "50", "--size", "16", "--size", "0", "--json")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert (report["messages"], report["requests"], report["concurrency"]) == (200, 50, 1)
        assert [(r["size"], r["backend"]) for r in report["results"]] == [
            (size, backend) for size in (16, 0) for backend in ("asyncio", "trio", "blocking")
        ]
        for result in report["results"]:
            for call in ("push", "push_many", "pop", "request"):
                assert result[f"{call}_rate"] > 0
            trip = result["round_trip"]
            assert list(trip) == ["p50", "p90", "p99", "p99.9", "max"]
            assert trip["p50"] > 0
            assert sorted(trip.values()) == list(trip.values())

    @pytest.mark.parametrize("backend", ["asyncio", "trio", "blocking"])
    def test_many_at_a_time(self, backend: str, url: str) -> None:
        done = _nasq("bench", "-b", backend, "-m", "10", "-r", "37", "-c", "5", "--json")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert (report["requests"], report["concurrency"]) == (37, 5)
        assert report["results"][0]["request_rate"] > 0

    def test_tables_and_a_server_of_its_own(self, nowhere: str) -> None:
        done = _nasq("bench", "--messages", "100", "--requests", "20")
        assert done.returncode == 0, done.stderr
        assert f"100 messages, 20 requests, 1 at a time, server at {nowhere}" in done.stdout
        for backend in ("asyncio", "trio", "blocking"):
            assert re.search(rf"{backend}(?: +[\d,]+){{4}} *\n", done.stdout)
            assert re.search(rf"{backend}(?: +[\d.]+ [mµ]?s){{5}} *\n", done.stdout)
        assert re.search(r"from +asyncio +trio +blocking", done.stdout)
        assert "█" in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80

    def test_a_payload_that_the_server_refuses(self, url: str) -> None:
        done = _nasq("bench", "-b", "blocking", "-m", "1", "--size", "2000000")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "max_payload" in done.stderr

    @pytest.mark.parametrize("backend", ["asyncio", "trio", "blocking"])
    def test_a_server_that_dies_ends_it(self, backend: str) -> None:
        with LocalServer() as server, BlockingNASQueue(servers=[server.url]) as spy:
            spy.subscribe_and_queue("*.echo")
            arguments = ["bench", "-b", backend, "-m", "10", "-r", "1000000", "-s", server.url]
            with _running(*arguments) as process:
                assert spy.pop(_PATIENCE) is not None, "it asks"
                server.kill()
                _, err = process.communicate(timeout=_PATIENCE)
        assert process.returncode == 1
        assert "Traceback" not in err
        assert err.startswith("nasq: ")

    @pytest.mark.parametrize("values", [[1e-6], [2e-5, 9.99e-5, 1e-4], [1.1e-4, 0.3, 2.5, 70.0]])
    def test_a_histogram_has_everything_once(self, values: list[float]) -> None:
        bounds = edges(values[0], values[-1], 8)
        assert bounds[0] <= values[0]
        assert values[-1] < bounds[-1]
        assert 1 <= len(bounds) - 1 <= 9
        assert sum(counts(values, bounds)) == len(values)

    def test_elsewhere_no_server_is_started(self) -> None:
        done = _nasq("bench", "-s", "nats://192.0.2.1:4222,nats://no.invalid")
        assert done.returncode == 1
        assert "a server is started on this machine only" in done.stderr


class TestDemo:
    @staticmethod
    def _passed(out: str) -> bool:
        return (
            "✓ 120 jobs sent, each worked on exactly once" in out
            and "✓ none crossed into the other namespace" in out
        )

    def test_it_brings_its_own_server(self, nowhere: str) -> None:
        started = time.monotonic()
        done = _nasq("demo", "--messages", "60")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"server: nats://{nowhere}, started for this" in done.stdout
        assert self._passed(done.stdout)
        received = re.findall(r"consumer +(asyncio|trio|blocking) +(\d+) +\d+%", done.stdout)
        assert len(received) == 6
        assert sum(int(count) for _, count in received) == 120
        assert max(map(len, done.stdout.splitlines())) <= 80
        assert "\x1b" not in done.stdout
        assert time.monotonic() - started < 8

    def test_on_a_terminal_it_is_live(self, url: str) -> None:
        main, other = pty.openpty()
        with subprocess.Popen(
            [*_NASQ, "demo", "-m", "60"],
            stdout=other,
            stderr=subprocess.PIPE,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "40"},
        ) as process:
            os.close(other)
            seen = _read_terminal(main)
            assert process.wait(_PATIENCE) == 0
        assert "━" in seen, "the bars"
        assert "\x1b[?25l" in seen, "the cursor is hidden"
        assert "\x1b[?25h" in seen, "and comes back"
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
        assert self._passed(plain)

    def test_not_in_time_is_a_failure(self, url: str) -> None:
        done = _nasq("demo", "-m", "300", "--seconds", "0.5")
        assert done.returncode == 1
        assert re.search(r"✗ of 600 jobs \d+ were worked on by nobody, 0 more", done.stdout)

    def test_without_trio(self, url: str) -> None:
        code = "import sys, importlib.util as util; find = util.find_spec\n"
        code += "util.find_spec = lambda name: None if name == 'trio' else find(name)\n"
        code += "from nasq.cli import main; sys.exit(main(['demo', '-m', '60']))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "trio, which isn't installed: python -m pip install 'nasq[trio]'" in done.stdout
        assert self._passed(done.stdout)

    def test_without_a_binary(self, nowhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NASQ_NATS_SERVER", "/nope")
        done = _nasq("demo")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "NASQ_NATS_SERVER names '/nope'" in done.stderr

    def test_a_server_that_dies_is_said_at_once(self) -> None:
        with LocalServer() as server, _running("demo", "-s", server.url) as demo:
            for line in demo.stdout:
                if re.match(r" 0\.5 s", line):
                    break
            server.kill()
            _, err = demo.communicate(timeout=_PATIENCE)
            assert demo.returncode == 1
            assert re.match(r"nasq: the \w+ (producer|consumer) of (north|south) failed: ", err)


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
