"""Certificates that trustme makes for each test run, so none is committed and none expires."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

__all__ = ["Certificates"]


class Certificates:
    """A CA that the tests trust, one that they do not trust, and certificates of both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.other_ca = trustme.CA()
        self.ca.cert_pem.write_to_path(folder / "ca.pem")
        yesterday = datetime.now(UTC) - timedelta(days=1)
        self._write("good", self.ca.issue_cert("localhost", "127.0.0.1"))
        self._write("wrong-host", self.ca.issue_cert("elsewhere.example"))
        self._write("wrong-ca", self.other_ca.issue_cert("localhost", "127.0.0.1"))
        self._write("expired", self.ca.issue_cert("localhost", "127.0.0.1", not_after=yesterday))
        self._write("client", self.ca.issue_cert("client@example.org"))
        self._write("wrong-client", self.other_ca.issue_cert("client@example.org"))

    def _write(self, name: str, cert: trustme.LeafCert) -> None:
        cert.private_key_pem.write_to_path(self.folder / f"{name}.key")
        for index, pem in enumerate(cert.cert_chain_pems):
            pem.write_to_path(self.folder / f"{name}.pem", append=index > 0)

    def context(self, client: str | None = None) -> ssl.SSLContext:
        """Return a context that trusts the tests' CA, and optionally sends a client certificate."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        if client is not None:
            context.load_cert_chain(self.folder / f"{client}.pem", self.folder / f"{client}.key")
        return context

    def config(self, name: str = "good", *, verify: bool = False, more: str = "") -> str:
        """The tls block of a nats-server configuration."""
        verify_lines = f'verify: true, ca_file: "{self.folder}/ca.pem",' if verify else ""
        return (
            f'tls {{ cert_file: "{self.folder}/{name}.pem", key_file: "{self.folder}/{name}.key", '
            f"{verify_lines} timeout: 5, {more} }}"
        )
