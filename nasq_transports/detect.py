"""Detects which event loop is running in this thread."""

from __future__ import annotations

import sys

from nasq_proto import UsageError

from .transport import Transport

__all__ = ["running_transport"]


def running_transport() -> Transport:
    """Return a new transport for the event loop that is running in this thread.

    This imports no framework that the program has not imported already.

    Raises:
        UsageError: no event loop is running.
    """
    # trio first: in its guest mode, an asyncio loop runs in the same thread.
    if sys.modules.get("trio") is not None:
        import trio

        if trio.lowlevel.in_trio_task():
            from .trio import TrioTransport

            return TrioTransport()
    if sys.modules.get("asyncio") is not None:
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            from .asyncio import AsyncioTransport

            return AsyncioTransport()
    raise UsageError(
        "no asyncio or trio loop is running in this thread: without one, use nasq.BlockingNASQueue"
    )
