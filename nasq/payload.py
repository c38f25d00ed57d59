"""Payloads: what a caller may push, and its bytes."""

from __future__ import annotations

import json
from typing import Any

from nasq_proto import InvalidPayloadError

__all__ = ["Payload", "encode_payload"]

# str, bytes-like, or anything that the json module encodes.
Payload = Any


def encode_payload(message: Payload) -> bytes:
    """Return the bytes of a message: text as UTF-8, bytes unchanged, anything else as JSON.

    Raises:
        TypeError: the json module does not encode this type.
        InvalidPayloadError: the type is right, but this value can't be encoded.

    >>> encode_payload("grüß"), encode_payload({"id": 7}), encode_payload(None)
    (b'gr\\xc3\\xbc\\xc3\\x9f', b'{"id": 7}', b'null')
    """
    if isinstance(message, str):
        try:
            return message.encode()
        except UnicodeEncodeError as error:
            raise InvalidPayloadError(
                f"the text contains a lone surrogate at position {error.start}, so it has no UTF-8 "
                "form: send bytes instead"
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
            "a message must be str, bytes-like, or a type that the json module encodes "
            f"(dict, list, int, float, bool, None), not {type(message).__name__}"
        ) from None
