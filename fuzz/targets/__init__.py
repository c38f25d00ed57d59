"""What is fuzzed. A target is a module with `test_one_input(bytes)`: it returns, or it has found
a fault.

What it returns says in short what the input did. It costs nothing and is worth a lot: the built-in
mutator measures coverage only where an input did something that none did before.

`ALLOWED` of a target names the exceptions that its calls may raise, each with the reason. Any other
exception is a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["TARGETS", "Target"]


class Target(NamedTuple):
    """One target.

    Attributes:
        name: on the command line, and of its directory in corpus/ and crashes/.
        what: what it checks, in a line.
        executions: runs of the code under test that one input makes.
        floors: executions per second that an engine has to reach, by the engine's name.
        memory: bytes that an input may cost, beside 64 per byte of its own.
        corpus: whose corpus it starts from.
        has_targets_of_its_own: modules that it runs through and does not look into (atheris).
        weight: its share of the time.
    """

    name: str
    what: str
    executions: int = 1
    floors: Mapping[str, int] = {}
    memory: int = 1 << 20
    corpus: str = ""
    has_targets_of_its_own: tuple[str, ...] = ()
    weight: int = 1

    @property
    def module(self) -> str:
        """Where it is."""
        return f"{__name__}.{self.name}"

    @property
    def test_one_input(self) -> Callable[[bytes], Hashable]:
        """Raises for an input that finds a fault."""
        run: Callable[[bytes], Hashable] = import_module(self.module).test_one_input
        return run

    @property
    def allowed(self) -> Mapping[type[Exception], str]:
        """Exceptions that are no fault, and why."""
        allowed: Mapping[type[Exception], str] = import_module(self.module).ALLOWED
        return allowed

    def inputs(self) -> SearchStrategy[bytes]:
        """Inputs for the Hypothesis engine."""
        strategies = import_module("fuzz.inputs")
        inputs: SearchStrategy[bytes] = strategies.INPUTS[self.name]
        return inputs


_CODEC: Final = tuple(
    f"nasq_proto.{name}"
    for name in ("connection", "decoder", "encoder", "errors", "events", "headers", "subjects")
)

TARGETS: Final = {
    target.name: target
    for target in (
        Target(
            "decoder",
            "four readings of one stream are the same: at once, byte by byte, in chosen chunks, "
            "and without the fast path",
            executions=4,
            floors={"random": 40_000, "atheris": 20_000},
            weight=4,
        ),
        Target(
            "strict",
            "the decoder reads what the strict reader reads",
            executions=2,
            corpus="decoder",
            weight=2,
        ),
        Target(
            "encoder",
            "what is written is read as it was, by two readers; only what has to be is refused",
            executions=3,
        ),
        Target(
            "client",
            "bytes, time and commands in any order break no promise of the client's",
            # atheris: a dozen operations per input, each of them instrumented.
            floors={"random": 5_000, "atheris": 3_000},
            has_targets_of_its_own=_CODEC,
            weight=4,
        ),
        Target("headers", "a header block is read as the strict reader does, and written again"),
        Target("info", "INFO is typed or refused, and harms no client"),
        Target("subjects", "subjects, patterns, queue groups and namespaces"),
        Target("urls", "server URLs and credentials files, whose errors show no secret"),
    )
}
