"""No test touches a NATS server that this test run did not start.

Port 4222 is where a developer's own server listens, and where the documentation's examples
connect to. A connection to it is refused here, and fails the test that it belongs to.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

__all__ = ["PORT", "attempts", "install"]

PORT = 4222
# Every attempt to connect to that port since the list was last cleared.
attempts: list[str] = []


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect":
        return
    address = arguments[1]
    if isinstance(address, tuple) and len(address) > 1 and address[1] == PORT:
        attempts.append(f"{address[0]}:{PORT}, in thread {threading.current_thread().name}")
        raise ConnectionRefusedError(f"tests may not connect to {address[0]}:{PORT}")


def install() -> None:
    """Refuse from now on, in this process. It can't be undone, as no audit hook can."""
    sys.addaudithook(_refuse)
