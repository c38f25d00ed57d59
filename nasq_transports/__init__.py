"""Thin transports for `nasq_proto.Client`: asyncio, trio, blocking sockets and memory.

Import each transport from its own module, `nasq_transports.asyncio`, `.trio`, `.blocking` or
`.memory`, so that no unused framework is loaded. A transport of your own has to pass
`nasq_transports.conformance`.
"""

from __future__ import annotations

from .addresses import connect_error
from .base import READ_SIZE, BaseTransport
from .callbacks import OnEvent, hand_out
from .detect import running_transport
from .sync import run_sync
from .transport import Transport

__all__ = [
    "READ_SIZE",
    "BaseTransport",
    "OnEvent",
    "Transport",
    "connect_error",
    "hand_out",
    "run_sync",
    "running_transport",
]
