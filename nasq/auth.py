"""Signing in with nkeys and credentials files. Read and signed anew for every connection.

The signature is the package nkeys' business (`nasq[nkeys]`). No error here shows a secret.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping

from nasq_proto import Info, InvalidOptionError, MissingDependencyError
from nasq_proto.credentials import parse_credentials
from nasq_proto.options import Authenticator

__all__ = ["Source", "credentials_authenticator", "nkey_authenticator"]

# A value, a file that holds it, or a callable that gives either.
Source = str | os.PathLike[str] | Callable[[], str | os.PathLike[str]]


def credentials_authenticator(source: Source) -> Authenticator:
    """Signs in with a credentials file: its path, or a callable that gives the path or the text."""

    def authenticate(info: Info) -> Mapping[str, str]:
        jwt, seed = parse_credentials(_read(source, is_value=lambda text: "BEGIN " in text))
        _, signature = _sign(seed, info)
        return {"jwt": jwt, "sig": signature}

    return authenticate


def nkey_authenticator(source: Source) -> Authenticator:
    """Signs in with an nkey seed, a file that holds one, or a callable that gives either."""

    def authenticate(info: Info) -> Mapping[str, str]:
        seed = _read(source, is_value=lambda text: text.startswith("SU") and len(text) > 50)
        public, signature = _sign(seed.strip(), info)
        return {"nkey": public, "sig": signature}

    return authenticate


def _read(source: Source, *, is_value: Callable[[str], bool]) -> str:
    given = source() if callable(source) else source
    if not isinstance(given, (str, os.PathLike)):
        raise InvalidOptionError(f"expected str or a path, not {type(given).__name__}")
    if isinstance(given, str) and is_value(given):
        return given
    try:
        with open(given, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError) as error:
        # The name is not shown: a seed with a typing error would be taken for one.
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no text"
        raise InvalidOptionError(f"the file can't be read: {why}") from None


def _sign(seed: str, info: Info) -> tuple[str, str]:
    """The public key of a seed, and its signature of the server's nonce."""
    try:
        import nkeys  # type: ignore[import-untyped]  # it has no stubs
    except ImportError as error:
        raise MissingDependencyError(
            "nkeys and credentials files need the package nkeys: "
            "python -m pip install 'nasq[nkeys]'"
        ) from error
    if not info.nonce:
        raise InvalidOptionError("the server sent no nonce: it is not set up for nkeys or JWTs")
    try:
        pair = nkeys.from_seed(bytearray(seed.encode()))
        signature = pair.sign(info.nonce.encode())
        public = pair.public_key
    except Exception as error:  # whatever nkeys or its cryptography raises on a bad seed
        raise InvalidOptionError(f"the seed can't be used: {type(error).__name__}") from None
    return public.decode(), base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
