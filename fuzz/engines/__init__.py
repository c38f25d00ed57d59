"""The engines, which make inputs. Each runs one target for some time and returns a `Result`."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Result"]


@dataclass
class Result:
    """The result of fuzzing one target.

    Attributes:
        target: the name of the target.
        inputs: inputs that were run.
        executions: runs of the code under test, of which an input may need several.
        seconds: processor time of these runs.
        corpus: inputs that the engine has at the end.
        coverage: arcs in the code that were executed, as the engine counts them.
        new: arcs that the corpus on disk does not execute.
        found: inputs that execute such arcs.
        crashes: the reports of crashes.
        peak: the maximum memory of a measured input in bytes. 0: not measured.
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
