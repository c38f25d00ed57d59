"""Help pages, wrong usage, missing packages, completion, and the modules that a command loads."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module

import pytest

from nasq.cli.app import _COMMANDS as COMMANDS
from nasq.server import LocalServer

from .running import nasq


def test_without_arguments_it_prints_help() -> None:
    done = nasq()
    assert done.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"^  {command} +[A-Z]", done.stdout, re.MULTILINE), command


def test_it_prints_the_version() -> None:
    assert re.fullmatch(r"nasq, version \d+\.\d+.*\n", nasq("--version").stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_page_of(name: str) -> None:
    command = getattr(import_module(f"nasq.cli.{name}"), name)
    done = nasq(name, "--help")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    # The list of commands has the same text, without loading the command.
    assert command.get_short_help_str(1000) == COMMANDS[name]


@pytest.mark.parametrize("name", ["bench", "demo", "push", "watch"])
def test_every_command_that_connects_has_the_same_options(name: str) -> None:
    page = nasq(name, "--help").stdout
    section = page[page.index("\nConnection:") :]
    options = (
        "server namespace user password token creds nkey tls tls-ca tls-cert tls-key tls-first"
    )
    for option in [*options.split(), "insecure"]:
        assert f"  --{option} " in section or f" --{option} " in section, option


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_package_is_named(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None\n"
    code += "from nasq.cli import run; sys.exit(run([]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        f"nasq: the command line needs {missing}: python -m pip install 'nasq[cli]'\n"
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["pus"], "Did you mean 'push'?"),
        (["push"], "Missing argument 'SUBJECT'"),
        (["push", "a b", "x"], "contains ' '"),
        (["push", "a.*", "x"], "'*'"),
        (["push", "a", "x", "--header", "nope"], "'nope' is not KEY:VALUE"),
        (["push", "a", "x", "--header", "a b: c"], "printable ASCII"),
        (["push", "a", "x", "--namespace", "$SYS"], "starts with '$'"),
        (["push", "a", "x", "--namespace", "*"], "contain wildcards, but '*' does"),
        (["push", "a", "x", "--namespace", "shop.>"], "contain wildcards, but 'shop.>' does"),
        (
            ["push", "a", "x", "--server", "http://x"],
            "'-s' / '--server': unsupported scheme in server URL 'http://x'",
        ),
        (["push", "a", "x", "--server", ","], "no server was named"),
        (["push", "a", "-5"], "No such option '-5'; put -- before a message that begins"),
        (["push", "a", "--json", "nope"], "MESSAGE is not valid JSON: Expecting value at column 1"),
        (["push", "a", "-", "--count", "2"], "--count needs a MESSAGE"),
        (
            ["watch", "-n", "a", "--all-namespaces"],
            "use either --namespace or --all-namespaces, not both",
        ),
        (["watch", "--group", "a b"], "queue group"),
        (["watch", "--count", "0"], "0 is not in the range"),
        (["bench", "--backend", "curio"], "'curio' is not one of"),
        (["bench", "--concurrency", "0"], "0 is not in the range"),
        (["serve", "--port", "65536"], "65536 is not in the range"),
        (["serve", "--binary", "/nope"], "'--binary': File '/nope' does not exist"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments: list[str], says: str) -> None:
    done = nasq(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("nasq")
    assert says in done.stderr


def test_an_invalid_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "foo:bar:baz")
    done = nasq("watch")
    assert done.returncode == 2
    assert done.stderr.startswith("nasq watch: Invalid value for NATS_URL: invalid server URL ")
    assert "--server" not in done.stderr
    monkeypatch.setenv("NATS_CA", "/nope")
    done = nasq("watch", "-s", "nats://127.0.0.1")
    assert done.returncode == 2
    assert "Invalid value for NATS_CA: File '/nope' does not exist" in done.stderr


# ---------------------------------------------------------------------- what a command loads

HEAVY = ("asyncio", "rich", "ssl", "subprocess", "trio", "nasq.server", "nasq.cli.measure")


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["push", "a b", "x"]],
)
def test_a_command_loads_only_what_it_uses(arguments: list[str]) -> None:
    assert _loaded(arguments).isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["nope"], ["completion", "bash"], *([name, "--help"] for name in COMMANDS)],
)
def test_the_library_is_not_loaded_for(arguments: list[str]) -> None:
    assert _loaded(arguments).isdisjoint(["nasq._names", "nasq_proto", "rich"])


def test_push_loads_only_what_it_uses(server: LocalServer) -> None:
    assert _loaded(["push", "a", "x", "-s", server.url]).isdisjoint(HEAVY)


def _loaded(arguments: list[str]) -> set[str]:
    code = "import json, sys\nfrom nasq.cli import run\n"
    code += f"run({arguments!r})\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    assert "click" in modules
    return modules


# ---------------------------------------------------------------------- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = nasq("completion", shell)
    assert done.returncode == 0
    assert f"_NASQ_COMPLETE={shell}_complete" in done.stdout
    monkeypatch.setenv("_NASQ_COMPLETE", f"{shell}_source")
    assert nasq().stdout == done.stdout


@pytest.mark.parametrize(
    ("words", "offers"), [("nasq pu", "push"), ("nasq watch --all", "--all-namespaces")]
)
def test_words_are_completed(words: str, offers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_NASQ_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    assert nasq().stdout.splitlines() == [f"plain,{offers}"]
