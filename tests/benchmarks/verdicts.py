"""Compute medians, ratios and reached goals from the figures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .rows import BEST_PEER, BY_NAME, PEERS, TRIO, Goal, Row

Repetitions = Sequence[Mapping[str, float]]


class Verdict(NamedTuple):
    """A goal, the ratio that was measured, and whether it reaches the goal."""

    goal: Goal
    ratio: float
    met: bool


class Summary(NamedTuple):
    """A row, and the median figure of each contender."""

    row: Row
    medians: dict[str, float]

    @property
    def figure(self) -> float | None:
        """The figure of nasq, or None."""
        return self.medians.get(self.row.main)

    @property
    def best_peer(self) -> str | None:
        """The fastest peer, or None."""
        there = [peer for peer in PEERS if peer in self.medians]
        best = min if self.row.less else max
        return best(there, key=self.medians.__getitem__) if there else None

    def ratio(self, against: str | None) -> float | None:
        """Return nasq's figure as a multiple of another one; None if one of them is missing."""
        if self.figure is None or against is None:
            return self.figure
        other = self.best_peer if against == BEST_PEER else against
        base = self.medians.get(other) if other is not None else None
        return self.figure / base if base else None

    def speed(self, contender: str, against: str) -> float | None:
        """Return the factor by which a contender is faster (or smaller) than another one."""
        one, other = self.medians.get(contender), self.medians.get(against)
        if not one or not other:
            return None
        return other / one if self.row.less else one / other

    def verdict(self, against: str | None) -> Verdict | None:
        """Return the verdict on the goal against a contender; None if there is none to judge."""
        for goal in self.row.goals:
            if goal.against == against:
                ratio = self.ratio(against)
                if ratio is not None:
                    met = ratio <= goal.bound if self.row.less else ratio >= goal.bound
                    return Verdict(goal, ratio, met)
        return None

    def verdicts(self) -> list[Verdict]:
        """Return the verdicts on all goals that can be judged."""
        found = [self.verdict(goal.against) for goal in self.row.goals]
        return [verdict for verdict in found if verdict is not None]

    def sibling(self, contender: str) -> Verdict | None:
        """Return the speed of nasq on trio or blocking sockets as a fraction of that on asyncio."""
        speed = self.speed(contender, "asyncio")
        if speed is None or self.row.main != "asyncio":
            return None
        bound = {"trio": TRIO, "blocking": self.row.blocking}[contender]
        return Verdict(Goal(bound, "asyncio"), speed, speed >= bound)


def summaries(results: Mapping[str, Mapping[str, Repetitions]]) -> list[Summary]:
    """Return a summary of each row that was measured."""
    return [
        Summary(
            BY_NAME[name],
            {
                contender: statistics.median(sample["value"] for sample in samples)
                for contender, samples in mine.items()
                if samples
            },
        )
        for name, mine in results.items()
    ]


def score(found: Sequence[Summary]) -> tuple[int, int]:
    """Return the number of goals that are reached, and of all goals."""
    verdicts = [v for summary in found for v in summary.verdicts()]
    verdicts += [
        v
        for summary in found
        for contender in ("trio", "blocking")
        if (v := summary.sibling(contender)) is not None
    ]
    return sum(v.met for v in verdicts), len(verdicts)
