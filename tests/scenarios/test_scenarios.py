"""Each scenario has the same trace everywhere: on asyncio, trio and blocking sockets, against
nats-server and against nasq's server, and in simulations with different seeds.

The module `__main__` explains how to record the traces again.
"""

from __future__ import annotations

import builtins
import re

import pytest

import nasq
from nasq.server import LocalServer
from nasq.testing import MemoryServer
from tests.conftest import BACKENDS
from tests.e2e.tools import LONG

from . import record
from .script import SCENARIOS, play
from .worlds import World, in_memory, on_a_real_server, simulated

RECORD = record.read()
SEEDS = range(100 if LONG else 8)


def check(name: str, world: World, where: str) -> None:
    trace = play(name, world)
    if trace != RECORD[name]:
        pytest.fail(record.difference(name, RECORD[name], trace, where), pytrace=False)


def test_every_scenario_is_recorded() -> None:
    assert sorted(RECORD) == sorted(SCENARIOS)
    assert len(RECORD) >= 100


def test_the_recorded_errors_are_public() -> None:
    lines = "\n".join(line for trace in RECORD.values() for line in trace)
    for name in set(re.findall(r"raises (\w+)", lines)):
        if not hasattr(nasq, name):
            assert issubclass(
                getattr(builtins, name), (TypeError, ValueError, LookupError, AttributeError)
            )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_on_a_real_server(name: str, backend: str, server: LocalServer) -> None:
    check(name, on_a_real_server(backend, server), backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_on_nasqs_server(name: str, backend: str, memory_server: MemoryServer) -> None:
    check(name, in_memory(backend, memory_server), f"{backend}, nasq's server")


@pytest.mark.parametrize("name", SCENARIOS)
def test_in_a_simulation(name: str) -> None:
    for seed in SEEDS:
        check(name, simulated(seed), f"a simulation with seed {seed}")
