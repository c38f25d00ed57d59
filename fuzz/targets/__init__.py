"""The fuzz targets. A target is a module with `test_one_input(bytes)`, which raises for a fault.

Its result is a summary of what the input did. The built-in engine records coverage only for inputs
with a new summary.

`ALLOWED` maps the exceptions that an input may cause to the reason. Any other exception is a crash.
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
        name: its name on the command line, and of its directory in corpus/ and crashes/.
        what: what it checks, in one line.
        executions: runs of the code under test for one input.
        floors: the minimum executions per second, by the name of the engine.
        memory: bytes of memory that an input may need, in addition to 64 for each of its bytes.
        corpus: the target whose corpus it uses; "" for its own.
        not_instrumented: modules that other targets test; atheris does not instrument them here.
        weight: its share of the time.
    """

    name: str
    what: str
    executions: int = 1
    floors: Mapping[str, int] = {}
    memory: int = 1 << 20
    corpus: str = ""
    not_instrumented: tuple[str, ...] = ()
    weight: int = 1

    @property
    def module(self) -> str:
        """The name of its module."""
        return f"{__name__}.{self.name}"

    @property
    def test_one_input(self) -> Callable[[bytes], Hashable]:
        """The function that raises for an input that finds a fault."""
        run: Callable[[bytes], Hashable] = import_module(self.module).test_one_input
        return run

    @property
    def allowed(self) -> Mapping[type[Exception], str]:
        """Exceptions that are not faults, and the reasons."""
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
            "a stream is read as the same events at once, byte by byte, in chunks, and without "
            "the fast path",
            executions=4,
            floors={"random": 40_000, "atheris": 20_000},
            weight=4,
        ),
        Target(
            "strict",
            "the decoder and the strict reader read the same events",
            executions=2,
            corpus="decoder",
            weight=2,
        ),
        Target(
            "encoder",
            "two readers read the event that was written, and only invalid events are refused",
            executions=3,
        ),
        Target(
            "client",
            "the client keeps its promises with bytes, time and commands in any order",
            floors={"random": 5_000, "atheris": 3_000},
            not_instrumented=_CODEC,
            weight=4,
        ),
        Target("headers", "two readers agree on a header block, which can be written again"),
        Target("info", "INFO has fields of the right types or is refused, and harms no client"),
        Target("subjects", "subjects, patterns, queue groups and namespaces"),
        Target("urls", "server URLs and credentials files; errors contain no secret"),
    )
}
