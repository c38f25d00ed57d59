"""The transport that docs/embedding.md builds: it conforms, and the page shows all of it."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nasq import NASQueue
from nasq.server import LocalServer
from nasq_proto import Op, UsageError
from nasq_transports import Transport
from nasq_transports.conformance import CHECKS, Check, Harness
from tests.e2e.certificates import Certificates

DOCS = Path(__file__).resolve().parents[2] / "docs"
PROGRAM = DOCS / "examples" / "transport_selectors.py"


def load() -> ModuleType:
    """The program as a module: it is not in a package."""
    spec = importlib.util.spec_from_file_location(PROGRAM.stem, PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[PROGRAM.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


program = load()


class SelectorsHarness(Harness):
    def run(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.loop = program.Loop()
        try:
            self.loop.run(body())
        finally:
            self.loop.close()

    def transport(self) -> Transport:
        transport: Transport = program.SelectorsTransport(self.loop)
        return transport


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_example_passes_the_conformance_suite(check: Check) -> None:
    check(SelectorsHarness())


def run(main: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    loop = program.Loop()
    try:
        loop.run(main(loop))
    finally:
        loop.close()


def test_the_example_runs_a_queue(server: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    run(lambda loop: program.main(loop, servers=[server.url], namespace="example"))
    assert capsys.readouterr().out == "{'number': 0}\n{'number': 1}\n{'number': 2}\n"


async def exchange(loop: Any, url: str, **options: Any) -> None:
    transport = program.SelectorsTransport(loop)
    async with NASQueue(servers=[url], transport=transport, **options) as queue:
        await queue.subscribe_and_queue("a")
        await queue.push("a", "x" * 500_000)
        message = await queue.pop(timeout=10.0)
        assert message is not None
        assert len(message.message) == 500_000


def test_the_example_connects_over_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with LocalServer(config=certificates.config()) as server:
        run(lambda loop: exchange(loop, server.url, tls=certificates.context()))


def test_the_example_awaits_credentials() -> None:
    async def password() -> str:
        await program.until(Op.resolved(None))
        return "pass"

    with LocalServer(config="authorization { user: u, password: pass }") as server:
        run(lambda loop: exchange(loop, server.url, user="u", password=password))


def test_the_example_refuses_another_loop(server: LocalServer) -> None:
    async def main(loop: Any) -> None:
        transport = program.SelectorsTransport(loop)
        async with NASQueue(server.host, server.port, transport=transport) as queue:
            program._thread.loop = None
            with pytest.raises(UsageError):
                await queue.flush()
            program._thread.loop = loop

    run(main)


def test_the_page_shows_every_line_of_the_example() -> None:
    rest = PROGRAM.read_text(encoding="utf-8")
    page = (DOCS / "embedding.md").read_text(encoding="utf-8")
    parts = re.findall(r'(?ms)^```py title="transport_selectors\.py"\n(.*?)^```$', page)
    left = ""
    for part in parts:
        assert part in rest, f"not in the program, or not in this order:\n{part}"
        before, rest = rest.split(part, 1)
        left += before
    assert (left + rest).strip() == "", "the page does not show this"
