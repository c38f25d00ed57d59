"""The public names of `nasq`, which loads this module when one of them is used first."""

from __future__ import annotations

from nasq_proto import (
    Closed,
    Connected,
    Disconnected,
    Headers,
    LameDuck,
    Notice,
    Reconnected,
    ReconnectPolicy,
    ServerErrorReceived,
    SlowConsumer,
    __version__,
)
from nasq_proto.errors import *  # noqa: F403 - the whole tree is public, and lists itself in __all__
from nasq_proto.errors import __all__ as _errors

from .blocking import BlockingNASQueue
from .message import Message
from .notices import UnanswerableRequest, UnpoppedMessages
from .options import ConnectionOptions, OverflowPolicy, QueueOptions
from .payload import Payload
from .queue import NASQueue
from .stats import Stats

__all__ = [
    "BlockingNASQueue",
    "Closed",
    "Connected",
    "ConnectionOptions",
    "Disconnected",
    "Headers",
    "LameDuck",
    "Message",
    "NASQueue",
    "Notice",
    "OverflowPolicy",
    "Payload",
    "QueueOptions",
    "ReconnectPolicy",
    "Reconnected",
    "ServerErrorReceived",
    "SlowConsumer",
    "Stats",
    "UnanswerableRequest",
    "UnpoppedMessages",
    "__version__",
]
__all__ += _errors
