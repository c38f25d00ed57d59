"""The inputs of the Hypothesis engine: `nasq_proto.strategies` as bytes for each target."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from nasq_proto import Role, encode
from nasq_proto import strategies as nats

from .targets.client import SUBJECTS, write_script

__all__ = ["INPUTS"]

_how: Final = st.integers(0, 255).map(lambda value: bytes([value]))


def _read_by(role: Role) -> st.SearchStrategy[bytes]:
    """A byte that chooses the reader, followed by a stream."""
    sender = Role.SERVER if role is Role.CLIENT else Role.CLIENT
    streams = st.one_of(
        nats.streams_from(sender).map(lambda pair: pair[1]),
        nats.awkward_streams(sender).map(lambda pair: pair[1]),
        nats.truncated_streams(sender).map(lambda pair: pair[1]),
        nats.invalid_streams(sender).map(lambda case: case.stream),
        nats.broken_streams(sender),
    )
    odd = 0 if role is Role.CLIENT else 1
    return st.builds(
        lambda how, stream: bytes([how & 0xFE | odd]) + stream, st.integers(0, 255), streams
    )


_streams: Final = st.one_of(*map(_read_by, Role))
_json: Final = (nats.infos | nats.connects).map(lambda event: encode(event).split(b" ", 1)[1][:-2])
_text: Final = (nats.any_text | nats.subjects | nats.patterns).map(
    lambda text: text.encode("utf-8", "surrogatepass")
)


def _sized(data: bytes) -> bytes:
    return bytes([min(255, len(data))]) + data[:255]


_words: Final = st.lists(_text.map(_sized) | nats.payloads.map(_sized), max_size=5).map(b"".join)
_kinds: Final = st.integers(0, 10).map(lambda kind: bytes([kind]))
_urls: Final = st.builds(
    lambda scheme, user, place: (scheme + user + place).encode("utf-8", "surrogatepass"),
    st.sampled_from(["", "nats://", "tls://", "wss://", "http://", "NATS://"]),
    st.sampled_from(["", "u:p@", "t@", "u:p%40@", "@", "u:p/@", "%ff:x@", "u::@"]) | nats.any_text,
    st.sampled_from(
        ["a", "a:1", "[::1]", "[::1%25eth0]:4", "[::1", "a:65536", "a:", "a:0", "", "A.b.", "ü:2"]
    )
    | nats.any_text,
)

INPUTS: Final[dict[str, st.SearchStrategy[bytes]]] = {
    "decoder": _streams,
    "strict": _streams,
    "encoder": st.builds(lambda kind, words: kind + words, _kinds, _words | _json),
    "client": st.builds(
        write_script,
        st.integers(0, 255),
        nats.client_scripts(subjects=st.sampled_from(SUBJECTS)),
    ),
    "headers": nats.header_blocks
    | nats.broken_header_blocks
    | nats.mutations_of(nats.header_blocks),
    "info": _json | nats.mutations_of(_json),
    "subjects": st.builds(lambda pattern, subject: pattern + b"\n" + subject, _text, _text),
    "urls": _urls,
}
