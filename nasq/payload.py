"""What a user may push, as bytes."""

from __future__ import annotations

import json
from typing import Any

from nasq_proto import InvalidPayloadError

__all__ = ["Payload", "encode_payload"]

# str, bytes-like, or anything the json module takes.
Payload = Any


def encode_payload(message: Payload) -> bytes:
    """The bytes of a message: text as UTF-8, bytes as they are, anything else as JSON.

    Raises:
        TypeError: of a type that the json module does not take.
        InvalidPayloadError: of the right type, and can't be encoded all the same.

    >>> encode_payload("grüß"), encode_payload({"id": 7}), encode_payload(None)
    (b'gr\\xc3\\xbc\\xc3\\x9f', b'{"id": 7}', b'null')
    """
    if isinstance(message, str):
        try:
            return message.encode()
        except UnicodeEncodeError as error:
            raise InvalidPayloadError(
                f"the text holds a lone surrogate at position {error.start}: it has no UTF-8 form"
            ) from None
    if isinstance(message, (dict, list, tuple, int, float, bool, type(None))):
        try:
            return json.dumps(message, allow_nan=False).encode()
        except TypeError as error:
            raise TypeError(f"the message can't be sent as JSON: {error}") from None
        except (ValueError, RecursionError) as error:
            raise InvalidPayloadError(f"the message can't be sent as JSON: {error}") from None
    try:
        return memoryview(message).tobytes()
    except TypeError:
        raise TypeError(
            "a message must be str, bytes-like, or what the json module takes "
            f"(dict, list, int, float, bool, None), not {type(message).__name__}"
        ) from None
