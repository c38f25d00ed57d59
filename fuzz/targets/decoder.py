"""The decoder: a stream has the same events and the same error in any chunks.

The first byte of the input chooses the role, the limits and the chunks. The rest is the stream.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Final

from nasq_proto import Decoder, Frame, Limits, ProtocolFailed, Pub, RemoteProtocolError, Role
from nasq_proto.plaindecoder import PlainDecoder

__all__ = ["ALLOWED", "test_one_input"]

ALLOWED: Final[Mapping[type[Exception], str]] = {
    RemoteProtocolError: "receiving data after a failure; the failure itself is an event",
}

TIGHT: Final = Limits(control_line=48, message=64)
LIMITS: Final = (Limits(), TIGHT)
ROLES: Final = (Role.CLIENT, Role.SERVER)
_SINGLE: Final = [bytes([value]) for value in range(256)]


def _chunks(data: bytes, small: int, large: int) -> Iterable[bytes]:
    at = 0
    while at < len(data):
        yield data[at : at + small]
        yield data[at + small : at + small + large]
        at += small + large


def _read(decoder: PlainDecoder, chunks: Iterable[bytes], most: int) -> list[object]:
    """The events in the chunks, and the number of bytes that are left."""
    events: list[object] = []
    receive = decoder.receive
    for chunk in chunks:
        frames = receive(chunk)
        while decoder.unread:
            frames += receive(b"")
        if frames:
            _flatten(frames, events)
            if type(frames[-1]) is ProtocolFailed:
                _check_failed(decoder)
                break
    left = decoder.buffered
    assert left <= most, f"{left} bytes are buffered, at most {most} are allowed"
    events.append(left)
    return events


def _check_failed(decoder: PlainDecoder) -> None:
    try:
        decoder.receive(b"PING\r\n")
    except RemoteProtocolError:
        return
    raise AssertionError("the decoder accepted data after a failure")


def _flatten(frames: list[Frame], events: list[object]) -> None:
    for frame in frames:
        if type(frame) is tuple:
            sid, heads, bodies = frame
            assert bodies, "an empty run"
            for head, body in zip(heads, bodies, strict=True):
                assert head.sid == sid, "a run contains a message of another subscription"
                assert len(body) == head.size, "a body does not have the size in its head"
                events.append((head.subject, head.sid, head.reply, head.header_size, body))
        elif type(frame) is Pub:
            events.append((frame.subject, frame.payload, frame.reply, frame.headers))
        else:
            events.append(frame)


def test_one_input(data: bytes) -> Hashable:
    """Read the stream in five ways."""
    how = data[0] if data else 0
    stream = data[1:]
    role = ROLES[how & 1]
    limits = LIMITS[how >> 1 & 1]
    small, large = 1 + (how >> 2 & 7), 1 + (how >> 5) * 5
    most = limits.control_line + limits.message + 4
    # Small constants, so that short streams reach blocks of messages and lines without lookup.
    in_blocks, unlucky = Decoder(role, limits), Decoder(role, limits)
    in_blocks._block = 1 + (how >> 2 & 1)
    unlucky._lookups = 1
    bounded = Decoder(role, limits, bounded=True)
    bounded._steps, bounded._parsed_lines = 1 + (how >> 2 & 3), how >> 4 & 3
    whole = _read(in_blocks, (stream,), most)
    for name, decoder, chunks in (
        ("byte by byte", Decoder(role, limits), map(_SINGLE.__getitem__, stream)),
        ("in chunks", unlucky, _chunks(stream, small, large)),
        ("a few frames at a time", bounded, (stream,)),
        # In the role of a server there is no fast path, so use other chunks instead.
        (
            "without the fast path",
            PlainDecoder(role, limits),
            (stream,) if role is Role.CLIENT else _chunks(stream, large, small),
        ),
    ):
        other = _read(decoder, chunks, most)
        if other != whole:
            raise AssertionError(f"at once: {whole!r}; {name}: {other!r}")
    return _behaviour(how & 3, whole)


def _behaviour(how: int, events: list[object]) -> Hashable:
    last = events[-2] if len(events) > 1 else None
    if type(last) is ProtocolFailed:
        # The first words of an error are its kind. The rest quotes the input.
        return how, str(last.error)[:12], len(events) > 2
    return how, min(6, len(events)), events[-1] != 0, *map(type, events[:4])
