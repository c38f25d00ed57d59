"""Message headers (ADR-4): an ordered mapping whose keys may repeat, and its wire form.

The server does not validate header blocks, so any publisher can send a broken one. Parsing it
raises `InvalidHeaderError`, but its message is delivered all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from .errors import InvalidHeaderError

__all__ = ["VERSION", "HeaderBlock", "Headers", "encode_headers", "parse_headers", "status_of"]

# What every header block begins with.
VERSION: Final = b"NATS/1.0"
# Printable ASCII without the colon. ADR-4 and the server keep the case of keys.
_KEY: Final = re.compile(r"[!-9;-~]+")
_STATUS: Final = re.compile(r"[!-~]{3}")
_STATUS_LINE: Final = re.compile(re.escape(VERSION) + rb"[ \t]+([!-~]{3})(?=[ \t]|\r\n)")
_BAD_VALUE: Final = re.compile(r"[\x00\r\n]")


class Headers(Mapping[str, str]):
    """The headers of a message, in the order of the wire. A repeated key keeps its first place.

    Case counts. Whitespace before a value is not part of it (ADR-4).

    `headers[key]` is the first value of a key, and `get_all` returns all of them. Headers equal a
    dict of the same items, where a key that repeats has a list.

    >>> headers = Headers([("Trace", "a"), ("Trace", "b"), ("Id", "7")])
    >>> headers["Trace"], headers.get_all("Trace"), dict(headers)
    ('a', ['a', 'b'], {'Trace': 'a', 'Id': '7'})
    >>> Headers({"priority": "high"}) == {"priority": "high"}
    True
    """

    __slots__ = ("_values",)

    def __init__(
        self, items: Mapping[str, str | Sequence[str]] | Iterable[tuple[str, str]] = ()
    ) -> None:
        self._values: dict[str, list[str]] = {}
        for key, value in _pairs(items):
            self._values.setdefault(key, []).append(value)

    def __getitem__(self, key: str) -> str:
        return self._values[key][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def get_all(self, key: str) -> list[str]:
        """Return every value of `key` in order; an empty list if there is none."""
        return list(self._values.get(key, ()))

    def pairs(self) -> list[tuple[str, str]]:
        """Return every (key, value). The values of a repeated key follow each other."""
        return [(key, value) for key, values in self._values.items() for value in values]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        try:
            return self._values == Headers(other)._values
        except (TypeError, AttributeError):
            return False

    __hash__ = None  # type: ignore[assignment]  # like every mapping that equals a dict

    def __repr__(self) -> str:
        shown = {k: v[0] if len(v) == 1 else v for k, v in self._values.items()}
        return f"Headers({shown!r})"


def _pairs(
    items: Mapping[str, str | Sequence[str]] | Iterable[tuple[str, str]],
) -> Iterator[tuple[str, str]]:
    if isinstance(items, Headers):
        yield from items.pairs()
    elif isinstance(items, Mapping):
        for key, value in items.items():
            if isinstance(value, str):
                yield key, value
            elif isinstance(value, (list, tuple)):
                for one in value:
                    yield key, one
            else:
                raise TypeError(
                    f"header {key!r} must map to a str or a list of str, not {type(value).__name__}"
                )
    else:
        yield from map(_pair, items if isinstance(items, Iterable) else [items])


def _pair(item: object) -> tuple[str, str]:
    try:
        key, value = item if isinstance(item, (tuple, list)) else ()
    except ValueError:
        raise TypeError(
            "headers must be a mapping of str to str or to a list of str, or an iterable of pairs "
            f"of a key and a value, not {item!r}"
        ) from None
    return key, value


class HeaderBlock(NamedTuple):
    """A parsed header block: code and text of its status (empty if there is none), and headers."""

    status: str
    description: str
    headers: Headers


def encode_headers(
    headers: Mapping[str, str | Sequence[str]] | Iterable[tuple[str, str]],
    *,
    status: str = "",
    description: str = "",
) -> bytes:
    """Return the wire form of a header block, including the empty line at its end.

    Raises:
        TypeError: a key or value is not a str.
        InvalidHeaderError: a key is empty, or contains anything but printable ASCII without the
            colon; or a value contains CR, LF or NUL. No character is ever replaced.

    >>> encode_headers({"Id": "7"})
    b'NATS/1.0\\r\\nId: 7\\r\\n\\r\\n'
    """
    first = VERSION.decode()
    if status or description:
        if not _STATUS.fullmatch(status) or _BAD_VALUE.search(description):
            raise InvalidHeaderError(
                f"status {status!r} {description!r} can't be sent: it must be three printable "
                "ASCII characters, and its text must not contain line breaks or NUL"
            )
        first += " " + status + (" " + description if description else "")
    lines = [first]
    for key, value in _pairs(headers):
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(
                f"a header maps str to str, not {type(key).__name__} to {type(value).__name__}"
            )
        if not _KEY.fullmatch(key):
            raise InvalidHeaderError(
                f"header key {key!r} must be printable ASCII without whitespace and colons, "
                "and not empty"
            )
        bad = _BAD_VALUE.search(value)
        if bad:
            raise InvalidHeaderError(
                f"value of header {key!r} contains {bad.group()!r} at position {bad.start()}: "
                "line breaks and NUL can't be sent"
            )
        lines.append(f"{key}: {value}")
    text = "\r\n".join([*lines, "", ""])
    if text.isascii():
        return text.encode()
    try:
        block = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidHeaderError("a header value contains a lone surrogate") from None
    # As in a subject, surrogates stand for received bytes that are not UTF-8.
    if block.decode("utf-8", "surrogateescape") != text:
        raise InvalidHeaderError(
            "a header value contains surrogates that together are valid UTF-8: "
            "use the characters themselves"
        )
    return block


def parse_headers(block: bytes) -> HeaderBlock:
    """Parse a header block.

    Raises:
        InvalidHeaderError: the block is broken; the message quotes the place.

    >>> parse_headers(b"NATS/1.0 503\\r\\n\\r\\n").status
    '503'
    """
    if not block.startswith(VERSION):
        raise InvalidHeaderError(f"header block starts with {block[:16]!r}, not with NATS/1.0")
    if not block.endswith(b"\r\n\r\n"):
        raise InvalidHeaderError("header block does not end with an empty line")
    first, *lines = block[:-4].decode("utf-8", "surrogateescape").split("\r\n")
    inline = first[len(VERSION) :]
    if inline and inline[0] not in " \t":
        raise InvalidHeaderError(f"header block starts with {first[:16]!r}, not with NATS/1.0")
    inline = inline.strip(" \t")
    status, description = inline[:3], inline[3:]
    if inline and (not _STATUS.fullmatch(status) or description[:1] not in ("", " ", "\t")):
        raise InvalidHeaderError(f"status {inline[:16]!r} does not start with three characters")
    headers = Headers()
    values = headers._values
    for line in lines:
        key, colon, value = line.partition(":")
        if not colon or not _KEY.fullmatch(key):
            raise InvalidHeaderError(f"header line {line[:40]!r} is not 'key: value'")
        values.setdefault(key, []).append(value.lstrip(" \t"))
    return HeaderBlock(status, description.lstrip(" \t"), headers)


def status_of(block: bytes) -> bytes:
    """Return the status of a header block without parsing the rest; empty if it has none.

    >>> status_of(b"NATS/1.0 503\\r\\n\\r\\n"), status_of(b"NATS/1.0\\r\\nA: b\\r\\n\\r\\n")
    (b'503', b'')
    """
    match = _STATUS_LINE.match(block)
    return match[1] if match else b""
