"""One connect attempt and the connection it leads to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from .actions import NeedCredentials, StartTLS
from .connection import Connection
from .decoder import Role
from .encoder import PONG
from .errors import (
    ConnectFailedError,
    ConnectionLostError,
    NASQError,
    OperationTimeoutError,
    RemoteProtocolError,
)
from .events import Connect, Info, Ping, ProtocolFailed
from .handshake import (
    Next,
    Phase,
    after_info,
    connect_fields,
    credentials_in_url,
    fingerprint,
    no_credentials,
    plaintext_after_info,
    tls_first,
    tls_not_offered,
)
from .options import ClientOptions
from .pool import Candidate
from .states import ConnectionState

__all__ = ["Attempt", "Outcome"]

# What a step of the handshake leads to: an action for the transport, or the error that ends the
# attempt. None: neither, the handshake continues.
Outcome = StartTLS | NeedCredentials | NASQError | None


class Attempt:
    """A connect attempt, from `OpenTransport` until its stream is closed.

    Args:
        number: unique for the client; actions and reports carry it.
        candidate: where it connects to.
        options: the client's.
        now: the time.
        seconds: how long it may take to connect.

    Attributes:
        server: the server of `candidate`.
        connection: the codec and the order of events.
        deadline: when the time to connect is over.
        phase: how far it has come.
        info: the server's latest INFO.
        secure: TLS is up.
        credentials: a hash of the credentials that were sent; 0 before.
        to_send: what the handshake sends.
        connected_at: when the handshake was complete.
        error: the server's latest -ERR, if nothing came after it: the reason if it now hangs up.
        ended: set when the stream ends while received data is still unread: a tuple of its error,
            which can be None.
        leaving: the server is in lame duck mode, and the client moves to another one.
    """

    __slots__ = (
        "_options",
        "candidate",
        "connected_at",
        "connection",
        "credentials",
        "deadline",
        "ended",
        "error",
        "info",
        "leaving",
        "number",
        "phase",
        "seconds",
        "secure",
        "server",
        "to_send",
    )

    def __init__(
        self,
        number: int,
        candidate: Candidate,
        options: ClientOptions,
        *,
        now: float,
        seconds: float,
    ) -> None:
        self.number = number
        self.candidate = candidate
        self.server = candidate.server
        self.connection = Connection(Role.CLIENT, limits=options.limits, bounded=True)
        self.seconds = seconds
        self.deadline = now + seconds
        self.phase = Phase.OPENING
        self.info: Info | None = None
        self.secure = False
        self.credentials = 0
        self.to_send: list[bytes] = []
        self.connected_at = 0.0
        self.error: Exception | None = None
        self.ended: tuple[Exception | None] | None = None
        self.leaving = False
        self._options = options

    # ------------------------------------------------------------------ the handshake

    @property
    def tls_first(self) -> bool:
        """Whether TLS starts with the first byte of the stream, before INFO."""
        return tls_first(self._options, self.server)

    def opened(self) -> None:
        """Expect INFO, or TLS data before it: the stream is open."""
        self.phase = Phase.AWAIT_INFO
        self.secure = self.tls_first

    def info_received(self, info: Info) -> Outcome:
        """Continue the handshake after the first INFO."""
        self.info = info
        what_next = after_info(self._options, self.server, info, secure=self.secure)
        if what_next is Next.REFUSE:
            return tls_not_offered(self.server)
        if what_next is Next.START_TLS:
            self.phase = Phase.STARTING_TLS
            return StartTLS(self.number, self.server)
        return self._sign_in(info)

    def tls_established(self) -> Outcome:
        """Continue the handshake after TLS was established."""
        if self.phase is not Phase.STARTING_TLS or self.info is None:
            return None
        self.secure = True
        return self._sign_in(self.info)

    def credentials_given(self, fields: Mapping[str, str]) -> Outcome:
        """Continue the handshake with the credentials."""
        if self.phase is not Phase.AWAIT_CREDENTIALS or self.info is None:
            return None
        return self._send_connect(self.info, fields)

    def credentials_failed(self, error: Exception) -> Outcome:
        """Return the error for credentials that could not be read."""
        if self.phase is not Phase.AWAIT_CREDENTIALS:
            return None
        return no_credentials(self.server, error)

    def answer_pings(self, count: int) -> None:
        """Answer PINGs during the handshake."""
        self.to_send.append(PONG * count)

    def _sign_in(self, info: Info) -> Outcome:
        """Send CONNECT, or first ask for the credentials."""
        in_url = credentials_in_url(self.server)
        if in_url is not None:
            return self._send_connect(info, in_url)
        self.phase = Phase.AWAIT_CREDENTIALS
        need = NeedCredentials(self.number, partial(self._options.credentials, info))
        if self._options.asks_for_credentials:
            return need
        return self._send_connect(info, need.read_now())

    def _send_connect(self, info: Info, credentials: Mapping[str, str]) -> Outcome:
        connection = self.connection
        if connection.state is ConnectionState.CLOSED:
            return None  # invalid input after INFO, in the same chunk: that event ends the attempt
        try:
            fields = connect_fields(self._options, info, credentials, secure=self.secure)
            self.credentials = fingerprint(fields)
            connection.send(Connect(fields))
        except Exception as error:  # the user's callables can return anything
            failure: Exception = error
        else:
            connection.send(Ping())
            self.to_send.append(connection.data_to_send())
            self.phase = Phase.AWAIT_PONG
            return None
        # Not made in the handler: `failure` would become its context, and may contain a secret.
        return no_credentials(self.server, failure)

    # ------------------------------------------------------------------ why it failed

    def injected(self) -> RemoteProtocolError | None:
        """The error for plaintext data between INFO and the TLS handshake, if there is any."""
        if self.phase is Phase.STARTING_TLS and self.connection.buffered:
            return plaintext_after_info(self.server)
        return None

    def too_late(self, when: str) -> OperationTimeoutError:
        """Return the error for an attempt whose time is over; `when` describes that time."""
        return OperationTimeoutError(
            f"no connection to {self.server.address} {when}: still {self.phase.value}"
        )

    def ended_by(self, error: Exception | None) -> NASQError:
        """Return why the attempt ended.

        Args:
            error: the error that ended the stream; None: the server closed it.
        """
        reason = self.error or error
        if isinstance(reason, NASQError):
            return reason
        address, phase = self.server.address, self.phase
        if reason is None:
            what = f"{address} closed the connection while {phase.value}"
            for event in self.connection.receive_eof():
                if isinstance(event, ProtocolFailed):
                    what += f": {event.error}"
            return ConnectionLostError(what)
        failure: NASQError
        if phase is Phase.OPENING:
            failure = ConnectFailedError([(address, reason)])
        else:
            failure = ConnectionLostError(
                f"the connection to {address} broke while {phase.value}: {reason}"
            )
        failure.__cause__ = reason
        return failure
