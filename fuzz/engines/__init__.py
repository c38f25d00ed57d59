"""Engines: where inputs come from. Each runs one target for a while and returns a `Result`."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Result"]


@dataclass
class Result:
    """What came of fuzzing one target.

    Attributes:
        target: its name.
        inputs: inputs that were run.
        executions: runs of the code under test; one input may make several.
        seconds: processor time that they took.
        corpus: inputs that the engine ended with.
        coverage: steps in the code that were seen, in the engine's own measure.
        new: of these, those that the corpus on disk does not take.
        found: inputs worth keeping: they take steps that the corpus on disk does not.
        crashes: what is to be shown.
        peak: the most memory that a measured input cost, in bytes; 0: not measured.
    """

    target: str
    inputs: int = 0
    executions: int = 0
    seconds: float = 0.0
    corpus: int = 0
    coverage: int = 0
    new: int = 0
    found: list[bytes] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    peak: int = 0

    @property
    def rate(self) -> float:
        """Executions per second of processor time."""
        return self.executions / self.seconds if self.seconds else 0.0
