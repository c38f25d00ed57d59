"""The events of the NATS protocol: one class for each kind of frame, used by both roles.

A client receives `Info`, `Msg`, `Ping`, `Pong`, `Ok` and `Err`, and sends the others; a server does
the reverse. `ConnectionClosed` and `ProtocolFailed` are never on the wire: they report how a stream
ended. Events compare by value, and must not be changed.

Subjects are str, decoded as UTF-8 with surrogateescape, so that any subject that a peer relayed can
be sent back byte for byte. Header blocks stay raw bytes; `nasq_proto.headers` parses them.
"""

from __future__ import annotations

import enum
import json
from typing import Any, Final, NoReturn

from .errors import RemoteProtocolError
from .limits import DEFAULT_MAX_PAYLOAD
from .values import Value

__all__ = [
    "Connect",
    "ConnectionClosed",
    "Err",
    "Event",
    "Info",
    "Msg",
    "Ok",
    "Ping",
    "Pong",
    "ProtocolFailed",
    "Pub",
    "Role",
    "Sub",
    "Unsub",
]


class Role(enum.Enum):
    """A side of a connection."""

    CLIENT = "client"
    SERVER = "server"


class Event(Value):
    """The base of everything that a stream consists of, and of the two ways in which it ends."""

    __slots__ = ()


class Ping(Event):
    """PING: the receiver answers with PONG."""

    __slots__ = ()


class Pong(Event):
    """PONG: the answer to the oldest PING that is not answered yet."""

    __slots__ = ()


class Ok(Event):
    """+OK: a server sends it for each command of a client that asked for `verbose`."""

    __slots__ = ()


class Err(Event):
    """-ERR: `text` is without its quotes; `errors.server_error` makes an exception of it."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


# The known fields, with the type of each and its value when it is absent: an absent field is false
# or empty, not unchanged. Unknown fields are kept in `fields`.
_INFO_FIELDS: Final[dict[str, Any]] = {
    "server_id": "",
    "server_name": "",
    "version": "",
    "proto": 0,
    "host": "",
    "port": 0,
    "cluster": "",
    "domain": "",
    "headers": False,
    "max_payload": DEFAULT_MAX_PAYLOAD,
    "jetstream": False,
    "auth_required": False,
    "tls_required": False,
    "tls_verify": False,
    "tls_available": False,
    "nonce": "",
    "client_id": 0,
    "client_ip": "",
    "ldm": False,
}


class Info(Event):
    """INFO: what a server reports about itself, at the start and after every change.

    `fields` is the JSON object as it was received; the attributes are typed and checked.
    `max_payload` is in bytes, and -1 means no limit. `ldm` announces lame duck mode.

    Raises:
        RemoteProtocolError: a known field has a value of the wrong type.
    """

    __slots__ = ("fields",)

    server_id: str
    server_name: str
    version: str
    proto: int
    host: str
    port: int
    cluster: str
    domain: str
    headers: bool
    max_payload: int
    jetstream: bool
    auth_required: bool
    tls_required: bool
    tls_verify: bool
    tls_available: bool
    nonce: str
    client_id: int
    client_ip: str
    ldm: bool

    def __init__(self, fields: dict[str, Any]) -> None:
        for name, default in _INFO_FIELDS.items():
            value = fields.get(name, default)
            if type(value) is not type(default):
                raise RemoteProtocolError(
                    f"INFO field {name!r} must be {type(default).__name__}, "
                    f"not {type(value).__name__}"
                )
        for name in ("connect_urls", "ws_connect_urls"):
            urls = fields.get(name)
            # Go encodes an empty list as null.
            if urls is None:
                continue
            if type(urls) is not list or not all(type(url) is str for url in urls):
                raise RemoteProtocolError(f"INFO field {name!r} must be a list of strings")
        self.fields = fields

    def __getattr__(self, name: str) -> Any:
        try:
            default = _INFO_FIELDS[name]
        except KeyError:
            raise AttributeError(f"INFO has no field {name!r}; see .fields") from None
        return self.fields.get(name, default)

    def __hash__(self) -> int:
        return hash(self.server_id)

    @property
    def connect_urls(self) -> list[str]:
        """The addresses of the cluster's servers, as "host:port"; IPv6 hosts are in brackets."""
        return self.fields.get("connect_urls") or []

    @property
    def ws_connect_urls(self) -> list[str]:
        """The same for WebSocket connections."""
        return self.fields.get("ws_connect_urls") or []

    @classmethod
    def from_json(cls, data: bytes) -> Info:
        """Parse the JSON of an INFO line.

        Raises:
            RemoteProtocolError: it is not a JSON object, or a known field has the wrong type.
        """
        return cls(_json_object(data, "INFO"))


