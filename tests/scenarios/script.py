"""All scenarios: importing this enters them."""

from __future__ import annotations

from . import breaking, connecting, overflowing, receiving, requesting, sending, subscribing
from .stage import SCENARIOS, play

__all__ = [
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
