"""`nasq watch`: its output for people and for programs, and how it ends."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasq import BlockingNASQueue
from nasq.cli.lines import _shorten, _width
from nasq.server import LocalServer
from tests.e2e.hostile import INFO, HostileServer, ServerConnection

from .running import PATIENCE, end, nasq, on_terminal, until, watching

pytestmark = pytest.mark.usefixtures("url")

LONG = "shop.orders.europe.north." + "very-long-token." * 4 + "new"


def publish(url: str, namespace: str | None, *messages: tuple[str, bytes, Any]) -> None:
    with BlockingNASQueue(servers=[url], namespace=namespace) as queue:
        for subject, payload, headers in messages:
            queue.publish(subject, payload, headers)
        queue.flush()


class TestForPrograms:
    def test_json(self, url: str) -> None:
        with watching("-n", "json", "--json", "--count", "3") as watch:
            publish(
                url,
                "json",
                ("a", b"one", {"Trace": ["1", "2"], "B": ""}),
                ("a", "über".encode(), None),
                ("b", b"\xff\x00 end", None),
            )
            out, _ = watch.communicate(timeout=PATIENCE)
        assert watch.returncode == 0
        first, second, last = [json.loads(line) for line in out.splitlines()]
        assert first.keys() == {"time", "subject", "headers", "reply_to", "message"}
        assert (first["subject"], first["message"]) == ("a", "one")
        assert first["headers"] == {"Trace": ["1", "2"], "B": [""]}
        assert second["message"] == "über"
        assert base64.b64decode(last["message_base64"]) == b"\xff\x00 end"
        assert "message" not in last

    def test_in_a_pipe_nothing_is_cut(self, url: str) -> None:
        with watching("-n", "whole", "--count", "3") as watch:
            publish(
                url,
                "whole",
                (LONG, b"x" * 5000, {"K": "v" * 500}),
                ("b", bytes(range(128, 256)), None),
                ("c", b"y", None),
            )
            long, binary, short = watch.communicate(timeout=PATIENCE)[0].splitlines()
        assert re.fullmatch(rf"[\d:.]{{12}}  {LONG}  x{{5000}}  K:v{{500}}", long)
        assert binary.endswith(f"  {bytes(range(128, 256)).hex(' ')} (128 bytes)")
        assert re.fullmatch(r"[\d:.]{12}  c +  y", short)

    def test_the_members_of_a_group_share_the_messages(self, tmp_path: Path) -> None:
        paths = [tmp_path / "1", tmp_path / "2"]
        with paths[0].open("w") as first, paths[1].open("w") as second:
            arguments = ["jobs.*", "--group", "g", "-n", "group"]
            with watching(*arguments, stdout=first), watching(*arguments, stdout=second):
                nasq("push", "jobs.a", "-n", "group", stdin=b"job\n" * 100)

                def counts() -> list[int]:
                    return [path.read_text().count("\n") for path in paths]

                until(lambda: sum(counts()) >= 100)
                assert sum(counts()) == 100
                assert all(counts())

    def test_messages_of_another_namespace_are_not_printed(self) -> None:
        with watching("-n", "apart.a", "--count", "1") as watch:
            nasq("push", "x", "to b", "-n", "apart.b")
            nasq("push", "x", "to a", "-n", "apart.a")
            assert watch.communicate(timeout=PATIENCE)[0].endswith("to a\n")

    def test_all_namespaces(self, url: str) -> None:
        with watching("--all-namespaces", "--count", "3") as watch:
            publish(url, "all.a", ("x", b"1", None))
            publish(url, "all.b", ("x.y", b"2", None))
            publish(url, None, ("single", b"3", None))
            out, _ = watch.communicate(timeout=PATIENCE)
        assert re.findall(r"  (\S+) +(\d)\n", out) == [
            ("all.a.x", "1"),
            ("all.b.x.y", "2"),
            ("single", "3"),
        ]


class TestForPeople:
    def test_a_line_has_time_subject_payload_and_headers(self) -> None:
        with watching("-n", "one") as watch:
            nasq("push", "orders.new", "Order #1001", "-n", "one", "-H", "K:v")
            line = watch.stdout.readline()
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  orders\.new  Order #1001  K:v\n", line)

    def test_control_characters_are_escaped(self, url: str) -> None:
        with watching("-n", "escape", "--count", "1") as watch:
            publish(url, "escape", ("a\x1b[2J", b"\x1b[2Jboo\x9b1m", {"K": "a\x1b[31m"}))
            out, _ = watch.communicate(timeout=PATIENCE)
        assert "\x1b" not in out
        assert out.endswith("  a\\x1b[2J  \\x1b[2Jboo\\x9b1m  K:a\\x1b[31m\n") or r"9b 31" in out

    @pytest.mark.parametrize("columns", [20, 40, 80, 120])
    def test_a_line_fits_the_terminal(self, columns: int, url: str) -> None:
        name = f"fits{os.urandom(4).hex()}"
        subjects = ["a", LONG, "日本." * 12 + "x"]
        payloads = [b"short", b"x" * 5000, "日本語".encode() * 500, b"\xff\xfe" * 500]
        all_of_them = [
            (subject, payload, {"Header": "v" * 30}) for subject in subjects for payload in payloads
        ]
        _, out = on_terminal(
            *("watch", "-n", name, "-c", str(len(all_of_them))),
            columns=columns,
            then=lambda: publish(url, name, *all_of_them),
        )
        lines = out.splitlines()
        for line, (subject, payload, _) in zip(lines, all_of_them, strict=True):
            assert _width(line) <= max(columns, 30)
            if columns >= 40:
                assert subject[:5] in line
            if payload != b"short" and columns >= 80:
                assert f"{len(payload):,} bytes)" in line

    @pytest.mark.parametrize("value", ["", "1"])
    def test_no_color(self, value: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", value)
        seen, _ = on_terminal(
            "watch", "-c", "1", then=lambda: publish(url, "default", ("a", b"x", None))
        )
        assert ("\x1b" in seen) is (not value)

    def test_lines_are_cut_by_columns(self) -> None:
        assert _shorten("abcdef", 6) == "abcdef"
        assert _shorten("abcdef", 5) == "abcd…"
        assert _shorten("日本語", 6) == "日本語"
        assert _shorten("日本語", 5) == "日本…"
        assert _shorten("日本語", 4) == "日…"
        assert _shorten("e\N{COMBINING ACUTE ACCENT}f", 2) == "e\N{COMBINING ACUTE ACCENT}f"


class TestTheEnd:
    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_ends_it(self, number: int, status: int) -> None:
        with watching("-n", "signal") as watch:
            nasq("push", "x", "-n", "signal", stdin=b"1\n2\n")
            assert watch.stdout.readline()
            assert watch.stdout.readline()
            assert end(watch, number) == ("", "2 messages received\n")
            assert watch.returncode == status

    def test_too_few_messages_in_time_are_a_failure(self) -> None:
        done = nasq("watch", "-n", "few", "--count", "2", "--for", "0.1")
        assert done.returncode == 1
        assert done.stderr.endswith("nasq: only 0 of 2 messages arrived within 0.1 s\n")
        assert nasq("watch", "-n", "few", "--for", "0.1").returncode == 0

    def test_quiet(self) -> None:
        done = nasq("watch", "-n", "quiet", "-q", "--for", "0.1")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_a_closed_pipe_ends_it_without_an_error(self) -> None:
        with watching("-n", "pipe", "--json") as watch:
            watch.stdout.close()
            nasq("push", "x", "-n", "pipe", stdin=b"x\n")
            assert watch.wait(PATIENCE) == 0
            assert watch.stderr.read() == ""

    def test_it_reports_a_lost_connection_and_reconnects(self) -> None:
        with LocalServer() as server, watching("-s", server.url, "--count", "1") as watch:
            server.restart()
            assert watch.stderr.readline().startswith(
                f"lost the connection to 127.0.0.1:{server.port} ("
            )
            assert watch.stderr.readline() == f"reconnected to 127.0.0.1:{server.port}\n"
            nasq("push", "x", "again", "-s", server.url)
            assert watch.communicate(timeout=PATIENCE)[0].endswith("again\n")

    def test_a_refused_subscription_is_an_error(self) -> None:
        config = 'authorization { users = [{ user: a, password: b, permissions: {subscribe: "c"}}]}'
        with LocalServer(config=config) as server:
            done = nasq("watch", "x", "-s", f"nats://a:b@127.0.0.1:{server.port}")
        assert done.returncode == 1
        assert done.stderr.startswith(
            "nasq: the server refused the subscription to default.x (Permissions Violation for "
            'Subscription to "default.x"): sign in as a user that may subscribe to it'
        )


class TestTextFromTheServer:
    """Control characters in it are escaped."""

    def said(self, server: LocalServer, script: Callable[[ServerConnection], None]) -> str:
        with HostileServer(server.port) as hostile:
            hostile.hostile(script)
            done = nasq("watch", "-s", f"nats://127.0.0.1:{hostile.port}", "--for", "0.5")
        assert "\x1b" not in done.stderr
        return done.stderr

    def test_while_watching(self, server: LocalServer) -> None:
        def script(connection: ServerConnection) -> None:
            connection.handshake()
            connection.send(b"-ERR 'No \x1b[2Jthanks'\r\n")
            connection.answer_pings()

        assert " said: No \\x1b[2Jthanks\n" in self.said(server, script)

    def test_at_the_start(self, server: LocalServer) -> None:
        def script(connection: ServerConnection) -> None:
            connection.send(INFO)
            connection.read_until(b"PING\r\n")
            connection.send(b"-ERR 'Authorization Violation \x1b[2J'\r\n")

        assert "(Authorization Violation \\x1b[2J)" in self.said(server, script)
