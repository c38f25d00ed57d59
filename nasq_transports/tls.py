"""TLS as a layer over `ssl.MemoryBIO`: the same for every transport."""

from __future__ import annotations

import ssl
from typing import Any, Final

from nasq_proto import Server, TLSError

__all__ = ["TLSLayer"]

_CHUNK: Final = 256 * 1024


class TLSLayer:
    """See `nasq_transports.layers.Layer`.

    Args:
        server: the server, whose certificate has to be valid for `server.tls_name`.
        context: an `ssl.SSLContext`; None: one that trusts the system's certificate authorities.

    Raises:
        TLSError: the context refuses the server's name.
    """

    def __init__(self, server: Server, context: Any) -> None:
        self.closed = False
        self.has_unread = False
        self._handshake_done = False
        # Bytes that TLS did not accept. With TLS 1.2 the peer can ask for another handshake at any
        # time, and nothing can be written until its answers have been read.
        self._unsent = memoryview(b"")
        self._server = server
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        used = ssl.create_default_context() if context is None else context
        try:
            self._tls = used.wrap_bio(self._in, self._out, server_hostname=server.tls_name)
        except (ssl.SSLError, ValueError) as error:
            raise self._error(error) from error

    @property
    def ready(self) -> bool:
        """See `Layer.ready`."""
        return self._handshake_done and not self._unsent

    def start(self) -> None:
        """See `Layer.start`."""
        self._handshake()

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        except Exception as error:
            raise self._error(error) from error
        self._handshake_done = True

    def receive(self, data: bytes) -> bytes:
        """See `Layer.receive`."""
        if self.closed:
            return b""  # data after close_notify is ignored
        self._in.write(data)
        if not self._handshake_done:
            self._handshake()
            if not self._handshake_done:
                return b""
        plain = []
        try:
            while chunk := self._tls.read(_CHUNK):
                plain.append(chunk)
            self.closed = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.closed = True
        except Exception as error:
            raise self._error(error) from error
        if self._unsent and not self.closed:
            self._continue_sending()
        return b"".join(plain)

    def send(self, data: bytes) -> None:
        """See `Layer.send`."""
        self._unsent = memoryview(data)
        self._continue_sending()

    def _continue_sending(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._tls.write(self._unsent) :]
        except ssl.SSLWantReadError:
            pass  # `receive` continues
        except Exception as error:
            raise self._error(error) from error

    def output(self) -> bytes:
        """See `Layer.output`."""
        return self._out.read()

    def _error(self, error: Exception) -> TLSError:
        if isinstance(error, ssl.SSLCertVerificationError):
            why = f"its certificate was refused: {error.verify_message}"
        else:
            why = getattr(error, "reason", None) or str(error)
        what = "TLS" if self._handshake_done else "TLS handshake"
        return TLSError(
            f"{what} with {self._server.address} failed "
            f"(expected a certificate for {self._server.tls_name!r}): {why}"
        )
