"""Sign in with nkeys and credentials files, which are read again for each connection.

Text is checked at once. A file is read for each connection, so it may be created later. The package
nkeys (`nasq[nkeys]`) makes the signature. No error contains a secret: a str is shown as the name of
a file only if it can't be a mistyped seed or JWT.
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
# A value, the path of a file that contains it, or a callable that returns one of these or an
# awaitable of one.
Source = _Given | Callable[[], _Given | Awaitable[_Given]]

# The first two bytes of a user's seed. They encode the letters S and U; other kinds of seeds have
# another second letter.
_USER_SEED: Final = bytes((18 << 3 | 20 << 3 >> 5, (20 << 3 & 31) << 3))
_SEED_SIZE: Final = 36
_TEXT: Final = "nkey_seed (read as a seed; write a file name as ./name)"
# A name with a short extension. A JWT has dots as well, but its parts are long.
_FILE_NAME: Final = re.compile(r"[^\n\0]*(?:[/\\][^\n\0]*|[^./\\\n\0]\.[A-Za-z]{1,8})", re.DOTALL)


def credentials_authenticator(source: Source) -> Authenticator:
    """Sign in with a credentials file: its path, its text, or a callable that returns either.

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
    """Sign in with an nkey: a seed, the path of a file with one, or a callable that returns either.

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
    """Return an authenticator that reads the source for each connection, or awaits it."""

    def authenticate(info: Info) -> Mapping[str, str] | Awaitable[Mapping[str, str]]:
        given = source() if callable(source) else source
        return later(given, info) if isinstance(given, Awaitable) else signed(given, info)

    async def later(given: Awaitable[_Given], info: Info) -> Mapping[str, str]:
        return signed(await given, info)

    return authenticate


def _is_text_of_credentials(text: str) -> bool:
    return "BEGIN " in text or "\n" in text or not text.strip()


def _is_seed(text: str) -> bool:
    """Whether `text` is a seed, possibly a mistyped one, and not the name of a file."""
    return not _names_a_file(text)


def _names_a_file(text: str) -> bool:
    """Whether `text` looks like the name of a file, or is the name of an existing file."""
    if _FILE_NAME.fullmatch(text):
        return True
    try:
        return os.path.isfile(text)
    except ValueError:  # it contains NUL
        return False


def _check_source(option: str, source: object) -> None:
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"{option} must be a str, a path or a callable, not {type(source).__name__}"
        )


def _read(option: str, given: _Given, is_value: Callable[[str], bool]) -> tuple[str, str]:
    """The text from a source, and its description for errors."""
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
        number = error.errno if isinstance(error, OSError) else None
        why = os.strerror(number) if number else "not a text file"
        hidden = "" if shown else " (the name is not shown, since it may be a secret)"
        raise InvalidOptionError(f"can't read the {what}: {why}{hidden}") from None


def _credentials(text: str, what: str) -> Credentials:
    try:
        credentials = parse_credentials(text)
    except InvalidOptionError as error:
        raise InvalidOptionError(f"{what}: {error}") from None
    _check_seed(credentials.seed, what)
    return credentials


def _check_seed(seed: str, what: str) -> None:
    """Refuse a seed with a wrong checksum, and one that is not a user's."""
    try:
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except ValueError:
        raw = b""
    # CRC-16/XMODEM, little-endian.
    if len(raw) != _SEED_SIZE or binascii.crc_hqx(raw[:-2], 0) != int.from_bytes(
        raw[-2:], "little"
    ):
        raise InvalidOptionError(
            f"{what}: invalid seed: a user's seed has 58 letters and digits, begins with SU and "
            "ends with a checksum; check whether it was cut or mistyped"
        )
    if raw[:2] != _USER_SEED:
        raise InvalidOptionError(
            f"{what}: invalid seed: it is not the seed of a user, which begins with SU"
        )


def _sign(seed: str, info: Info) -> tuple[str, str]:
    """The public key of a seed, and the signature of the server's nonce."""
    try:
        import nkeys  # type: ignore[import-untyped]  # it has no stubs
    except ImportError as error:
        raise MissingDependencyError(
            "nkeys and credentials files need the package nkeys: "
            "python -m pip install 'nasq[nkeys]'"
        ) from error
    if not info.nonce:
        raise InvalidOptionError(
            "the server sent no nonce, so it is not configured for nkeys or JWTs: use another "
            "way to sign in"
        )
    try:
        pair = nkeys.from_seed(bytearray(seed.encode()))
        signature = pair.sign(info.nonce.encode())
        public = pair.public_key
    except Exception as error:  # nkeys and its cryptography raise various types
        raise InvalidOptionError(f"can't sign with the seed: {type(error).__name__}") from None
    return public.decode(), base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
