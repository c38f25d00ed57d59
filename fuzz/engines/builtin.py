"""The built-in engine, `random`: mutations, guided by the coverage of some inputs.

Recording coverage (`fuzz.arcs`) and memory makes an execution fifteen times as slow. So the engine
records them only for inputs for which `test_one_input` returned a new value, and for at most a
twentieth of the time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable
from typing import Final

from fuzz import crash
from fuzz.arcs import Arc, watch
from fuzz.corpus import CORPUS, inputs_in, read_dictionary
from fuzz.engines import Result
from fuzz.mutator import Mutator
from fuzz.targets import Target
from fuzz.watchdog import memory_of, time_limit

__all__ = ["run"]

_BATCH: Final = 250
_SHARE_FOR_WATCHING: Final = 0.05
# Bounds on the memory of the engine itself.
_MOST_BEHAVIOURS: Final = 1 << 16
_MOST_INPUTS: Final = 4096
_MOST_FAULTS: Final = 5
_MEASURE_EVERY: Final = 4

Progress = Callable[[Result], None]


class _Engine:
    def __init__(self, target: Target, seed: int, *, keep: bool) -> None:
        self.target = target
        self.result = Result(target.name)
        self._keep = keep
        self._run = target.test_one_input
        self._rng = random.Random(seed)
        self._mutator = Mutator(self._rng, read_dictionary())
        self._pool: list[bytes] = []
        self._arcs: set[Arc] = set()
        self._known: set[Arc] = set()
        self._behaviours: set[Hashable] = set()
        self._faults: set[crash.Fault] = set()
        self.watched = 0
        self._watching = 0.0

    def load(self) -> None:
        """Load the corpus."""
        corpus = inputs_in(CORPUS / (self.target.corpus or self.target.name))
        for data in corpus.values():
            self._pool.append(data)
            self._watch(data)
        if not self._pool:
            self._pool.append(b"")
        self._known = set(self._arcs)
        self.result.found.clear()
        self._watching = 0.0

    def batch(self) -> None:
        """Run a batch of inputs."""
        run, mutate, rand = self._run, self._mutator.mutate, self._rng.random
        pool, behaviours = self._pool, self._behaviours
        executions = self.target.executions
        result = self.result
        in_time = self._watching <= result.seconds * _SHARE_FOR_WATCHING
        may_watch = in_time and len(behaviours) < _MOST_BEHAVIOURS
        for number in range(_BATCH):
            size = len(pool)
            # Every second input is made from a recent one: these lead to new code more often.
            chosen = int(rand() * size) if number & 1 else size - 1 - int(rand() ** 3 * size)
            data = mutate(pool[chosen], pool[int(rand() * size)])
            try:
                behaviour = run(data)
            except Exception as error:  # the target catches the exceptions in ALLOWED
                self._fault(data, error)
                continue
            result.inputs += 1
            result.executions += executions
            # A behaviour that can't be watched now is still new later.
            if may_watch and behaviour not in behaviours:
                behaviours.add(behaviour)
                self._watch(data, worth=len(pool) < _MOST_INPUTS)
                may_watch = len(behaviours) < _MOST_BEHAVIOURS
        result.corpus, result.coverage = len(pool), len(self._arcs)
        result.new = len(self._arcs - self._known)

    def _watch(self, data: bytes, *, worth: bool = False) -> None:
        """Record the coverage of an input, and sometimes its memory."""
        start = time.process_time()
        self.watched += 1
        try:
            arcs = watch(lambda: self._run(data))
            if not self.watched % _MEASURE_EVERY:
                peak = memory_of(self.target, self._run, data)
                self.result.peak = max(self.result.peak, peak)
        except Exception as error:  # a fault of the corpus, or too much memory
            self._fault(data, error)
            return
        finally:
            self._watching += time.process_time() - start
        if not arcs <= self._arcs:
            self._arcs |= arcs
            self.result.found.append(data)
            worth = True
        if worth:
            self._pool.append(data)

    def _fault(self, data: bytes, error: Exception) -> None:
        fault = crash._place(error)
        if fault in self._faults or len(self._faults) >= _MOST_FAULTS:
            return
        self._faults.add(fault)
        shorter = crash.minimized(self._run, data)
        try:
            self._run(shorter)
        except Exception as again:  # the same fault, with the traceback of the shorter input
            data, error = shorter, again
            error.__context__ = None
        self.result.crashes.append(crash.report(self.target, data, error, keep=self._keep))


def run(
    target: Target,
    seconds: float,
    seed: int,
    progress: Progress,
    *,
    keep: bool = True,
    most: int | None = None,
) -> Result:
    """Fuzz one target.

    Args:
        target: the target to fuzz.
        seconds: the time to run.
        seed: the seed of the inputs.
        progress: called about once a second.
        keep: whether to save inputs that crash in crashes/.
        most: stop after about this many inputs.
    """
    engine = _Engine(target, seed, keep=keep)
    result = engine.result
    tick = 0.0
    with time_limit(lambda: result.inputs + engine.watched + len(result.crashes)):
        engine.load()
        end = time.monotonic() + seconds
        start = time.process_time()
        while (now := time.monotonic()) < end and (most is None or result.inputs < most):
            engine.batch()
            result.seconds = time.process_time() - start
            if now >= tick:
                progress(result)
                tick = now + 1.0
    return result
