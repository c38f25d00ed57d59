"""The connection's state machine: which event each side may send in each state.

Both sides of a NATS stream must keep an order: INFO, then CONNECT, then anything. This table is the
only place that decides about it; flags would have to be checked in several.

Rules: `TRANSITIONS[state][sender][event type]` is the next state. A missing key is an error: the
peer's error if the event was received, the caller's if it was to be sent.

Known imperfections: nats-server accepts commands before CONNECT if it requires no credentials. This
table does not, because no client needs it. A second CONNECT is legal and keeps the state.
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
    """The state of a connection, which is the same for both roles."""

    AWAIT_INFO = "the server has not sent INFO yet"
    AWAIT_CONNECT = "the client has not sent CONNECT yet"
    OPEN = "both may send anything"
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
