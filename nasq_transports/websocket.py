"""WebSocket as a filter, with wsproto: NATS speaks its usual protocol in binary frames."""

from __future__ import annotations

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
    from wsproto.utilities import ProtocolError
except ImportError as error:
    raise MissingDependencyError(
        "ws:// and wss:// need the package wsproto: python -m pip install 'nasq[websocket]'"
    ) from error

__all__ = ["WebSocketFilter"]


class WebSocketFilter:
    """See `nasq_transports.filters.Filter`."""

    def __init__(self, server: Server) -> None:
        self.ready = False
        self.closed = False
        self._server = server
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._out = b""

    def start(self) -> None:
        """See `Filter.start`."""
        self._out += self._ws.send(Request(host=self._server.address, target="/"))

    def receive(self, data: bytes) -> bytes:
        """See `Filter.receive`."""
        try:
            self._ws.receive_data(data)
            return b"".join(self._events())
        except ProtocolError as error:
            raise RemoteProtocolError(
                f"{self._server.address} breaks the WebSocket protocol: {error}"
            ) from error

    def _events(self) -> list[bytes]:
        plain: list[bytes] = []
        for event in self._ws.events():
            if isinstance(event, BytesMessage):
                plain.append(bytes(event.data))
            elif isinstance(event, TextMessage):
                plain.append(event.data.encode())
            elif isinstance(event, AcceptConnection):
                self.ready = True
            elif isinstance(event, Ping):
                self._out += self._ws.send(event.response())
            elif isinstance(event, CloseConnection):
                self._out += self._ws.send(event.response())
                self.closed = True
            elif isinstance(event, RejectConnection):
                raise RemoteProtocolError(
                    f"{self._server.address} refuses a WebSocket: HTTP status {event.status_code}"
                )
        return plain

    def send(self, data: bytes) -> None:
        """See `Filter.send`."""
        self._out += self._ws.send(BytesMessage(data))

    def output(self) -> bytes:
        """See `Filter.output`."""
        out, self._out = self._out, b""
        return out
