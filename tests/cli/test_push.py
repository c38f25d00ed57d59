"""`nasq push`: what it sends, and that it reports success only when all messages arrived."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from nasq import BlockingNASQueue
from nasq.server import LocalServer
from tests.e2e.hostile import HostileServer, ServerConnection

from .running import NASQ, PATIENCE, end, nasq, running

CONFINED = """
authorization { users = [
    { user: ann, password: secret, permissions: { publish: ["shop.>"], subscribe: ["shop.>"] } }
    { user: root, password: secret }
] }
"""


@pytest.fixture
def spy(server: LocalServer, request: pytest.FixtureRequest) -> Iterator[BlockingNASQueue]:
    """A queue that receives what a test pushes, in a separate namespace."""
    with BlockingNASQueue(servers=[server.url], namespace=f"push{id(request)}") as queue:
        queue.subscribe_and_queue(">")
        yield queue


@pytest.fixture(scope="module")
def confined() -> Iterator[LocalServer]:
    with LocalServer(config=CONFINED, jetstream=False) as running_server:
        yield running_server


def name_of(spy: BlockingNASQueue) -> str:
    name = spy.get_namespace()
    assert name is not None
    return name


def received(spy: BlockingNASQueue, count: int) -> list[bytes]:
    messages = [spy.pop(PATIENCE) for _ in range(count)]
    assert spy.pop() is None
    return [message.message for message in messages if message is not None]


@pytest.mark.usefixtures("url")
class TestWhatIsSent:
    def test_one_message(self, spy: BlockingNASQueue) -> None:
        name = name_of(spy)
        done = nasq("push", "orders.new", "Order #1001", "-n", name)
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == f"pushed 1 message to {name}.orders.new\n"
        assert received(spy, 1) == [b"Order #1001"]

    @pytest.mark.parametrize("argument", [[], ["-"]])
    def test_lines_are_sent_unchanged(self, spy: BlockingNASQueue, argument: list[str]) -> None:
        name = name_of(spy)
        text = b"one\r\n\n\xc3\xbcber\n\xff\x00 end"
        done = nasq("push", "a", *argument, "-n", name, stdin=text)
        assert done.stderr == f"pushed 4 messages to {name}.a\n"
        assert received(spy, 4) == [b"one", b"", b"\xc3\xbcber", b"\xff\x00 end"]

    def test_a_message_that_looks_like_an_option(self, spy: BlockingNASQueue) -> None:
        assert nasq("push", "-n", name_of(spy), "a", "--", "-5").returncode == 0
        assert received(spy, 1) == [b"-5"]

    def test_count_numbers_the_messages(self, spy: BlockingNASQueue) -> None:
        name = name_of(spy)
        done = nasq("push", "a", "#{{Count}} {{Count}}", "--count", "3", "-n", name)
        assert done.stderr == f"pushed 3 messages to {name}.a\n"
        assert received(spy, 3) == [b"#1 1", b"#2 2", b"#3 3"]
        done = nasq("push", "a", '{"id": {{Count}}}', "--json", "--count", "1", "-n", name)
        assert done.returncode == 0
        assert received(spy, 1) == [b'{"id": 1}']

    def test_without_count_nothing_is_replaced(self, spy: BlockingNASQueue) -> None:
        nasq("push", "a", "{{Count}}", "-n", name_of(spy))
        assert received(spy, 1) == [b"{{Count}}"]

    def test_empty_input(self, spy: BlockingNASQueue) -> None:
        done = nasq("push", "a", "-n", name_of(spy))
        assert done.returncode == 0
        assert done.stderr.startswith("pushed 0 messages to ")

    def test_quiet(self) -> None:
        done = nasq("push", "a", "x", "-q")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.usefixtures("url")
class TestBadInput:
    @pytest.mark.parametrize(
        ("line", "why"),
        [
            (b"nope", "Expecting value at column 1: 'nope'"),
            (b'{"a": NaN}', "NaN is not allowed: '{\"a\": NaN}'"),
            (b"\xff", "not UTF-8: '\N{REPLACEMENT CHARACTER}'"),
            (b"[" * 100_000, "nested too deeply: '["),
        ],
    )
    def test_a_line_that_is_not_json(self, spy: BlockingNASQueue, line: bytes, why: str) -> None:
        name = name_of(spy)
        text = b'{"a": 1}\n[2]\n' + line + b"\n[3]\n"
        done = nasq("push", "a", "--json", "-n", name, stdin=text)
        assert done.returncode == 1
        assert done.stderr.startswith(f"nasq: line 3 is not valid JSON: {why}")
        assert done.stderr.endswith(f" (pushed 2 messages to {name}.a)\n")
        assert done.stderr.count("\n") == 1
        assert received(spy, 2) == [b'{"a": 1}', b"[2]"]

    def test_a_message_that_is_too_large(self, spy: BlockingNASQueue) -> None:
        name = name_of(spy)
        done = nasq("push", "a", "-n", name, stdin=b"x\n" + b"x" * 2_000_000)
        assert done.returncode == 1
        assert "max_payload" in done.stderr
        assert done.stderr.endswith(f"(pushed 1 message to {name}.a)\n")
        assert received(spy, 1) == [b"x"]

    def test_closed_input(self) -> None:
        done = _shell("push a <&-")
        assert done.returncode == 2
        assert "standard input is closed: give a MESSAGE, or pipe lines in" in done.stderr
        assert _shell("push a x <&-").returncode == 0

    def test_closed_output(self) -> None:
        done = _shell("push a x >&-")
        assert (done.returncode, done.stderr) == (0, "pushed 1 message to default.a\n")
        done = _shell("push a x >&- 2>&-")
        assert (done.returncode, done.stderr) == (0, "")


def _shell(command: str, before: str = "") -> subprocess.CompletedProcess[str]:
    line = ["sh", "-c", f'{before} "$@" {command}', "sh", *NASQ]
    return subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE)


class TestNoFalseSuccess:
    """It is an error if the server did not receive a message."""

    def test_a_refused_message(self, confined: LocalServer) -> None:
        url = f"nats://ann:secret@127.0.0.1:{confined.port}"
        done = nasq("push", "a", "x", "-s", url)
        assert done.returncode == 1
        assert done.stderr.startswith(
            "nasq: the server refused 1 of 1 message to default.a "
            '(Permissions Violation for Publish to "default.a"); 0 arrived: '
        )
        assert "--namespace" in done.stderr
        assert done.stderr.count("\n") == 1
        done = nasq("push", "a", "x", "-s", url, "-n", "shop")
        assert (done.returncode, done.stderr) == (0, "pushed 1 message to shop.a\n")

    def test_endless_input_stops_at_the_first_refusal(self, confined: LocalServer) -> None:
        url = f"nats://ann:secret@127.0.0.1:{confined.port}"
        done = _shell(f"push a -s {url}", "yes |")
        assert done.returncode == 1
        assert re.match(r"nasq: the server refused ([\d,]+) of \1 messages to ", done.stderr)

    def test_a_connection_that_breaks_meanwhile(self) -> None:
        with LocalServer() as server, BlockingNASQueue(servers=[server.url]) as spy:
            spy.subscribe_and_queue("a")
            with running("push", "a", "-s", server.url, stdin=subprocess.PIPE) as process:
                process.stdin.write("1\n")
                process.stdin.flush()
                assert spy.pop(PATIENCE) is not None
                server.restart()
                process.stdin.close()
                assert process.wait(PATIENCE) == 1
                said = process.stderr.read()
        assert said.startswith(
            "nasq: pushed 1 message to default.a, but some may not have arrived: "
        )

    def test_text_from_the_server_is_escaped(self, server: LocalServer) -> None:
        def script(connection: ServerConnection) -> None:
            connection.handshake()
            connection.read_until(b"PING\r\n")
            connection.received = b""
            connection.send(b"-ERR 'No \x1b[2Jthanks'\r\nPONG\r\n")
            connection.answer_pings()

        with HostileServer(server.port) as hostile:
            hostile.hostile(script)
            done = nasq("push", "a", "x", "-s", f"nats://127.0.0.1:{hostile.port}")
        assert done.returncode == 1
        assert r"No \x1b[2Jthanks" in done.stderr
        assert "pushed 1 message to default.a, but some may not have arrived" in done.stderr


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_it_and_it_reports_how_many_it_pushed(
    number: int, status: int, spy: BlockingNASQueue, url: str
) -> None:
    name = name_of(spy)
    with running("push", "a", "-n", name, "-s", url, stdin=subprocess.PIPE) as process:
        process.stdin.write("1\n2\n3\n")
        process.stdin.flush()
        assert received(spy, 3) == [b"1", b"2", b"3"]
        assert end(process, number) == ("", f"interrupted: pushed 3 messages to {name}.a\n")
        assert process.returncode == status
