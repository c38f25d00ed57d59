"""Server URLs and credentials files: they are read or refused, and no error contains a secret."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import Final
from urllib.parse import quote

from nasq_proto import InvalidOptionError, Server, parse_server
from nasq_proto.credentials import parse_credentials

__all__ = ["ALLOWED", "test_one_input"]

ALLOWED: Final[Mapping[type[Exception], str]] = {
    InvalidOptionError: "not the URL of a server, or not a credentials file",
}
# Surrogates can be in an input, but have no percent-encoding.
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SECRET: Final = "hunter2xyz"
_CREDENTIALS: Final = (
    "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n{between}\n"
    "-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
)


def _check(server: Server) -> None:
    assert 0 < server.port < 65536
    assert server.host == server.host.lower() or ":" in server.host
    assert not set(server.host) & set(" \r\n\t@/?#")
    again = parse_server(f"{server.scheme}://{server.address}")
    assert (again.host, again.port) == (server.host, server.port), f"{server!r} became {again!r}"
    secrets = (server.user or "") + (server.password or "")
    if server.user is not None and not _SURROGATE.search(secrets):
        user, password = quote(server.user, safe=""), quote(server.password or "", safe="")
        again = parse_server(f"{server.scheme}://{user}:{password}@{server.address}")
        assert (again.user, again.password) == (server.user, server.password)


def test_one_input(data: bytes) -> Hashable:
    """Use the text as a URL, as a host after a password, and as a credentials file."""
    text = data.decode("utf-8", "surrogateescape")
    outcomes: list[object] = []
    for url in (text, f"nats://bob:{_SECRET}@{text}", f"tls://{_SECRET}@{text}"):
        try:
            server = parse_server(url)
        except InvalidOptionError as error:
            said = str(error)
            assert _SECRET not in said, "the error contains the password"
            outcomes.append(said[-12:])
        else:
            assert _SECRET not in repr(server) + server.address
            _check(server)
            outcomes.append((server.scheme, ":" in server.host, server.user is None))
    for file in (text, _CREDENTIALS.format(jwt=_SECRET, between=text, seed=text.strip() or "S")):
        try:
            credentials = parse_credentials(file)
        except InvalidOptionError as error:
            said = str(error)
            assert _SECRET not in said, "the error contains the JWT"
            outcomes.append(False)
        else:
            assert credentials.jwt in file
            assert credentials.seed in file
            assert credentials.seed not in repr(credentials) or len(credentials.seed) < 12
            outcomes.append(True)
    return tuple(outcomes)
