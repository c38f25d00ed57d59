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
        self.closed = False
        self.has_rest = False
        self._shaken = False
        # What TLS could not take: in TLS 1.2 the peer may ask for another handshake at any time,
        # and until its answers are read nothing can be written.
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
        """See `Filter.ready`."""
        return self._shaken and not self._unsent

    def start(self) -> None:
        """See `Filter.start`."""
        self._handshake()

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        except Exception as error:
            raise self._error(error) from error
        self._shaken = True

    def receive(self, data: bytes) -> bytes:
        """See `Filter.receive`."""
        if self.closed:
            return b""  # nothing counts behind close_notify
        self._in.write(data)
        if not self._shaken:
            self._handshake()
            if not self._shaken:
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
            self._send_on()
        return b"".join(plain)

    def send(self, data: bytes) -> None:
        """See `Filter.send`."""
        self._unsent = memoryview(data)
        self._send_on()

    def _send_on(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._tls.write(self._unsent) :]
        except ssl.SSLWantReadError:
            pass  # `receive` goes on with it
        except Exception as error:
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
