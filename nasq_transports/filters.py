"""What lies between a socket's bytes and the client's: TLS, WebSocket, both or nothing.

A filter does no I/O either: bytes in, bytes out. So one TLS and one WebSocket serve every
transport.
"""

from __future__ import annotations

from typing import Any, Protocol

from nasq_proto import Server

__all__ = ["Filter", "Stack", "websocket_and_tls"]


class Filter(Protocol):
    """One layer.

    Each method may raise `NASQError`, and nothing else; the stream is then of no more use, but
    `output` may have last words (an alert) for the peer.

    Attributes:
        closed: the peer has ended this layer.
        has_rest: `receive` has left something unread, so that it takes no longer; called with no
            data it goes on.
    """

    closed: bool
    has_rest: bool

    @property
    def ready(self) -> bool:
        """Its handshake is done and all that was sent was taken: `send` may be used."""

    def start(self) -> None:
        """Begin the handshake; `output` has its bytes."""

    def receive(self, data: bytes) -> bytes:
        """Bytes of the layer below; gives those for the layer above."""

    def send(self, data: bytes) -> None:
        """Bytes of the layer above; `output` has those for the layer below. Only when `ready`."""

    def output(self) -> bytes:
        """What the layer below has to carry."""


class Stack:
    """Filters, the one next to the socket first."""

    def __init__(self, filters: list[Filter]) -> None:
        self._filters = filters
        self._started = 0
        self._start_next()

    @property
    def ready(self) -> bool:
        """Every handshake is done, and every layer takes bytes."""
        return all(layer.ready for layer in self._filters)

    @property
    def closed(self) -> bool:
        """The peer has ended one of the layers."""
        return any(layer.closed for layer in self._filters)

    def receive(self, data: bytes) -> bytes:
        """Bytes of the socket; gives the client's."""
        for layer in self._filters:
            data = layer.receive(data)
            self._start_next()
            if not data:
                break
        return data

    @property
    def has_rest(self) -> bool:
        """Something was left unread, so that `receive` takes no longer: call `receive_rest` soon.

        Of what there is only WebSocket does that, which is the topmost layer.
        """
        return self._filters[-1].has_rest

    def receive_rest(self) -> bytes:
        """More bytes for the client, of what was left unread."""
        return self._filters[-1].receive(b"")

    def send(self, data: bytes) -> None:
        """Bytes of the client's; only when `ready`."""
        self._filters[-1].send(data)

    def output(self) -> bytes:
        """What the socket has to carry."""
        data = b""
        for index in reversed(range(len(self._filters))):
            layer = self._filters[index]
            if data:
                layer.send(data)
            # What the layer below does not take now stays in this one.
            below_is_ready = index == 0 or self._filters[index - 1].ready
            data = layer.output() if below_is_ready else b""
        return data

    def _start_next(self) -> None:
        """A layer starts when all below it are ready."""
        while self._started < len(self._filters) and all(
            layer.ready for layer in self._filters[: self._started]
        ):
            self._filters[self._started].start()
            self._started += 1


def websocket_and_tls(server: Server, *, tls: bool, context: Any) -> Stack | None:
    """The filters of a new stream to `server`; None when it needs none.

    Raises:
        MissingDependencyError: WebSocket needs the package wsproto.
    """
    filters: list[Filter] = []
    if tls:
        from .tls import TLSFilter

        filters.append(TLSFilter(server, context))
    if server.scheme in ("ws", "wss"):
        from .websocket import WebSocketFilter

        filters.append(WebSocketFilter(server))
    return Stack(filters) if filters else None
