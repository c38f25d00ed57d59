"""The arguments of control lines, payloads and header blocks.

Names without `common_` are public, and draw from everything that is allowed. The `common_`
strategies draw mostly from short lists; events are made of them. Drawing from a list costs one
draw, building a text a dozen: with the lists a stream is made within two milliseconds.
"""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from nasq_proto.headers import encode_headers

__all__ = [
    "any_text",
    "broken_header_blocks",
    "common_blocks",
    "common_patterns",
    "common_relayed_replies",
    "common_relayed_subjects",
    "common_replies",
    "common_sids",
    "common_subjects",
    "header_blocks",
    "headers",
    "patterns",
    "payloads",
    "queue_groups",
    "relayed_subjects",
    "sids",
    "subjects",
]

_AWKWARD_TEXTS: Final = (
    "",
    " ",
    "a b",
    "a\tb",
    "a\r\nPING",
    "a\vb",
    "\udcff",
    "\udcc3\udcbc",
    "\ud800",
    "*",
    ">",
    "a.*",
    ">.a",
    "a..b",
    ".",
    "é",
)
any_text: Final[st.SearchStrategy[str]] = st.text(
    st.characters(exclude_categories=()), max_size=12
) | st.sampled_from(_AWKWARD_TEXTS)
"""Any text, including lone surrogates and surrogate-escaped bytes. Few of them are subjects."""

_TOKENS: Final = ("a", "b", "ab", "$JS", "_INBOX", "x\udcffy", "grüß", "a*", "\x85", "\u2028")
_token: Final = st.sampled_from(_TOKENS) | st.text(
    st.characters(exclude_characters="\0\t\n\v\f\r .*>", exclude_categories=["Cs"]),
    min_size=1,
    max_size=6,
)
_SUBJECTS: Final = (
    "a",
    "b",
    "a.b",
    "a.b.c",
    "_INBOX.x.7",
    "$JS.ACK.1",
    "grüß.\udcff",
    "A",
    "a>.*b",
)

subjects: Final[st.SearchStrategy[str]] = st.sampled_from(_SUBJECTS) | st.lists(
    _token, min_size=1, max_size=4
).map(".".join)
"""Subjects that can be published to, also outside of ASCII and of UTF-8."""

relayed_subjects: Final[st.SearchStrategy[str]] = (
    st.sampled_from(("a\rb", "\r", "a\r", "\0.\v.\f", "\x1c\x1f", "\udc85", "a..b", "*", "a.>.b"))
    | subjects
)
"""Subjects and replies of messages. A server relays every byte but space, tab and line feed."""

patterns: Final[st.SearchStrategy[str]] = st.builds(
    lambda tokens, tail: ".".join([*tokens, *tail]),
    st.lists(st.just("*") | _token, min_size=1, max_size=3),
    st.sampled_from([[], [">"]]),
)
"""Subjects that can be subscribed to, most of them with wildcards."""

sids: Final[st.SearchStrategy[str]] = st.integers(1, 999).map(str) | _token
"""Subscription ids. Clients use numbers; the protocol allows any word."""

common_subjects: Final = st.sampled_from((*_SUBJECTS, "x.y", "x.y.z")) | subjects
common_patterns: Final = st.sampled_from(("a", "*", ">", "a.*", "a.>", "*.b.>", "a*.>")) | patterns
common_sids: Final = st.sampled_from(("1", "2", "12", "s", "\udcff")) | sids
common_replies: Final = st.sampled_from((None, None, "r", "_INBOX.x.7", "$JS.ACK.1")) | subjects
common_relayed_subjects: Final = st.sampled_from((*_SUBJECTS, "x.y", "x.y.z")) | relayed_subjects
common_relayed_replies: Final = common_replies | relayed_subjects

queue_groups: Final[st.SearchStrategy[str]] = _token
"""Names of queue groups."""

payloads: Final[st.SearchStrategy[bytes]] = st.binary(max_size=40) | st.sampled_from(
    [b"", b"\r\n", b"\r\n\r\n", b"PING\r\n", b"\r\nMSG a 1 0\r\n\r\n", b"\n" * 9, b"\0\xff" * 9]
)
"""Payloads. Some of them look like frames."""

# ---------------------------------------------------------------------- headers

_key: Final = st.sampled_from(["A", "a", "Nats-Msg-Id", "Status", "X-Y_z!", "NATS/1.0"]) | st.text(
    "".join(chr(code) for code in range(33, 127) if code != ord(":")), min_size=1, max_size=8
)
_value: Final = st.sampled_from(["", "b", " b", "b ", "a:b", "\udcff", "503"]) | st.text(
    st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=12
)

headers: Final[st.SearchStrategy[list[tuple[str, str]]]] = st.lists(
    st.tuples(_key, _value), max_size=3
)
"""Arguments for `encode_headers`: key and value pairs in order. Keys may repeat."""

_status: Final = st.sampled_from([("", ""), ("503", ""), ("404", "No Messages"), ("100", "a: b")])


def _write_headers(pairs: list[tuple[str, str]], status: tuple[str, str]) -> bytes:
    return encode_headers(pairs, status=status[0], description=status[1])


header_blocks: Final[st.SearchStrategy[bytes]] = st.builds(_write_headers, headers, _status)
"""Valid header blocks, with and without a status."""

broken_header_blocks: Final[st.SearchStrategy[bytes]] = (
    st.sampled_from(
        [
            b"broken\r\n",
            b"NATS/1.0",
            b"NATS/1.0\r\n",
            b"NATS/1.1\r\n\r\n",
            b"NATS/1.0503\r\n\r\n",
            b"NATS/1.0 50\r\n\r\n",
            b"NATS/1.0 5034\r\n\r\n",
            b"NATS/1.0\r\nno colon\r\n\r\n",
            b"NATS/1.0\r\n: no key\r\n\r\n",
            b"NATS/1.0\r\na b: c\r\n\r\n",
            b"NATS/1.0\r\nA: b\r\n folded\r\n\r\n",
            b"NATS/1.0\r\nA: b\n\n",
            b"nats/1.0\r\n\r\n",
        ]
    )
    | st.binary(min_size=1, max_size=20).filter(lambda block: not block.startswith(b"NATS/1.0"))
    | st.builds(lambda block, cut: block[: -1 - cut], header_blocks, st.integers(0, 3))
)
"""Header blocks that a reader should refuse. A server relays them, so a message with such a block
is valid: the block is broken, not the stream."""

common_blocks: Final = (
    st.sampled_from(
        [None, None, None, None, b"NATS/1.0\r\n\r\n", b"NATS/1.0 503\r\n\r\n", b"broken"]
    )
    | header_blocks
    | broken_header_blocks
)
