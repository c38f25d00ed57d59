"""Replay the inputs of fuzzing, run each target for a second, and test the harness itself.

fuzz/README.md explains how to fuzz for longer.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import __main__ as command_line
from fuzz import corpus, crash, rates
from fuzz.arcs import watch
from fuzz.engines import Result, builtin
from fuzz.targets import TARGETS, Target
from fuzz.targets.client import ALLOWED, OPERATIONS
from fuzz.watchdog import TooMuchMemoryError, TooSlowError, memory_of, time_limit
from nasq_proto import InvalidHeaderError
from nasq_proto.plaindecoder import PlainDecoder
from nasq_proto.strategies import Command

ROOT = Path(__file__).resolve().parents[2]
EACH = pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))


def corpus_of(target: Target) -> list[bytes]:
    directory = corpus.CORPUS / (target.corpus or target.name)
    return list(corpus.inputs_in(directory).values())


@EACH
def test_no_input_of_the_corpus_is_a_fault(target: Target) -> None:
    inputs = corpus_of(target)
    assert inputs
    for data in inputs:
        target.test_one_input(data)


@EACH
def test_no_input_that_crashed_before_is_a_fault(target: Target) -> None:
    for data in corpus.inputs_in(corpus.CRASHES / target.name).values():
        target.test_one_input(data)


@EACH
def test_no_input_of_the_corpus_needs_too_much_memory(target: Target) -> None:
    for data in corpus_of(target):
        memory_of(target, target.test_one_input, data)


@EACH
def test_a_second_of_the_built_in_engine_finds_no_fault(target: Target) -> None:
    result = builtin.run(target, 1.0, 20_240_501, lambda result: None, keep=False)
    assert result.crashes == []
    assert result.inputs > 0


@EACH
def test_every_allowed_exception_has_a_reason(target: Target) -> None:
    assert all(len(reason) > 10 for reason in target.allowed.values())


def test_the_corpus_is_small() -> None:
    files = [path for path in corpus.CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 200 * 1024


def test_the_same_seed_makes_the_same_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[bytes]] = []
    for _ in range(2):
        inputs: list[bytes] = []
        seen.append(inputs)
        module = sys.modules[TARGETS["headers"].module]
        monkeypatch.setattr(module, "test_one_input", inputs.append)
        builtin.run(TARGETS["headers"], 10.0, 7, lambda result: None, keep=False, most=500)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 250


# Runs in another interpreter, so that measuring the coverage of this one does not interfere.
_MEASURE = """
import sys
import coverage
names = ["nasq_proto/" + n + ".py" for n in ("decoder", "plaindecoder", "lines", "headers")]
measured = coverage.Coverage(
    branch=True, data_file=None, config_file=False, include=["*/" + name for name in names]
)
measured.start()
from fuzz.corpus import CORPUS, inputs_in
from fuzz.targets import TARGETS
for name in ("decoder", "strict", "headers"):
    for data in inputs_in(CORPUS / (TARGETS[name].corpus or name)).values():
        TARGETS[name].test_one_input(data)
measured.stop()
measured.json_report(outfile=sys.argv[1])
"""


def test_every_branch_of_decoder_and_headers_is_reached_from_the_corpus(tmp_path: Path) -> None:
    report = tmp_path / "coverage.json"
    subprocess.run(
        [sys.executable, "-c", _MEASURE, str(report)], cwd=ROOT, check=True, capture_output=True
    )
    missing = []
    files = json.loads(report.read_text(encoding="utf-8"))["files"]
    for name, measured in files.items():
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        for start, end in measured["missing_branches"]:
            missing.append(f"{name}: {start} -> {end}: {lines[start - 1].strip()}")
    assert len(files) == 4
    assert missing == []


# ---------------------------------------------------------------------- the harness


def test_a_fault_of_the_decoder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness must find a planted fault, which shows only when a stream is cut."""
    original = PlainDecoder._lengthen_line

    def forgets_a_blank(self: PlainDecoder, data: bytes) -> None:
        original(self, b"" if data == b" " else data)

    monkeypatch.setattr(PlainDecoder, "_lengthen_line", forgets_a_blank)
    result = builtin.run(TARGETS["decoder"], 20.0, 1, lambda result: None, keep=False, most=20_000)
    assert result.crashes
    assert "byte by byte" in result.crashes[0]


