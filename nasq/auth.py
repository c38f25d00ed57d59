"""Signing in with nkeys and credentials files. Read and signed anew for every connection.

What is given as text is checked at once; a file may appear later, and is read for each connection.
The signature is the package nkeys' business (`nasq[nkeys]`). No error here shows a secret: a
str is shown as the name of a file only where it can't be a mistyped seed or JWT.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from nasq_proto import Info, InvalidOptionError, MissingDependencyError
from nasq_proto.credentials import Credentials, parse_credentials
from nasq_proto.options import Authenticator

__all__ = ["Source", "credentials_authenticator", "nkey_authenticator"]

_Given = str | os.PathLike[str]
# A value, a file that contains it, or a callable that returns either or can be awaited for it.
Source = _Given | Callable[[], _Given | Awaitable[_Given]]

# The first two bytes of a seed (S, then U, A, O, …), of which the second letter is the kind.
_USER_SEED: Final = bytes((18 << 3 | 20 << 3 >> 5, (20 << 3 & 31) << 3))
_SEED_SIZE: Final = 36
_TEXT: Final = "nkey_seed (taken for a seed; the name of a file is written as ./name)"
# An extension is short; the parts of a JWT, which dots separate as well, are not.
_FILE_NAME: Final = re.compile(r"[^\n\0]*(?:[/\\][^\n\0]*|[^./\\\n\0]\.[A-Za-z]{1,8})", re.DOTALL)


def credentials_authenticator(source: Source) -> Authenticator:
    """Signs in with a credentials file: its path or its text, or a callable that gives either.

    Raises:
        TypeError, InvalidOptionError: the source is neither a path nor the text of such a file.
    """
    if not callable(source):
        _check_source("credentials", source)
        if isinstance(source, str) and _is_text_of_credentials(source):
            _credentials(source, "credentials")

    def signed(given: _Given, info: Info) -> Mapping[str, str]:
        text, what = _read("credentials", given, _is_text_of_credentials)
        credentials = _credentials(text, what)
        _, signature = _sign(credentials.seed, info)
        return {"jwt": credentials.jwt, "sig": signature}

    return _authenticator(source, signed)


def nkey_authenticator(source: Source) -> Authenticator:
    """Signs in with an nkey seed, a file that holds one, or a callable that gives either.

    Raises:
        TypeError, InvalidOptionError: the source is neither a path nor a seed.
    """
    if not callable(source):
        _check_source("nkey_seed", source)
        if isinstance(source, str) and _is_seed(source):
            _check_seed(source.strip(), _TEXT)

    def signed(given: _Given, info: Info) -> Mapping[str, str]:
        text, what = _read("nkey_seed", given, _is_seed)
        seed = text.strip()
        _check_seed(seed, _TEXT if what == "nkey_seed" else what)
        public, signature = _sign(seed, info)
        return {"nkey": public, "sig": signature}

    return _authenticator(source, signed)


def _authenticator(
    source: Source, signed: Callable[[_Given, Info], Mapping[str, str]]
) -> Authenticator:
    """Asks the source for each connection, and waits for its answer where it has to be awaited."""

    def authenticate(info: Info) -> Mapping[str, str] | Awaitable[Mapping[str, str]]:
        given = source() if callable(source) else source
        return later(given, info) if isinstance(given, Awaitable) else signed(given, info)

    async def later(given: Awaitable[_Given], info: Info) -> Mapping[str, str]:
        return signed(await given, info)

    return authenticate


def _is_text_of_credentials(text: str) -> bool:
    return "BEGIN " in text or "\n" in text or not text.strip()


def _is_seed(text: str) -> bool:
    """Whether it is a seed, be it a mistyped one, and not the name of a file."""
    return not _names_a_file(text)


def _names_a_file(text: str) -> bool:
    """Whether it looks like the name of a file, or is one's."""
    if _FILE_NAME.fullmatch(text):
        return True
    try:
        return os.path.isfile(text)
    except ValueError:  # a NUL
        return False


def _check_source(option: str, source: object) -> None:
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"{option} must be a str, a path or a callable, not {type(source).__name__}"
        )


def _read(option: str, given: _Given, is_value: Callable[[str], bool]) -> tuple[str, str]:
    """The text that a source has given, and what to call it in an error."""
    if not isinstance(given, (str, os.PathLike)):
        raise InvalidOptionError(f"{option}: expected str or a path, not {type(given).__name__}")
    if isinstance(given, str) and is_value(given):
        return given, option
    shown = not isinstance(given, str) or _names_a_file(given)
    what = f"{option} file {os.fspath(given)!r}" if shown else f"{option} file"
    try:
        with open(given, encoding="utf-8") as file:
            return file.read(), what
    except (OSError, ValueError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no text"
        hidden = "" if shown else " (its name is not shown, it may be a secret)"
        raise InvalidOptionError(f"the {what} can't be read: {why}{hidden}") from None


def _credentials(text: str, what: str) -> Credentials:
    try:
        credentials = parse_credentials(text)
    except InvalidOptionError as error:
        raise InvalidOptionError(f"{what}: {error}") from None
    _check_seed(credentials.seed, what)
    return credentials


def _check_seed(seed: str, what: str) -> None:
    """Refuse a seed that was mistyped, by its checksum, or that is not a user's."""
    try:
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except ValueError:
        raw = b""
    # CRC-16/XMODEM, little-endian.
    if len(raw) != _SEED_SIZE or binascii.crc_hqx(raw[:-2], 0) != int.from_bytes(
        raw[-2:], "little"
    ):
        raise InvalidOptionError(
            f"{what}: the seed can't be used: a user's seed has 58 letters and digits, begins with "
            "SU and ends with a checksum; was it cut or mistyped?"
        )
    if raw[:2] != _USER_SEED:
        raise InvalidOptionError(
            f"{what}: the seed can't be used: it is not a user's, which begins with SU"
        )


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
    except Exception as error:  # whatever nkeys or its cryptography raises
        raise InvalidOptionError(f"the seed can't be used: {type(error).__name__}") from None
    return public.decode(), base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
