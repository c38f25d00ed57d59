"""One NATS connection as a state machine, for either role: no I/O, no clock.

For those who embed the codec, write a server or a proxy, or fuzz. The reconnecting `Client` is
built on it. See docs/embedding.md for a walk through.

    >>> from nasq_proto import Connection, Role, Info, Connect, Ping
    >>> server, client = Connection(Role.SERVER), Connection(Role.CLIENT)
    >>> server.send(Info({"server_id": "S", "max_payload": 1048576}))
    >>> client.receive_data(server.data_to_send())[0].max_payload
    1048576
    >>> client.send(Connect({"verbose": False}))
    >>> client.send(Ping())
    >>> server.receive_data(client.data_to_send())
    [Connect(fields={'verbose': False}), Ping()]
"""

from __future__ import annotations

from .decoder import Decoder, Frame, Role, unfold
from .encoder import encode
from .errors import LocalProtocolError, RemoteProtocolError
from .events import ConnectionClosed, Event, Msg, ProtocolFailed
from .limits import Limits
from .states import TRANSITIONS, ConnectionState

__all__ = ["Connection"]


class Connection:
    """A connection's codec and order of events.

    Args:
        role: which side this is.
        limits: bounds on what the peer may send.
        sparing: bound the time of one call of `receive_frames`; see `has_rest`. Only for a client.
    """

    def __init__(self, role: Role, *, limits: Limits | None = None, sparing: bool = False) -> None:
        self.role = role
        self.state = ConnectionState.AWAIT_INFO
        self._peer = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        self._decoder = Decoder(role, limits, sparing=sparing)
        self._out: list[bytes] = []

    @property
    def buffered(self) -> int:
        """Bytes received of a frame that is not complete yet."""
        return self._decoder.buffered

    @property
    def has_rest(self) -> bool:
        """Whether `receive_frames` has left something unread; call it with no data to go on."""
        return bool(self._decoder.rest) and self.state is not ConnectionState.CLOSED

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """The events that `data` completes.

        Bad input gives the good events before it, then one `ProtocolFailed`.

        Raises:
            RemoteProtocolError: the stream has ended or failed before.
        """
        frames = self.receive_frames(bytes(data))
        while self.has_rest:
            frames += self.receive_frames(b"")
        return [event for frame in frames for event in unfold(frame)]

    def receive_frames(self, data: bytes) -> list[Frame]:
        """As `receive_data`, with messages left in runs (see `nasq_proto.decoder`)."""
        if self.state is ConnectionState.CLOSED:
            raise RemoteProtocolError("the stream has ended; nothing more can be read")
        frames = self._decoder.receive(data)
        allowed = TRANSITIONS[self.state][self._peer]
        for index, frame in enumerate(frames):
            kind = Msg if isinstance(frame, tuple) else type(frame)
            state = allowed.get(kind)
            if state is None:
                error = RemoteProtocolError(
                    f"{kind.__name__.upper()} is not allowed now: {self.state.value}"
                )
                self.state = ConnectionState.CLOSED
                return [*frames[:index], ProtocolFailed(error)]
            if state is not self.state:
                self.state = state
                allowed = TRANSITIONS[state][self._peer]
        return frames

    def receive_eof(self) -> list[Event]:
        """The peer closed its side. A frame that was under way is lost, and said to be.

        Idempotent: a second call gives nothing.
        """
        if self.state is ConnectionState.CLOSED:
            return []
        self.state = ConnectionState.CLOSED
        if self._decoder.buffered:
            return [
                ProtocolFailed(
                    RemoteProtocolError(
                        "the connection ended within a frame, "
                        f"{self._decoder.buffered} bytes into it"
                    )
                )
            ]
        return [ConnectionClosed()]

    def send(self, event: Event) -> None:
        """Queue an event for the peer; `data_to_send` gives its bytes.

        Raises:
            LocalProtocolError: it is illegal in this state or for this role.
            TypeError, InvalidSubjectError: it can't be encoded.
        """
        state = TRANSITIONS[self.state][self.role].get(type(event))
        if state is None or isinstance(event, (ConnectionClosed, ProtocolFailed)):
            raise LocalProtocolError(
                f"a {self.role.value} can't send {type(event).__name__.upper()} now: "
                f"{self.state.value}"
            )
        self._out.append(encode(event))
        self.state = state

    def data_to_send(self) -> bytes:
        """Everything queued since the last call, to be written to the peer in full."""
        out, self._out = self._out, []
        return b"".join(out)
