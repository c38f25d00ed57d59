"""Thin transports for `nasq_proto.Client`: asyncio, trio, blocking sockets, memory.

Each is imported from its own module, so that none loads a framework that is not used:
`nasq_transports.asyncio`, `.trio`, `.blocking`, `.memory`. `nasq_transports.conformance` is what a
transport of your own has to pass.
"""

from __future__ import annotations

from .base import BaseTransport, OnEvent, Transport
from .detect import running_transport
from .sync import run_sync

__all__ = ["BaseTransport", "OnEvent", "Transport", "run_sync", "running_transport"]
