"""Detects that this process was forked: a connection belongs to the process that opened it."""

from __future__ import annotations

import os
from typing import Final
from weakref import WeakSet

from nasq_proto import Client

__all__ = ["generation", "watch"]

_generation = 0
_clients: Final[WeakSet[Client]] = WeakSet()


def generation() -> int:
    """Return the number of forks between the first process and this one.

    A transport belongs to the generation in which it was created.
    """
    return _generation


def watch(client: Client) -> None:
    """Make the next publish in a forked child take the slow path, which refuses it."""
    _clients.add(client)


def _count_fork() -> None:
    global _generation
    _generation += 1
    for client in _clients:
        client.slow_down()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)