def test_a_report_says_how_to_replay_the_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crash, "CRASHES", tmp_path / "fuzz" / "crashes")
    said = crash.report(TARGETS["headers"], b"\x00\r\n", ValueError("the fault"))
    assert "ValueError: the fault" in said
    assert repr(b"\x00\r\n") in said
    assert base64.b64encode(b"\x00\r\n").decode() in said
    (kept,) = (tmp_path / "fuzz" / "crashes" / "headers").iterdir()
    assert kept.read_bytes() == b"\x00\r\n"
    where = f"fuzz/crashes/headers/{kept.name}"
    assert f"python -m fuzz --target headers --replay {where}" in said
    assert "def test_headers_" in said


def test_a_crashing_input_is_made_shorter() -> None:
    def run(data: bytes) -> None:
        if b"\r\n" in data and b"x" in data:
            raise ValueError

    data = b"many bytes x and more\r\n" * 9
    assert sorted(crash.minimized(run, data)) == sorted(b"x\r\n")
    assert crash.minimized(run, b"harmless") == b"harmless"


def test_the_smallest_set_has_the_same_coverage() -> None:
    run = TARGETS["headers"].test_one_input
    inputs = corpus_of(TARGETS["headers"])
    kept = corpus.smallest_set(run, [*inputs, *(data * 2 for data in inputs), b"x" * 99])
    assert len(kept) <= len(inputs) + 5

    def steps(inputs: list[bytes]) -> set[object]:
        return {arc for data in inputs for arc in watch(lambda data=data: run(data))}  # type: ignore[misc]  # bound now

    assert steps(inputs) <= steps(kept)


def test_too_much_memory_and_too_much_time_are_faults() -> None:
    def greedy(data: bytes) -> None:
        bytearray(1 << 22)

    def slow(data: bytes) -> None:
        while True:
            pass

    with pytest.raises(TooMuchMemoryError):
        memory_of(TARGETS["headers"], greedy, b"")
    with pytest.raises(TooSlowError), time_limit(lambda: 1, 0.1):
        slow(b"")


def test_the_dictionary_is_read_like_libfuzzer_does() -> None:
    words = corpus.read_dictionary()
    assert b"\r\n" in words
    assert b"PING\r\n" in words
    assert b'"max_payload":' in words
    assert b"" not in words
    quoted = corpus.DICTIONARY.read_text(encoding="ascii").splitlines()
    assert len(words) == sum(not line.startswith("#") for line in quoted)


def test_a_rate_counts_processor_time() -> None:
    assert Result("decoder", executions=10, seconds=2.0).rate == 5.0
    assert Result("decoder").rate == 0.0


@pytest.mark.parametrize(("floors", "status"), [((), 0), (("--floors",), 1)])
def test_a_slow_target_fails_a_run_only_with_floors(
    floors: tuple[str, ...],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    slow = Result("decoder", inputs=1, executions=1, seconds=1.0)
    monkeypatch.setattr(command_line, "fuzz", lambda *arguments: [slow])
    monkeypatch.setattr(sys, "argv", ["fuzz", "--engine", "random", *floors])
    assert command_line.main() == status
    assert ("TOO SLOW" in capsys.readouterr().out) == bool(status)


def test_slow_strategies_fail_a_run_only_with_floors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rates, "all_strategies", lambda: {"slow": None})
    monkeypatch.setattr(rates, "rate_of", lambda strategy: rates.FLOOR - 1.0)
    for floors, status in (([], 0), (["--floors"], 1)):
        monkeypatch.setattr(sys, "argv", ["fuzz", "--strategies", *floors])
        assert command_line.main() == status


def test_the_client_target_knows_every_command_of_a_script() -> None:
    assert {command.name for command in Command} <= set(OPERATIONS)
    assert InvalidHeaderError in ALLOWED


def test_the_command_line_replays_and_fuzzes(tmp_path: Path) -> None:
    data = tmp_path / "headers" / "input"
    data.parent.mkdir()
    data.write_bytes(b"NATS/1.0\r\n\r\n")

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "fuzz", *arguments]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        return done.stdout

    assert "no fault" in run("--replay", str(data))
    said = run("--engine", "random", "--target", "headers", "--minutes", "0.01", "--seed", "1")
    assert "engine random" in said
    assert "0 crashes" in said
    assert "headers" in run("--list")
