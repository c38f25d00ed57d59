"""The NATS client protocol as pure state machines: no I/O, no clock, the standard library only.

`Connection` is the codec and the order of events, for either role; `Client` is the reconnecting
client that a transport drives. See docs/embedding.md.
"""

from __future__ import annotations

__version__ = "0.1.0"

from .actions import (
    Action,
    CloseTransport,
    Finished,
    NeedCredentials,
    OpenTransport,
    StartTLS,
)
from .client import Client
from .connection import Connection
from .decoder import Decoder, Frame, Head, Role, Run, unfold
from .encoder import encode
from .errors import *  # noqa: F403 - the whole tree is public, and lists itself in __all__
from .errors import __all__ as _errors
from .events import (
    Connect,
    ConnectionClosed,
    Err,
    Event,
    Info,
    Msg,
    Ok,
    Ping,
    Pong,
    ProtocolFailed,
    Pub,
    Sub,
    Unsub,
)
from .headers import HeaderBlock, Headers, encode_headers, parse_headers, status_of
from .inbox import Held, Inbox, Overflow
from .limits import Limits
from .notices import (
    Closed,
    Connected,
    Disconnected,
    LameDuck,
    Notice,
    Reconnected,
    ServerErrorReceived,
    SlowConsumer,
)
from .ops import Op
from .options import ClientOptions
from .replies import PendingReply, TakeReply
from .servers import ReconnectPolicy, Server, parse_server, server_at
from .states import ClientState, ConnectionState
from .subjects import check_queue_group, check_subject, subject_matches
from .subscriptions import Subscription
from .timers import Timer, Timers

__all__ = [
    "Action",
    "Client",
    "ClientOptions",
    "ClientState",
    "CloseTransport",
    "Closed",
    "Connect",
    "Connected",
    "Connection",
    "ConnectionClosed",
    "ConnectionState",
    "Decoder",
    "Disconnected",
    "Err",
    "Event",
    "Finished",
    "Frame",
    "Head",
    "HeaderBlock",
    "Headers",
    "Held",
    "Inbox",
    "Info",
    "LameDuck",
    "Limits",
    "Msg",
    "NeedCredentials",
    "Notice",
    "Ok",
    "Op",
    "OpenTransport",
    "Overflow",
    "PendingReply",
    "Ping",
    "Pong",
    "ProtocolFailed",
    "Pub",
    "ReconnectPolicy",
    "Reconnected",
    "Role",
    "Run",
    "Server",
    "ServerErrorReceived",
    "SlowConsumer",
    "StartTLS",
    "Sub",
    "Subscription",
    "TakeReply",
    "Timer",
    "Timers",
    "Unsub",
    "check_queue_group",
    "check_subject",
    "encode",
    "encode_headers",
    "parse_headers",
    "parse_server",
    "server_at",
    "status_of",
    "subject_matches",
    "unfold",
]
__all__ += _errors
