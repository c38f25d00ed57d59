"""WebSocket as a filter, with wsproto: NATS speaks its usual protocol in binary frames."""

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

__all__ = ["WebSocketFilter"]

# Frames that are read in one call. A peer can put 130,000 empty ones into a chunk, of which wsproto
# reads one in about 10 µs.
_FRAMES: Final = 512


class WebSocketFilter:
    """See `nasq_transports.filters.Filter`."""

    def __init__(self, server: Server) -> None:
        self.ready = False
        self.closed = False
        self.has_rest = False
        self._server = server
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._out = b""
        # The answer to the latest PING. One that was not sent yet answers those before it as well
        # (RFC 6455 5.5.3): a peer that pings and reads nothing makes nothing grow.
        self._pong = b""

    def start(self) -> None:
        """See `Filter.start`."""
        try:
            self._out += self._ws.send(Request(host=self._server.address, target="/"))
        except Exception as error:  # a host name that can't stand in an HTTP request
            raise self._error(error) from error

    def receive(self, data: bytes) -> bytes:
        """See `Filter.receive`."""
        if self.closed:
            return b""  # nothing counts behind a Close frame (RFC 6455 5.5.1)
        try:
            if data or not self.has_rest:
                self._ws.receive_data(data)
            return b"".join(self._events())
        except RemoteProtocolError:
            raise
        except Exception as error:  # wsproto lets more than its own ProtocolError out
            raise self._error(error) from error

    def _events(self) -> list[bytes]:
        plain: list[bytes] = []
        self.has_rest = False
        # wsproto parses a frame when it is asked for its event.
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
                    f"{self._server.address} refuses a WebSocket: HTTP status {event.status_code}"
                )
            if count == _FRAMES:
                self.has_rest = True
                break
        return plain

    def send(self, data: bytes) -> None:
        """See `Filter.send`."""
        try:
            self._out += self._ws.send(BytesMessage(data))
        except Exception as error:
            raise self._error(error) from error

    def output(self) -> bytes:
        """See `Filter.output`."""
        out, self._out, self._pong = self._pong + self._out, b"", b""
        return out

    def _error(self, error: Exception) -> RemoteProtocolError:
        return RemoteProtocolError(
            f"{self._server.address} breaks the WebSocket protocol: {str(error) or repr(error)}"
        )
