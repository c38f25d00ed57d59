"""WebSocket as a layer, with wsproto: binary frames contain the usual NATS protocol."""

from __future__ import annotations

from typing import Final

from nasq_proto import MissingDependencyError, RemoteProtocolError, Server

try:
    from wsproto import ConnectionType, WSConnection
    from wsproto.events import (
        AcceptConnection,
        BytesMessage,
        CloseConnection,
        Ping,
        RejectConnection,
        Request,
        TextMessage,
    )
except ImportError as error:
    raise MissingDependencyError(
        "ws:// and wss:// need the package wsproto: python -m pip install 'nasq[websocket]'"
    ) from error

__all__ = ["WebSocketLayer"]

# The most frames that one call reads. A peer can put 130,000 empty frames into a chunk, and wsproto
# needs about 10 µs for each.
_MAX_FRAMES: Final = 512


class WebSocketLayer:
    """See `nasq_transports.layers.Layer`."""

    def __init__(self, server: Server) -> None:
        self.ready = False
        self.closed = False
        self.has_unread = False
        self._server = server
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._out = b""
        # The Pong for the latest Ping. It replaces one that was not sent yet, as RFC 6455 5.5.3
        # allows, so that a peer that sends Pings and reads nothing cannot fill the memory.
        self._pong = b""

    def start(self) -> None:
        """See `Layer.start`."""
        try:
            self._out += self._ws.send(Request(host=self._server.address, target="/"))
        except Exception as error:  # a host name that is illegal in an HTTP request
            raise self._error(error) from error

    def receive(self, data: bytes) -> bytes:
        """See `Layer.receive`."""
        if self.closed:
            return b""  # data after a Close frame is ignored (RFC 6455 5.5.1)
        try:
            if data or not self.has_unread:
                self._ws.receive_data(data)
            return b"".join(self._events())
        except RemoteProtocolError:
            raise
        except Exception as error:  # wsproto raises more than its ProtocolError
            raise self._error(error) from error

    def _events(self) -> list[bytes]:
        plain: list[bytes] = []
        self.has_unread = False
        # wsproto parses a frame when its event is requested.
        for count, event in enumerate(self._ws.events(), start=1):
            if isinstance(event, BytesMessage):
                plain.append(bytes(event.data))
            elif isinstance(event, TextMessage):
                plain.append(event.data.encode())
            elif isinstance(event, AcceptConnection):
                self.ready = True
            elif isinstance(event, Ping):
                self._pong = self._ws.send(event.response())
            elif isinstance(event, CloseConnection):
                self._out += self._ws.send(event.response())
                self.closed = True
                break
            elif isinstance(event, RejectConnection):
                raise RemoteProtocolError(
                    f"{self._server.address} refused the WebSocket: HTTP status {event.status_code}"
                )
            if count == _MAX_FRAMES:
                self.has_unread = True
                break
        return plain

    def send(self, data: bytes) -> None:
        """See `Layer.send`."""
        try:
            self._out += self._ws.send(BytesMessage(data))
        except Exception as error:
            raise self._error(error) from error

    def output(self) -> bytes:
        """See `Layer.output`."""
        out, self._out, self._pong = self._pong + self._out, b"", b""
        return out

    def _error(self, error: Exception) -> RemoteProtocolError:
        return RemoteProtocolError(
            f"{self._server.address} broke the WebSocket protocol: {str(error) or repr(error)}"
        )
