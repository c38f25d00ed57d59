"""All scenarios. Importing this module fills `SCENARIOS`."""

from __future__ import annotations

from . import breaking, connecting, overflowing, receiving, requesting, sending, subscribing
from .stage import MODULES, SCENARIOS, play

__all__ = [
    "MODULES",
    "SCENARIOS",
    "breaking",
    "connecting",
    "overflowing",
    "play",
    "receiving",
    "requesting",
    "sending",
    "subscribing",
]
