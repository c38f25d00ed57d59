"""Checks of the values of arguments and options, which are loaded when a command runs.

Each check returns the value to use, and raises click.BadParameter for an invalid one.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Final

import click

from nasq.namespace import Namespace
from nasq_proto import (
    InvalidHeaderError,
    InvalidOptionError,
    InvalidSubjectError,
    MissingDependencyError,
    check_queue_group,
    check_subject,
    encode_headers,
    parse_server,
)
from nasq_proto.credentials import parse_credentials

__all__ = ["creds", "group", "headers", "namespace", "nkey", "pattern", "servers", "subject"]

_SEED: Final = 58


def servers(value: tuple[str, ...]) -> tuple[str, ...]:
    """The URLs of servers, also separated by commas or whitespace."""
    urls = tuple(url for item in value for url in item.replace(",", " ").split())
    try:
        for url in urls:
            parse_server(url)
    except InvalidOptionError as error:
        raise click.BadParameter(str(error)) from None
    if not urls:
        raise click.BadParameter("no server was named")
    return urls


def namespace(value: str) -> str:
    """A namespace."""
    if "*" in value or ">" in value:
        raise click.BadParameter(
            f"a namespace can't contain wildcards, but {value!r} does; use `nasq watch "
            "--all-namespaces` to watch all of them"
        )
    try:
        Namespace(value)
    except InvalidSubjectError as error:
        raise click.BadParameter(str(error)) from None
    return value


def creds(value: str | None) -> str | None:
    """The path of a credentials file."""
    if value is not None:
        try:
            parse_credentials(_text(value))
        except InvalidOptionError as error:
            raise click.BadParameter(f"{value}: {error}") from None
        _need_nkeys()
    return value


def nkey(value: str | None) -> str | None:
    """An nkey seed, or the path of a file with one."""
    if value is None:
        return None
    seed = value
    if os.path.exists(value):
        seed = _text(value)
    # The value is not shown: it may be a mistyped seed.
    if not seed.strip().startswith("SU") or len(seed.strip()) != _SEED:
        raise click.BadParameter(
            f"neither a user's nkey seed (SU and {_SEED - 2} more characters) nor a file that "
            "contains one"
        )
    _need_nkeys()
    return value


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError:
        raise click.BadParameter(f"{path}: not a text file") from None
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}") from None


def _need_nkeys() -> None:
    if find_spec("nkeys") is None:
        raise MissingDependencyError(
            "nkeys and credentials files need the package nkeys: "
            "python -m pip install 'nasq[nkeys]'"
        )


def subject(value: str) -> str:
    """A subject to publish to."""
    return _checked_subject(value, wildcards=False)


def pattern(value: str) -> str:
    """A subject to subscribe to."""
    return _checked_subject(value, wildcards=True)


def _checked_subject(value: str, *, wildcards: bool) -> str:
    try:
        check_subject(value, wildcards=wildcards)
    except InvalidSubjectError as error:
        raise click.BadParameter(str(error)) from None
    return value


def group(value: str) -> str:
    """A queue group, or "" for none."""
    try:
        if value:
            check_queue_group(value)
    except InvalidSubjectError as error:
        raise click.BadParameter(str(error)) from None
    return value


def headers(value: tuple[str, ...]) -> dict[str, list[str]]:
    """Headers that are given as KEY:VALUE."""
    found: dict[str, list[str]] = {}
    for item in value:
        key, colon, content = item.partition(":")
        if not colon:
            raise click.BadParameter(f"{item!r} is not KEY:VALUE")
        found.setdefault(key.strip(), []).append(content.strip())
    try:
        encode_headers(found)
    except InvalidHeaderError as error:
        raise click.BadParameter(str(error)) from None
    return found
