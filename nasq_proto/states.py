"""The state machines, as tables: that of one connection, and that of the reconnecting client.

A connection
------------
Why it exists: both sides of a NATS connection must keep an order (INFO, then CONNECT, then
anything). Code that checks this with flags would check it in many places.

Rules: `TRANSITIONS[state][sender][event type]` is the next state. A missing key is an error: the
peer's if the event was received, the caller's if it was to be sent. Nothing else decides.

Known imperfections: nats-server accepts commands before CONNECT if it asks for no credentials. This
table does not, since no client needs that. A second CONNECT is legal and keeps the state.

The client
----------
`CLIENT_STEPS[state]` contains the states that can follow. What is set in each state (`timer` is the
deadline of the attempt or the time of the next one, `until` the end of the time for the first
connection, `limit` how much output is accepted):

    state         attempt               timer  until   PING timer  limit             waiters
    IDLE          none                  no     no      no          nothing           connected
    CONNECTING    none, or handshaking  yes    maybe   no          reconnect_buffer  open, connected
    CONNECTED     live                  no     no      yes         none              none
    RECONNECTING  none, or handshaking  yes    no      no          reconnect_buffer  open, connected
    DRAINING      live                  no     no      yes         none              none
    CLOSED        none                  no     no      no          nothing           none

- `live` is the last phase of an attempt (`handshake.Phase`). Subscriptions exist in all states but
  IDLE and CLOSED.
- Only in CONNECTED can the attempt be `leaving` (lame duck mode). The output is sealed then: what
  is added waits for the next connection.
- In CLOSED, `stopped` is done once the transport has taken `Finished`. That action comes when the
  stream of the last attempt is closed.
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

__all__ = ["CLIENT_STEPS", "TRANSITIONS", "ClientState", "ConnectionState"]


class ConnectionState(enum.Enum):
    """The state of a connection; the same for both roles."""

    AWAIT_INFO = "the server has not sent INFO yet"
    AWAIT_CONNECT = "the client has not sent CONNECT yet"
    OPEN = "both sides may send anything"
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


class ClientState(enum.Enum):
    """The state of a client."""

    IDLE = "not connected yet"
    CONNECTING = "making the first connection"
    CONNECTED = "connected"
    RECONNECTING = "making a new connection"
    DRAINING = "draining"
    CLOSED = "closed"


_C = ClientState

CLIENT_STEPS: Final[dict[ClientState, frozenset[ClientState]]] = {
    _C.IDLE: frozenset({_C.CONNECTING}),
    _C.CONNECTING: frozenset({_C.CONNECTED, _C.CLOSED}),
    _C.CONNECTED: frozenset({_C.RECONNECTING, _C.DRAINING, _C.CLOSED}),
    _C.RECONNECTING: frozenset({_C.CONNECTED, _C.CLOSED}),
    _C.DRAINING: frozenset({_C.CLOSED}),
    _C.CLOSED: frozenset({_C.CONNECTING}),
}
