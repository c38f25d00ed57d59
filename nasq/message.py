"""The message that callers receive: a mapping with the keys of `nas_queue`, and attributes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, overload

from nasq_proto import (
    Head,
    Headers,
    Held,
    InvalidHeaderError,
    InvalidSubjectError,
    check_subject,
    encode_headers,
    parse_headers,
)
from nasq_proto.encoder import raw_publish_head
from nasq_proto.subjects import decode_text

from .namespace import Namespace
from .payload import Payload, encode_payload

__all__ = ["HeadersLike", "Message", "Origin"]

HeadersLike = Mapping[str, str | Sequence[str]] | Headers

_KEYS: Final = ("subject", "message", "headers", "reply_to", "timestamp")
_EXCERPT: Final = 60


class Origin(NamedTuple):
    """What a message has to know about its queue.

    Attributes:
        namespace: the namespace of the queue.
        wall_offset: wall time minus the time on the queue's clock, in seconds.
    """

    namespace: Namespace
    wall_offset: float


class Message(Mapping[str, Any]):
    """A message: a mapping with the keys subject, message, headers, reply_to and timestamp.

    Each key is an attribute as well. Queues make messages; `Message.make` makes one for a test.

    >>> message = Message.make(subject="orders", message="Order #1001")
    >>> message["subject"], message["message"], message.text
    ('orders', b'Order #1001', 'Order #1001')
    """

    __slots__ = ("_held", "_origin")

    def __init__(self, held: Held, origin: Origin) -> None:
        self._held = held
        self._origin = origin

    @classmethod
    def make(
        cls,
        *,
        subject: str,
        message: Payload = b"",
        headers: HeadersLike | None = None,
        reply_to: str | None = None,
        timestamp: datetime | None = None,
    ) -> Message:
        """Make a message like those of a queue, to test code that takes messages.

        Args:
            subject, message, headers: as for `push`.
            reply_to: the subject for a reply.
            timestamp: when the message was received; None: now.

        Raises:
            TypeError, InvalidSubjectError, InvalidHeaderError, InvalidPayloadError: an argument is
                not valid.

        >>> Message.make(subject="orders", message={"id": 7}, headers={"Trace": "x"})
        <Message 'orders' 9 bytes b'{"id": 7}'>
        """
        check_subject(subject, wildcards=False)
        reply: bytes | None = None
        if reply_to is not None:
            reply = check_subject(reply_to, wildcards=False, what="reply_to")
        block = b"" if headers is None else encode_headers(headers)
        body = block + encode_payload(message)
        received = (timestamp or datetime.now()).timestamp()
        return cls((Head(subject, b"", reply, len(block), len(body)), body, received), _ANYWHERE)

    @property
    def subject(self) -> str:
        """The subject that it was pushed to, without the namespace."""
        return self._origin.namespace.shorten(self._held[0].subject)

    @property
    def message(self) -> bytes:
        """The payload."""
        cut = self._held[0].header_size
        return self._held[1][cut:] if cut else self._held[1]

    @property
    def headers(self) -> Headers | None:
        """The headers; None if it has none, or if they are broken (see `header_error`)."""
        if not self._held[0].header_size:
            return None
        try:
            return parse_headers(self._held[1][: self._held[0].header_size]).headers
        except InvalidHeaderError:
            return None

    @property
    def header_error(self) -> str | None:
        """Why its header block can't be read, or None. Any publisher can send a broken one."""
        if not self._held[0].header_size:
            return None
        try:
            parse_headers(self._held[1][: self._held[0].header_size])
        except InvalidHeaderError as error:
            return str(error)
        return None

    @property
    def reply_to(self) -> str | None:
        """The subject for a reply: one of this namespace, or an inbox. See `respond`."""
        reply = self._held[0].reply
        if reply is None:
            return None
        return self._origin.namespace.shorten(decode_text(reply))

    @property
    def raw_reply(self) -> bytes | None:
        """The subject for a reply as it is on the wire, with the namespace."""
        return self._held[0].reply

    @property
    def reply_error(self) -> str | None:
        """Why no reply can be sent to `reply_to`; None if one can, or if none is wanted.

        A server relays any reply subject, so a publisher can ask for one that no message can be
        published to.
        """
        reply = self._held[0].reply
        if reply is None:
            return None
        try:
            raw_publish_head(reply, with_headers=True)
        except InvalidSubjectError as error:
            return str(error)
        return None

    @property
    def timestamp(self) -> datetime:
        """When it was received, in local time without a zone, like `datetime.now()`."""
        return datetime.fromtimestamp(self._held[2] + self._origin.wall_offset)

    @property
    def text(self) -> str:
        """The payload as UTF-8.

        Raises:
            UnicodeDecodeError: the payload is not UTF-8.
        """
        return self.message.decode()

    def json(self) -> Any:
        """Parse the payload as JSON.

        Raises:
            ValueError: the payload is not JSON.
        """
        return json.loads(self.message)

    @overload
    def __getitem__(self, key: Literal["subject"]) -> str: ...
    @overload
    def __getitem__(self, key: Literal["message"]) -> bytes: ...
    @overload
    def __getitem__(self, key: Literal["headers"]) -> Headers | None: ...
    @overload
    def __getitem__(self, key: Literal["reply_to"]) -> str | None: ...
    @overload
    def __getitem__(self, key: Literal["timestamp"]) -> datetime: ...
    @overload
    def __getitem__(self, key: str) -> Any: ...

    def __getitem__(self, key: str) -> Any:
        if key not in _KEYS:
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(_KEYS)

    def __len__(self) -> int:
        return len(_KEYS)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        body = self.message
        shown = repr(body[:_EXCERPT]) + ("…" if len(body) > _EXCERPT else "")
        size = "1 byte" if len(body) == 1 else f"{len(body)} bytes"
        return f"<Message {self.subject!r} {size} {shown}>"


# The origin of messages that no queue has made: no namespace, and wall time.
_ANYWHERE: Final = Origin(Namespace(None), 0.0)
