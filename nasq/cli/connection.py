"""Connect, and explain why a connection failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from nasq import (
    AuthorizationError,
    BlockingNASQueue,
    ConnectFailedError,
    MissingDependencyError,
    NASQError,
    OperationTimeoutError,
    TLSError,
)
from nasq_proto.handshake import Phase
from nasq_transports import OnEvent

from .target import Target

__all__ = ["SIGN_IN", "connected"]

SIGN_IN: Final = "--user and --password, --token, --creds or --nkey"
# Results of the verification in OpenSSL (x509_vfy.h): a host name or an IP address that is not in
# the certificate, and a certificate that has expired.
_NAME_MISMATCH: Final = (62, 64)
_EXPIRED: Final = 10
# The alerts of a server that requires a client certificate and got none, or one of an unknown
# authority.
_NO_CLIENT_CERTIFICATE: Final = (
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "TLSV1_ALERT_UNKNOWN_CA",
)


@contextmanager
def connected(
    target: Target, name: str, on_event: OnEvent | None = None
) -> Iterator[BlockingNASQueue]:
    """Connect a queue; disconnect it on exit.

    Raises:
        click.ClickException: no server accepted the connection. The message says why and what
            to do.
        MissingDependencyError: the connection needs an optional package.
    """
    queue = BlockingNASQueue(**target.queue, name=name, on_event=on_event)
    if not queue.connect():
        raise _failure(target, queue.last_error)
    try:
        yield queue
    finally:
        queue.disconnect()


def _failure(target: Target, error: Exception | None) -> Exception:
    reasons = (
        error.reasons
        if isinstance(error, ConnectFailedError) and error.reasons
        else [(target.addresses, error or ConnectionError("the connection was closed"))]
    )
    for _, reason in reasons:
        if isinstance(reason, MissingDependencyError):
            return reason
    if all(isinstance(reason, ConnectionRefusedError) for _, reason in reasons):
        return click.ClickException(
            f"no server is listening on {target.addresses}: start one with `nasq serve`, "
            "or name another with --server"
        )
    what = "; ".join(_describe(server, reason) for server, reason in reasons)
    hints = [hint for _, reason in reasons if (hint := _hint(reason))]
    return click.ClickException(
        f"{what}: {hints[0] if hints else 'name another server with --server'}"
    )


def _describe(server: str, reason: Exception) -> str:
    if isinstance(reason, AuthorizationError):
        return f"{server} requires other credentials ({reason.text})"
    text = str(reason)
    if isinstance(reason, OSError) and not isinstance(reason, NASQError):
        text = reason.strerror or text
    return text if server in text else f"no connection to {server}: {text}"


def _hint(reason: Exception) -> str:
    """Advice for an error; "" if there is none."""
    if isinstance(reason, AuthorizationError):
        return (
            f"sign in with {SIGN_IN}, or in the URL: --server nats://user:password@host:4222 or "
            "--server nats://TOKEN@host:4222"
        )
    if isinstance(reason, TLSError):
        return _tls_hint(reason)
    if isinstance(reason, OperationTimeoutError) and Phase.AWAIT_INFO.value in str(reason):
        return "check that it is a NATS server; one with handshake_first needs --tls-first"
    return ""


def _tls_hint(error: TLSError) -> str:
    import ssl  # loaded already, since it has raised the cause

    cause = error.__cause__
    if cause is None:  # no handshake has begun
        return "omit --tls and the other TLS options, or enable TLS on the server"
    if isinstance(cause, ssl.SSLCertVerificationError):
        if cause.verify_code in _NAME_MISMATCH:
            return "use the server name that is in its certificate with --server"
        if cause.verify_code == _EXPIRED:
            return "the server needs a new certificate"
        return "trust the authority that signed it with --tls-ca FILE"
    if isinstance(cause, ssl.SSLError) and cause.reason in _NO_CLIENT_CERTIFICATE:
        return "present a certificate that the server trusts: --tls-cert FILE, --tls-key FILE"
    return ""