# The fields whose values a repr shows. Any other might be a credential, which must not get into a
# log: new versions of the server add such fields, and the server accepts `PASS` for `pass`.
_SHOWN: Final = frozenset(
    {
        "echo",
        "headers",
        "lang",
        "name",
        "no_responders",
        "pedantic",
        "protocol",
        "tls_required",
        "verbose",
        "version",
    }
)


class Connect(Event):
    """CONNECT: what a client reports about itself. `fields` is the JSON object of the wire.

    Its repr shows only the values of fields that are known not to be credentials.
    """

    __slots__ = ("fields",)

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.fields)))

    def __repr__(self) -> str:
        shown = {k: v if k in _SHOWN else "…" for k, v in self.fields.items()}
        return f"Connect(fields={shown!r})"

    @classmethod
    def from_json(cls, data: bytes) -> Connect:
        """Parse the JSON of a CONNECT line.

        Raises:
            RemoteProtocolError: it is not a JSON object.
        """
        return cls(_json_object(data, "CONNECT"))


class Pub(Event):
    """PUB, or HPUB when `headers` (a raw block) is not None."""

    __slots__ = ("headers", "payload", "reply", "subject")

    def __init__(
        self,
        subject: str,
        payload: bytes = b"",
        reply: str | None = None,
        headers: bytes | None = None,
    ) -> None:
        self.subject = subject
        self.payload = payload
        self.reply = reply
        self.headers = headers


class Sub(Event):
    """SUB: `sid` is chosen by the client and names the subscription in MSG and UNSUB."""

    __slots__ = ("queue_group", "sid", "subject")

    def __init__(self, subject: str, sid: str, queue_group: str | None = None) -> None:
        self.subject = subject
        self.sid = sid
        self.queue_group = queue_group


class Unsub(Event):
    """UNSUB: at once, or after `max_msgs` messages since the subscription began."""

    __slots__ = ("max_msgs", "sid")

    def __init__(self, sid: str, max_msgs: int | None = None) -> None:
        self.sid = sid
        self.max_msgs = max_msgs


class Msg(Event):
    """MSG, or HMSG when `headers` (a raw block) is not None."""

    __slots__ = ("headers", "payload", "reply", "sid", "subject")

    def __init__(
        self,
        subject: str,
        sid: str,
        payload: bytes = b"",
        reply: str | None = None,
        headers: bytes | None = None,
    ) -> None:
        self.subject = subject
        self.sid = sid
        self.payload = payload
        self.reply = reply
        self.headers = headers


class ConnectionClosed(Event):
    """The peer closed its side between two frames."""

    __slots__ = ()


class ProtocolFailed(Event):
    """The stream can't be read any further; `error` is the reason. Always the last event."""

    __slots__ = ("error",)

    def __init__(self, error: RemoteProtocolError) -> None:
        self.error = error

    def _fields(self) -> tuple[Any, ...]:
        return (type(self.error), str(self.error))

    def __repr__(self) -> str:
        return f"ProtocolFailed({self.error})"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _json_object(data: bytes, verb: str) -> dict[str, Any]:
    try:
        # Given bytes, json.loads would accept UTF-16 and UTF-32 too.
        value = json.loads(data.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"{verb} is not valid JSON: {type(error).__name__}") from None
    if type(value) is not dict:
        raise RemoteProtocolError(f"{verb} must contain a JSON object, not {type(value).__name__}")
    return value
