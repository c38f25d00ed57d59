"""TLS as a filter, over `ssl.MemoryBIO`: the same for every transport."""

from __future__ import annotations

import ssl
from typing import Any, Final

from nasq_proto import Server, TLSError

__all__ = ["TLSFilter"]

_CHUNK: Final = 256 * 1024


class TLSFilter:
    """See `nasq_transports.filters.Filter`.

    Args:
        server: its certificate has to be valid for `server.tls_name`.
        context: an ssl.SSLContext; None: the system's trust store, certificate and name checked.
    """

    def __init__(self, server: Server, context: Any) -> None:
        self.ready = False
        self.closed = False
        self._server = server
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        used = ssl.create_default_context() if context is None else context
        try:
            self._tls = used.wrap_bio(self._in, self._out, server_hostname=server.tls_name)
        except (ssl.SSLError, ValueError) as error:
            raise self._error(error) from error

    def start(self) -> None:
        """See `Filter.start`."""
        self._handshake()

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        except (ssl.SSLError, ValueError) as error:
            raise self._error(error) from error
        self.ready = True

    def receive(self, data: bytes) -> bytes:
        """See `Filter.receive`."""
        self._in.write(data)
        if not self.ready:
            self._handshake()
            if not self.ready:
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
        except ssl.SSLError as error:
            raise self._error(error) from error
        return b"".join(plain)

    def send(self, data: bytes) -> None:
        """See `Filter.send`."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise self._error(error) from error

    def output(self) -> bytes:
        """See `Filter.output`."""
        return self._out.read()

    def _error(self, error: Exception) -> TLSError:
        if isinstance(error, ssl.SSLCertVerificationError):
            why = f"its certificate was refused: {error.verify_message}"
        else:
            why = getattr(error, "reason", None) or str(error)
        return TLSError(f"no TLS with {self._server.address} as {self._server.tls_name!r}: {why}")
