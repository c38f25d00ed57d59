"""What may be said when, as a table.

Why it exists: a NATS stream has an order that both sides must keep (INFO, then CONNECT, then
anything), and code that checks it with flags ends up checking it in five places.

Rules: `TRANSITIONS[state][sender][event type]` is the next state. A missing key is an error: of
the peer when it was received, of the caller when it was to be sent. Nothing else decides.

Known imperfections: nats-server takes commands before CONNECT when it asks for no credentials; this
table does not, since no client needs it. A second CONNECT is legal and keeps the state.
"""

from __future__ import annotations

import enum
from typing import Final

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
    Role,
    Sub,
    Unsub,
)

__all__ = ["TRANSITIONS", "ConnectionState"]


class ConnectionState(enum.Enum):
    """Where a connection stands; the same for both roles."""

    AWAIT_INFO = "the server has not said INFO yet"
    AWAIT_CONNECT = "the client has not said CONNECT yet"
    OPEN = "both may say anything"
    CLOSED = "the peer closed its side, or the stream failed"


_S = ConnectionState
_Table = dict[ConnectionState, dict[Role, dict[type[Event], ConnectionState]]]

TRANSITIONS: Final[_Table] = {
    _S.AWAIT_INFO: {
        Role.SERVER: {
            Info: _S.AWAIT_CONNECT,
            Err: _S.AWAIT_INFO,
            ConnectionClosed: _S.CLOSED,
            ProtocolFailed: _S.CLOSED,
        },
        Role.CLIENT: {
            ConnectionClosed: _S.CLOSED,
            ProtocolFailed: _S.CLOSED,
        },
    },
    _S.AWAIT_CONNECT: {
        Role.SERVER: {
            Info: _S.AWAIT_CONNECT,
            Err: _S.AWAIT_CONNECT,
            Ping: _S.AWAIT_CONNECT,
            Pong: _S.AWAIT_CONNECT,
            Ok: _S.AWAIT_CONNECT,
            ConnectionClosed: _S.CLOSED,
            ProtocolFailed: _S.CLOSED,
        },
        Role.CLIENT: {
            Connect: _S.OPEN,
            Ping: _S.AWAIT_CONNECT,
            Pong: _S.AWAIT_CONNECT,
            ConnectionClosed: _S.CLOSED,
            ProtocolFailed: _S.CLOSED,
        },
    },
    _S.OPEN: {
        Role.SERVER: {
            Info: _S.OPEN,
            Err: _S.OPEN,
            Ping: _S.OPEN,
            Pong: _S.OPEN,
            Ok: _S.OPEN,
            Msg: _S.OPEN,
            ConnectionClosed: _S.CLOSED,
            ProtocolFailed: _S.CLOSED,
        },
        Role.CLIENT: {
            Connect: _S.OPEN,
            Pub: _S.OPEN,
            Sub: _S.OPEN,
            Unsub: _S.OPEN,
            Ping: _S.OPEN,
            Pong: _S.OPEN,
            ConnectionClosed: _S.CLOSED,
            ProtocolFailed: _S.CLOSED,
        },
    },
    _S.CLOSED: {Role.SERVER: {}, Role.CLIENT: {}},
}
