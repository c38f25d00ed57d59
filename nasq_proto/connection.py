"""One NATS connection as a state machine, for either role, without I/O and without a clock.

It is for embedding the codec, for servers and proxies, and for fuzzing. The reconnecting `Client`
is built on it. docs/embedding.md shows how to use it.

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

from typing import Final

from .decoder import Decoder
from .encoder import encode
from .errors import LocalProtocolError, RemoteProtocolError
from .events import ConnectionClosed, Event, Msg, ProtocolFailed, Role
from .limits import Limits
from .messages import Frame, unfold
from .states import TRANSITIONS, ConnectionState

__all__ = ["Connection"]

_CLOSED: Final = ConnectionState.CLOSED  # looking up an enum member takes longer


class Connection:
    """The codec and the state machine of one connection.

    Args:
        role: which side this is.
        limits: bounds on what the peer may send.
        bounded: limit the work of one call of `receive_frames`; see `has_unread`. Only for a
            client.
    """

    def __init__(self, role: Role, *, limits: Limits | None = None, bounded: bool = False) -> None:
        self.role = role
        self.state = ConnectionState.AWAIT_INFO
        self._peer = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        self._decoder = Decoder(role, limits, bounded=bounded)
        self._decode = self._decoder.receive
        # What the peer may send in this state, because looking it up by two enum members is slow.
        self._allowed = TRANSITIONS[self.state][self._peer]
        self._out: list[bytes] = []

    @property
    def buffered(self) -> int:
        """How many bytes were received that belong to no event yet."""
        return self._decoder.buffered

    @property
    def has_unread(self) -> bool:
        """Whether `receive_frames` has left data unread; call it with no data to continue."""
        return bool(self._decoder.unread) and self.state is not _CLOSED

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """Return the events that `data` completes.

        Bad input hides no event before it: those are returned, followed by one `ProtocolFailed`.

        Raises:
            RemoteProtocolError: the stream has ended or failed before.
        """
        if self.state is _CLOSED:
            raise self._closed_error()
        frames = self._decode(data if type(data) is bytes else bytes(data))
        if not frames:
            return []
        frames = self._checked(frames)
        while self.has_unread:
            frames += self.receive_frames(b"")
        if len(frames) == 1:
            return unfold(frames[0])
        events: list[Event] = []
        for frame in frames:
            if isinstance(frame, tuple):
                events += unfold(frame)
            else:
                events.append(frame)
        return events

    def receive_frames(self, data: bytes) -> list[Frame]:
        """Return what `receive_data` returns, with messages left in runs; see `decoder`."""
        if self.state is _CLOSED:
            raise self._closed_error()
        return self._checked(self._decode(data))

    def _checked(self, frames: list[Frame]) -> list[Frame]:
        """Return the frames up to the first that is illegal, which closes the stream."""
        for index, frame in enumerate(frames):
            kind = Msg if isinstance(frame, tuple) else type(frame)
            state = self._allowed.get(kind)
            if state is self.state:
                continue
            if state is None:
                error = RemoteProtocolError(
                    f"{kind.__name__.upper()} is not allowed now: {self.state.value}"
                )
                self.state = _CLOSED
                return [*frames[:index], ProtocolFailed(error)]
            self._enter(state)
        return frames

    def _enter(self, state: ConnectionState) -> None:
        self.state = state
        self._allowed = TRANSITIONS[state][self._peer]

    @staticmethod
    def _closed_error() -> RemoteProtocolError:
        return RemoteProtocolError("the stream has ended: nothing more can be read from it")

    def receive_eof(self) -> list[Event]:
        """Report that the peer closed its side. An incomplete frame is lost: `ProtocolFailed`.

        Idempotent: a second call returns no event.
        """
        if self.state is _CLOSED:
            return []
        self.state = _CLOSED
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
        """Queue an event for the peer; `data_to_send` returns its bytes.

        Raises:
            LocalProtocolError: the event is illegal in this state or for this role.
            TypeError, InvalidSubjectError: the event can't be encoded.
        """
        state = TRANSITIONS[self.state][self.role].get(type(event))
        if state is None or isinstance(event, (ConnectionClosed, ProtocolFailed)):
            raise LocalProtocolError(
                f"a {self.role.value} can't send {type(event).__name__.upper()} now: "
                f"{self.state.value}"
            )
        self._out.append(encode(event))
        if state is not self.state:
            self._enter(state)

    def data_to_send(self) -> bytes:
        """Return everything queued since the last call, to be written to the peer in full."""
        out, self._out = self._out, []
        return b"".join(out)
