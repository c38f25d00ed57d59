"""Keep tests away from NATS servers that this run did not start.

A developer's own server listens on port 4222, and the examples in the documentation connect to it.
A connection to this port is refused, and fails the test that made it.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

__all__ = ["PORT", "attempts", "install"]

PORT = 4222
# All attempts to connect to that port since the list was last cleared.
attempts: list[str] = []


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect":
        return
    address = arguments[1]
    if isinstance(address, tuple) and len(address) > 1 and address[1] == PORT:
        attempts.append(f"{address[0]}:{PORT}, in thread {threading.current_thread().name}")
        raise ConnectionRefusedError(f"tests must not connect to {address[0]}:{PORT}")


def install() -> None:
    """Refuse such connections in this process from now on. An audit hook can't be removed."""
    sys.addaudithook(_refuse)
