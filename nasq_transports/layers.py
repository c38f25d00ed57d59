"""TLS and WebSocket: the layers between a socket and the client.

A layer does no I/O: it turns bytes into bytes. So one implementation of TLS and one of WebSocket
serve every transport, and all handshakes take place here.
"""

from __future__ import annotations

from typing import Any, Protocol

from nasq_proto import Client, NASQError, OpenTransport, Server, StartTLS, TLSError

__all__ = ["Layer", "LayeredStream", "Stack", "websocket_and_tls"]


class Layer(Protocol):
    """One layer.

    Each method may raise `NASQError` and no other exception. After that the stream is unusable,
    but `output` may still return an alert for the peer.

    Attributes:
        closed: the peer has ended this layer.
        has_unread: `receive` has bounded its work and left some input unread; calling it with no
            data continues.
    """

    closed: bool
    has_unread: bool

    @property
    def ready(self) -> bool:
        """Whether `send` may be called: the handshake is done and earlier bytes were accepted."""

    def start(self) -> None:
        """Begin the handshake; `output` returns its bytes."""

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the layer below, and return those for the layer above."""

    def send(self, data: bytes) -> None:
        """Take bytes from the layer above. Call this only while `ready`."""

    def output(self) -> bytes:
        """Return the bytes for the layer below."""


class Stack:
    """The layers of one stream, beginning with the one next to the socket."""

    def __init__(self, layers: list[Layer]) -> None:
        self._layers = layers
        self._started = 0
        self._start_next()

    @property
    def ready(self) -> bool:
        """Whether every handshake is done and every layer accepts bytes."""
        return all(layer.ready for layer in self._layers)

    @property
    def closed(self) -> bool:
        """Whether the peer has ended one of the layers."""
        return any(layer.closed for layer in self._layers)

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the socket, and return those for the client."""
        for layer in self._layers:
            data = layer.receive(data)
            self._start_next()
            if not data:
                break
        return data

    @property
    def has_unread(self) -> bool:
        """Whether some input is still unread: call `receive_unread` soon.

        Only WebSocket leaves input unread, and it is always the topmost layer.
        """
        return self._layers[-1].has_unread

    def receive_unread(self) -> bytes:
        """Read more of the unread input, and return the bytes for the client."""
        return self._layers[-1].receive(b"")

    def send(self, data: bytes) -> None:
        """Take bytes from the client. Call this only while `ready`."""
        self._layers[-1].send(data)

    def output(self) -> bytes:
        """Return the bytes for the socket."""
        data = b""
        for index in reversed(range(len(self._layers))):
            layer = self._layers[index]
            if data:
                layer.send(data)
            # The output stays in this layer while the layer below does not accept bytes.
            below_is_ready = index == 0 or self._layers[index - 1].ready
            data = layer.output() if below_is_ready else b""
        return data

    def _start_next(self) -> None:
        """Start each layer whose lower layers are all ready."""
        while self._started < len(self._layers) and all(
            layer.ready for layer in self._layers[: self._started]
        ):
            self._layers[self._started].start()
            self._started += 1


def websocket_and_tls(server: Server, *, tls: bool, context: Any) -> Stack | None:
    """Return the layers of a new stream to `server`, or None if it needs none.

    Raises:
        MissingDependencyError: WebSocket needs the package wsproto.
        TLSError: the TLS context cannot be used.
    """
    layers: list[Layer] = []
    if tls:
        from .tls import TLSLayer

        layers.append(TLSLayer(server, context))
    if server.scheme in ("ws", "wss"):
        from .websocket import WebSocketLayer

        layers.append(WebSocketLayer(server))
    return Stack(layers) if layers else None


class LayeredStream:
    """The stream of the present attempt: the layers that the client asked for, and their handshake.

    The methods raise `NASQError` when a layer fails. Then the stream has to be closed.

    Attributes:
        attempt: the attempt that the client started last.
        stack: its layers; None while it has none.
        error: why a layer could not send. The driver reports it at its next turn.
    """

    def __init__(self, client: Client) -> None:
        self.attempt = 0
        self.stack: Stack | None = None
        self.error: NASQError | None = None
        self._client = client
        # What the layers' handshake is for; None once it is done.
        self._action: OpenTransport | StartTLS | None = None

    def begin(self, action: OpenTransport) -> None:
        """Forget the last attempt: the client has started the next one."""
        self.attempt = action.attempt
        self.stack = self.error = None
        self._action = action

    def connected(self, now: float) -> bool:
        """The socket is connected: begin the handshake of the layers, if there are any.

        Returns:
            False if the client does not want this stream anymore.
        """
        action = self._action
        assert isinstance(action, OpenTransport), "no handshake has begun in this attempt"
        if action.tls or action.server.scheme in ("ws", "wss"):
            self._add_layers(action.server, tls=action.tls)
            return True
        return self._client.transport_opened(self.attempt, now)

    def start_tls(self, action: StartTLS) -> None:
        """Put TLS over the stream, and begin its handshake."""
        self._action = action
        self._add_layers(action.server, tls=True)

    def _add_layers(self, server: Server, *, tls: bool) -> None:
        try:
            self.stack = websocket_and_tls(server, tls=tls, context=self._client.tls_context)
        except NASQError:
            raise
        except Exception as error:  # the user's context is something else, or is unusable
            raise TLSError(f"TLS cannot be set up: {error!r}") from error

    def data_to_send(self) -> bytes:
        """Return the bytes for the socket."""
        stack = self.stack
        if stack is None:
            return self._client.data_to_send()
        if stack.ready and (data := self._client.data_to_send()):
            stack.send(data)
        return stack.output()

    def receive(self, data: bytes, now: float) -> bool:
        """Take bytes from the socket; no bytes: read what the layers have left unread.

        Returns:
            False if the peer has ended a layer.
        """
        stack = self.stack
        assert stack is not None, "without layers the bytes are the client's"
        plain = stack.receive(data) if data else stack.receive_unread()
        if self._action is not None and stack.ready:
            self._handshake_done(now)
        if plain:
            self._client.receive_data(self.attempt, plain, now)
        return not stack.closed

    def _handshake_done(self, now: float) -> None:
        """Report the handshake as what the client had asked for."""
        action, self._action = self._action, None
        if isinstance(action, StartTLS):
            self._client.tls_established(self.attempt, now)
        else:
            self._client.transport_opened(self.attempt, now)

    @property
    def has_unread(self) -> bool:
        """Whether the layers have left input unread that the client still wants."""
        stack = self.stack
        return stack is not None and stack.has_unread and self._client.wants(self.attempt)
