"""Message headers (ADR-4): an ordered mapping whose keys may repeat, and its wire form.

The server does not validate header blocks, so any publisher can send a broken one. Reading one
raises `InvalidHeaderError`; the message it came with is still delivered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from .errors import InvalidHeaderError

__all__ = ["HeaderBlock", "Headers", "encode_headers", "parse_headers", "status_of"]

_VERSION: Final = b"NATS/1.0"
# Printable ASCII without the colon. ADR-4 keeps case, and so does the server.
_KEY: Final = re.compile(r"[!-9;-~]+")
_STATUS: Final = re.compile(r"[!-~]{3}")
_STATUS_LINE: Final = re.compile(rb"NATS/1\.0[ \t]+([!-~]{3})(?=[ \t]|\r\n)")
_BAD_VALUE: Final = re.compile(r"[\x00\r\n]")


class Headers(Mapping[str, str]):
    """Headers of a message, in the order of the wire; a repeated key stands where it first stood.

    Case counts. Blanks in front of a value are not part of it (ADR-4).

    `headers[key]` is the first value of a key, `get_all` gives every one. Equals a plain
    dict of the same items, and a dict of lists where keys repeat.

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
        """Every value of `key`, in order; an empty list when there is none."""
        return list(self._values.get(key, ()))

    def pairs(self) -> list[tuple[str, str]]:
        """Every (key, value), repeated keys one behind the other."""
        return [(key, value) for key, values in self._values.items() for value in values]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        try:
            return self._values == Headers(other)._values
        except (TypeError, AttributeError):
            return False

    __hash__ = None  # type: ignore[assignment]  # as every other mapping that equals a dict

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
            "headers must be a mapping of str to str or to a list of str, or pairs of a key and a "
            f"value: {item!r} is neither"
        ) from None
    return key, value


class HeaderBlock(NamedTuple):
    """A header block, read: the status line's code and text (both may be empty), the headers."""

    status: str
    description: str
    headers: Headers


def encode_headers(
    headers: Mapping[str, str | Sequence[str]] | Iterable[tuple[str, str]],
    *,
    status: str = "",
    description: str = "",
) -> bytes:
    """The wire form of a header block, its closing blank line included.

    Raises:
        TypeError: a key or value is no str.
        InvalidHeaderError: a key is empty or holds more than printable ASCII, a value holds CR, LF
            or NUL. Nothing is replaced in silence.

    >>> encode_headers({"Id": "7"})
    b'NATS/1.0\\r\\nId: 7\\r\\n\\r\\n'
    """
    first = _VERSION.decode()
    if status or description:
        if not _STATUS.fullmatch(status) or _BAD_VALUE.search(description):
            raise InvalidHeaderError(
                f"status {status!r} {description!r} can't be sent: it is three printable ASCII "
                "characters, then a text without line ends and NUL"
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
                f"header key {key!r} must be printable ASCII without blanks and colons, "
                "and not empty"
            )
        bad = _BAD_VALUE.search(value)
        if bad:
            raise InvalidHeaderError(
                f"value of header {key!r} holds {bad.group()!r} at position {bad.start()}; "
                "line ends and NUL can't be sent"
            )
        lines.append(f"{key}: {value}")
    text = "\r\n".join([*lines, "", ""])
    if text.isascii():
        return text.encode()
    try:
        block = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidHeaderError("a header value holds a lone surrogate") from None
    # As in a subject: surrogates stand for bytes that were received and could not be decoded.
    if block.decode("utf-8", "surrogateescape") != text:
        raise InvalidHeaderError(
            "a header value contains surrogates that together are valid UTF-8; "
            "use the characters themselves"
        )
    return block


def parse_headers(block: bytes) -> HeaderBlock:
    """Read a header block.

    Raises:
        InvalidHeaderError: says what is wrong with it.

    >>> parse_headers(b"NATS/1.0 503\\r\\n\\r\\n").status
    '503'
    """
    if not block.startswith(_VERSION):
        raise InvalidHeaderError(f"header block starts with {block[:16]!r}, not with NATS/1.0")
    if not block.endswith(b"\r\n\r\n"):
        raise InvalidHeaderError("header block does not end with a blank line")
    first, *lines = block[:-4].decode("utf-8", "surrogateescape").split("\r\n")
    inline = first[len(_VERSION) :]
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
    """The status of a header block without reading the rest of it; empty if it has none.

    >>> status_of(b"NATS/1.0 503\\r\\n\\r\\n"), status_of(b"NATS/1.0\\r\\nA: b\\r\\n\\r\\n")
    (b'503', b'')
    """
    match = _STATUS_LINE.match(block)
    return match[1] if match else b""
