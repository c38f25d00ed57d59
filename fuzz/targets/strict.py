"""The decoder and the strict reader: the same events and the same end. Inputs as in `decoder`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Final

from fuzz.strict import End, read
from fuzz.targets.decoder import LIMITS, ROLES
from nasq_proto import Decoder, Err, ProtocolFailed, unfold

__all__ = ["ALLOWED", "test_one_input"]

ALLOWED: Final[Mapping[type[Exception], str]] = {}


def test_one_input(data: bytes) -> Hashable:
    """Read the stream with both readers."""
    how = data[0] if data else 0
    stream = data[1:]
    role, limits = ROLES[how & 1], LIMITS[how >> 1 & 1]
    decoder = Decoder(role, limits)
    events = [event for frame in decoder.receive(stream) for event in unfold(frame)]
    end = End.WITHIN if decoder.buffered else End.CLEAN
    if events and isinstance(events[-1], ProtocolFailed):
        end = End.BROKEN
        del events[-1]
    expected = read(stream, role, limits)
    assert events == expected.events, f"the decoder reads {events!r}, not {expected.events!r}"
    assert end is expected.end, f"the decoder ends {end.value}, not {expected.end.value}"
    return how & 3, end, *(type(event) for event in events[:4] if not isinstance(event, Err))
