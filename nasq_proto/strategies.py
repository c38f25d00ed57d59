"""Hypothesis strategies for the NATS protocol: for tests of clients, servers, proxies and codecs.

Needs Hypothesis (`pip install 'nasq[strategies]'`); nothing of nasq imports this module by itself.
Where a strategy depends on who speaks, it takes the `Role` of the *sender*.

| what | strategies |
|---|---|
| words | `subjects` `patterns` `relayed_subjects` `sids` `queue_groups` `payloads` `any_text` |
| headers | `headers` `header_blocks` `broken_header_blocks` |
| events | `infos` `connects` `events_from` |
| bytes of one event | `frames_from` |
| valid streams | `streams_from` `awkward_streams` `repetitive_streams` |
| invalid streams | `invalid_streams` (see `Invalid`) `truncated_streams` `broken_streams` |
| how they arrive | `chunks_of` `mutations_of` |
| dialogues | `sessions` `client_scripts` |

A reader of your own, against every way in which a stream can be cut:

    >>> from hypothesis import given, settings, strategies as st
    >>> from nasq_proto import Decoder, Role, unfold
    >>> from nasq_proto.strategies import chunks_of, streams_from
    >>> @settings(max_examples=20, deadline=None, database=None)
    ... @given(st.data())
    ... def test_cut_anywhere(data):
    ...     events, stream = data.draw(streams_from(Role.SERVER))
    ...     decoder = Decoder(Role.CLIENT)
    ...     chunks = data.draw(chunks_of(stream))
    ...     frames = [frame for chunk in chunks for frame in decoder.receive(chunk)]
    ...     assert [event for frame in frames for event in unfold(frame)] == events
    >>> test_cut_anywhere()
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

from .decoder import Role
from .encoder import encode
from .errors import MissingDependencyError
from .events import Connect, Err, Event, Info, Msg, Ok, Ping, Pong, Pub, Sub, Unsub
from .headers import encode_headers
from .limits import Limits

try:
    from hypothesis import strategies as st
except ImportError as missing:
    raise MissingDependencyError(
        "nasq_proto.strategies needs hypothesis: pip install 'nasq[strategies]'"
    ) from missing

__all__ = [
    "Command",
    "Invalid",
    "InvalidStream",
    "Step",
    "any_text",
    "awkward_streams",
    "broken_header_blocks",
    "broken_streams",
    "chunks_of",
    "client_scripts",
    "connects",
    "events_from",
    "frames_from",
    "header_blocks",
    "headers",
    "infos",
    "invalid_streams",
    "mutations_of",
    "patterns",
    "payloads",
    "queue_groups",
    "relayed_subjects",
    "repetitive_streams",
    "server_errors",
    "sessions",
    "sids",
    "streams_from",
    "subjects",
    "truncated_streams",
]

# ---------------------------------------------------------------------- words

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
"""Any text at all, lone surrogates and surrogate-escaped bytes included: mostly no subjects."""

# Drawing from a list costs one draw, building a text a dozen: what streams are made of comes from
# lists half of the time or more, so that a stream is made within two milliseconds.
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
"""Subjects that can be published to; not only ASCII, not only UTF-8."""

relayed_subjects: Final[st.SearchStrategy[str]] = (
    st.sampled_from(("a\rb", "\r", "a\r", "\0.\v.\f", "\x1c\x1f", "\udc85", "a..b", "*", "a.>.b"))
    | subjects
)
"""Subjects and replies of messages: a server relays every byte but blank, tab and line feed."""

patterns: Final[st.SearchStrategy[str]] = st.builds(
    lambda tokens, tail: ".".join([*tokens, *tail]),
    st.lists(st.just("*") | _token, min_size=1, max_size=3),
    st.sampled_from([[], [">"]]),
)
"""Subjects that can be subscribed to: with wildcards, mostly."""

sids: Final[st.SearchStrategy[str]] = st.integers(1, 999).map(str) | _token
"""Subscription ids: numbers by custom, any word by the protocol."""

# The same, mostly from lists.
_subject: Final = st.sampled_from((*_SUBJECTS, "x.y", "x.y.z")) | subjects
_pattern: Final = st.sampled_from(("a", "*", ">", "a.*", "a.>", "*.b.>", "a*.>")) | patterns
_sid: Final = st.sampled_from(("1", "2", "12", "s", "\udcff")) | sids
_reply: Final = st.sampled_from((None, None, "r", "_INBOX.x.7", "$JS.ACK.1")) | subjects
_relayed: Final = st.sampled_from((*_SUBJECTS, "x.y", "x.y.z")) | relayed_subjects
_relayed_reply: Final = _reply | relayed_subjects

queue_groups: Final[st.SearchStrategy[str]] = _token
"""Names of queue groups."""

payloads: Final[st.SearchStrategy[bytes]] = st.binary(max_size=40) | st.sampled_from(
    [b"", b"\r\n", b"\r\n\r\n", b"PING\r\n", b"\r\nMSG a 1 0\r\n\r\n", b"\n" * 9, b"\0\xff" * 9]
)
"""Payloads, among them some that look like the protocol."""

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
"""What `encode_headers` takes: pairs in order; keys repeat."""

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
"""Blocks that no reader should take. A server relays them all the same, so each is a valid part of
a message: what is broken is the block, not the stream."""

_block: Final = (
    st.sampled_from(
        [None, None, None, None, b"NATS/1.0\r\n\r\n", b"NATS/1.0 503\r\n\r\n", b"broken"]
    )
    | header_blocks
    | broken_header_blocks
)

# ---------------------------------------------------------------------- events

_JSON: Final = ("null", "true", "-1.5e3", '""', '"\\ud800"', "[]", '[1,{"a":[]}]', '{"":{"":null}}')
_json: Final = st.sampled_from(_JSON).map(json.loads) | st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=3,
)
_unknown: Final = st.tuples(st.sampled_from(["x_a", "x_é", "x_"]), _json)
_INFO_VALUES: Final[dict[str, tuple[Any, ...]]] = {
    "server_id": ("", "S", "é\ud800"),
    "server_name": ("n",),
    "version": ("2.12.0", "x"),
    "headers": (True, False),
    "auth_required": (True, False),
    "tls_available": (True, False),
    "ldm": (True, False),
    "nonce": ("", "0123456789abcdef"),
    "max_payload": (-1, 0, 1, 1024, 1024 * 1024, 1 << 63),
    "connect_urls": (
        None,
        [],
        ["127.0.0.1:4222", "[::1]:4222"],
        ["b.example:4223", "no port", "", "[", "::1", "a:0", "é:1"],
    ),
}
_CONNECT_VALUES: Final[dict[str, tuple[Any, ...]]] = {
    "echo": (True, False),
    "headers": (True, False),
    "no_responders": (True, False),
    "protocol": (0, 1),
    "lang": ("", "python"),
    "name": ("", "é\ud800"),
    "user": ("u", ""),
    "pass": ("p", "\u2028"),
    "jwt": ("e.y.J",),
}


def _fields(
    values: dict[str, tuple[Any, ...]], always: dict[str, Any]
) -> st.SearchStrategy[dict[str, Any]]:
    known = st.sampled_from([(name, value) for name in values for value in values[name]])
    return st.lists(known | _unknown, max_size=4).map(lambda pairs: {**always, **dict(pairs)})


_USUAL_INFOS: Final = (
    "{}",
    '{"server_id":"S","version":"2.12.0","proto":1,"headers":true,"max_payload":1048576}',
    '{"headers":true,"connect_urls":["127.0.0.1:4222","[::1]:4222"],"ldm":true}',
    '{"auth_required":true,"nonce":"0123456789abcdef","x_new":{"deep":[null,1.5]}}',
)
infos: Final[st.SearchStrategy[Info]] = _fields(_INFO_VALUES, {}).map(Info)
"""INFO with fields of the right types, unknown fields, odd addresses in connect_urls."""

_USUAL_CONNECTS: Final = (
    '{"verbose":false,"pedantic":false}',
    '{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"name":"n"}',
    '{"verbose":true,"pedantic":true,"user":"u","pass":"p","echo":false}',
)
connects: Final[st.SearchStrategy[Connect]] = _fields(
    _CONNECT_VALUES, {"verbose": False, "pedantic": False}
).map(Connect)
"""CONNECT, the two fields that every client has to say included."""

server_errors: Final[st.SearchStrategy[str]] = st.sampled_from(
    [
        "Unknown Protocol Operation",
        "Maximum Control Line Exceeded",
        "Maximum Payload Violation",
        "Authorization Violation",
        "Authentication Timeout",
        "User Authentication Expired",
        "User Authentication Revoked",
        "Account Authentication Expired",
        "maximum connections exceeded",
        "maximum account active connections exceeded",
        "Connection throttling is active. Please try again later.",
        "Secure Connection - TLS Required",
        "Stale Connection",
        "invalid client protocol",
        "no responders requires headers support",
        "attempted to connect to route port",
        "maximum subscriptions exceeded",
        "Invalid Subject",
        "Invalid Publish Subject",
        'Permissions Violation for Publish to "a"',
        'Permissions Violation for Subscription to "a"',
        'Permissions Violation for Subscription to "a" using queue "g"',
        'Permissions Violation for Subscription to "a" (sid "1")',
        'Permissions Violation for Publish with Reply of "r"',
        "something that no client has heard of",
    ]
)
"""Every text that nats-server writes behind -ERR, and one that it does not."""

# (subject, sid, reply, header block) of everyday messages, and some payloads.
_SHAPES: Final = [
    (subject, sid, reply, block)
    for subject, sid in (("a", "1"), ("a", "12"), ("b", "1"), ("a.b.c", "s"), ("grüß.\udcff", "é"))
    for reply in (None, "r")
    for block in (None, b"NATS/1.0\r\nA: b\r\n\r\n", b"NATS/1.0 503\r\n\r\n", b"broken")
]
_PAYLOADS: Final = (b"", b"hi", b"\r\n", b"\0\xff")
_USUAL: Final[dict[Role, list[Event]]] = {
    Role.SERVER: [
        *(Info(json.loads(text)) for text in _USUAL_INFOS),
        *(Msg(a, sid, body, r, block) for a, sid, r, block in _SHAPES for body in _PAYLOADS),
        *(Ping(), Pong(), Ok(), Err("Unknown Protocol Operation"), Err("")),
    ],
    Role.CLIENT: [
        *(Connect(json.loads(text)) for text in _USUAL_CONNECTS),
        *(Pub(a, body, r, block) for a, _, r, block in _SHAPES for body in _PAYLOADS),
        *(Sub(a, sid, group) for a, sid, _, _ in _SHAPES for group in (None, "g")),
        *(Unsub(sid, most) for _, sid, _, _ in _SHAPES for most in (None, 1, 999_999_999)),
        *(Ping(), Pong()),
    ],
}
_random: Final[dict[Role, list[st.SearchStrategy[Event]]]] = {
    Role.SERVER: [
        st.builds(
            Err,
            server_errors
            | st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=8),
        ),
        infos,
        st.builds(Msg, _relayed, _sid, payloads, _relayed_reply, _block),
    ],
    Role.CLIENT: [
        connects,
        st.builds(Pub, _subject, payloads, _reply, _block),
        st.builds(Sub, _pattern, _sid, st.sampled_from((None, "g")) | queue_groups),
        st.builds(Unsub, _sid, st.sampled_from((None, 1, 2)) | st.integers(1, 999_999_999)),
    ],
}
_messages: Final[dict[Role, list[Event]]] = {
    sender: [event for event in _USUAL[sender] if isinstance(event, (Msg, Pub))] for sender in Role
}
# Each once: `Sub` and `Unsub` do not use all of a shape.
_others: Final[dict[Role, list[Event]]] = {
    sender: list(
        dict.fromkeys(event for event in _USUAL[sender] if not isinstance(event, (Msg, Pub)))
    )
    for sender in Role
}
# Two of three from these lists: `one_of` gives every branch the same weight.
_events: Final[dict[Role, st.SearchStrategy[Event]]] = {
    sender: st.one_of(
        *(
            st.sampled_from(usual)
            for usual in [_messages[sender], _others[sender]] * len(_random[sender])
        ),
        *_random[sender],
    )
    for sender in Role
}


def events_from(sender: Role) -> st.SearchStrategy[Event]:
    """Events that `sender` may put on the wire.

    >>> from hypothesis import given, settings
    >>> @settings(max_examples=20, deadline=None, database=None)
    ... @given(events_from(Role.CLIENT))
    ... def test_every_event_ends_its_line(event):
    ...     assert encode(event).endswith(b"\\r\\n")
    >>> test_every_event_ends_its_line()
    """
    return _events[sender]


# ---------------------------------------------------------------------- valid streams

_GAPS: Final = (b" ", b"\t", b"  ", b" \t ", b"\t\t")
_ENDS: Final = (b"\r\n", b"\n", b" \r\n", b"\t\n")
_CASES: Final = (bytes.upper, bytes.upper, bytes.lower, bytes.title)
_style: Final = st.integers(0, len(_CASES) * len(_GAPS) ** 2 * len(_ENDS) - 1)


def _restyle(event: Event, style: int) -> bytes:
    """An event as a sloppy peer writes it: other blanks, other case, a bare line feed."""
    if isinstance(event, (Info, Connect, Err)):
        return encode(event)
    line, _, rest = encode(event).partition(b"\r\n")
    verb, *words = line.split(b" ")
    style, case = divmod(style, len(_CASES))
    style, end = divmod(style, len(_ENDS))
    gaps = _GAPS[style % len(_GAPS)], _GAPS[style // len(_GAPS)]
    for index, word in enumerate(words):
        words[index] = gaps[index % 2] + word
    return b"".join((_CASES[case](verb), *words, _ENDS[end], rest))


def frames_from(sender: Role) -> st.SearchStrategy[tuple[Event, bytes]]:
    """An event, and its bytes in any style that the protocol permits.

    Verbs in any case, runs of blanks and tabs between arguments, a bare line feed.
    """

    return st.builds(
        lambda event, style: (event, _restyle(event, style)), events_from(sender), _style
    )


def streams_from(sender: Role) -> st.SearchStrategy[tuple[list[Event], bytes]]:
    """Valid events, and the stream that they make in the usual style."""
    return st.lists(events_from(sender), max_size=4).map(
        lambda events: (events, b"".join(map(encode, events)))
    )


def awkward_streams(sender: Role) -> st.SearchStrategy[tuple[list[Event], bytes]]:
    """Valid events, and a stream of them in every permitted style."""
    return st.lists(frames_from(sender), max_size=4).map(
        lambda frames: ([event for event, _ in frames], b"".join(data for _, data in frames))
    )


# Lines that are each other's prefixes, or of one length and different text, with sizes to match.
_LINES: Final = (
    (b"MSG a 1", 0),
    (b"MSG a 1", 1),
    (b"MSG a 1", 2),
    (b"MSG b 1", 2),
    (b"MSG a 2", 2),
    (b"MSG a 1", 11),
    (b"MSG a 1", 12),
    (b"MSG a 1", 13),
    (b"MSG a 12", 2),
    (b"MSG ab 1", 0),
    (b"MSG a.b 1", 22),
    (b"MSG a 1 r", 2),
    (b"MSG a 1 r", 0),
    (b"MSG a\t1", 2),
    (b"MSG a\r1 1", 2),
    (b"MSG a\v1 1", 2),
    (b"MSG a 1 \r", 2),
    (b"msg a 1", 2),
    (b"HMSG a 1 0", 2),
    (b"HMSG a 1 2", 2),
    (b"HMSG a 1 2", 13),
    (b"HMSG b 1 2", 13),
)
_FILLINGS: Final = (
    b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    b"\r\n" * 16,
    b"MSG a 1 2\r\n" * 4,
    b"\r\nMSG a 1 2\r\n" * 4,
    b"MSG a 1 0\r\n\r\n" * 4,
    b"\r\nMSG a 1 0\r\n" * 4,
    b"\nMSG b 1 2\r\n\r" * 4,
    b"HMSG a 1 2 13\r\n" * 4,
    b"\r\nHMSG a 1 2 13\r\nNA" * 4,
)
_BETWEEN: Final = (
    b"PING\r\n",
    b"PING\r\n" * 5,
    b"PING\r\n" * 4 + b"PING x\r\n" * 2 + b"PING\n" * 3,
    b"PONG\n",
    b"PONG\r\n" * 3 + b"PING\r\nPONG\r\n",
    b"+OK\r\n",
    b"+OK\r\n" * 4,
    b"-ERR 'x'\r\n",
    b"-ERR 'x'\r\n" * 2,
    b"INFO {}\r\n",
)


def _repetitive(line: tuple[bytes, int], end: bytes, filling: bytes, times: int) -> bytes:
    head, size = line
    return b"".join(
        b"%b %d%b%b\r\n" % (head, size, end, filling[shift : shift + size])
        for shift in range(times)
    )


_usual_end: Final = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"])
_run: Final = st.builds(
    _repetitive,
    st.sampled_from(_LINES),
    _usual_end,
    st.sampled_from(_FILLINGS),
    st.integers(1, 4),
)
repetitive_streams: Final[st.SearchStrategy[bytes]] = st.lists(
    _run | _run.map(bytes) | st.sampled_from(_BETWEEN), min_size=1, max_size=8
).map(b"".join)
"""A server's streams made to mislead a reader that guesses the next line from the last one."""

# ---------------------------------------------------------------------- invalid streams


class Invalid(enum.Enum):
    """What is wrong with an invalid stream. Each breaks the protocol for good."""

    UNKNOWN_VERB = "the line starts with no verb"
    WRONG_DIRECTION = "a verb that only the other side says"
    TOO_FEW_ARGUMENTS = "an argument is missing"
    TOO_MANY_ARGUMENTS = "one argument too many"
    NO_NUMBER = "a size that is no decimal number"
    TEN_DIGITS = "a number of more than nine digits"
    OVER_THE_LIMIT = "a message larger than the reader's limit"
    HEADERS_OVER_TOTAL = "a header size larger than the whole"
    BAD_TERMINATOR = "a payload without CRLF behind it"
    BAD_JSON = "INFO or CONNECT that is no JSON"
    NO_OBJECT = "INFO or CONNECT with JSON that is no object"
    WRONG_FIELD_TYPE = "INFO with a field of the wrong type"
    LINE_TOO_LONG = "a control line longer than the reader's limit"


class InvalidStream(NamedTuple):
    """A stream that is good up to a point.

    Attributes:
        kind: what is wrong.
        events: what a reader has to give before it fails.
        stream: the bytes.
        limits: what the reader's limits have to be.
    """

    kind: Invalid
    events: list[Event]
    stream: bytes
    limits: Limits


# Small enough to be exceeded cheaply, larger than what any valid strategy here makes.
_TIGHT: Final = Limits(control_line=4096, message=4096)
_no_number: Final = st.sampled_from(
    [b"x", b"-1", b"+1", b"1.0", b"0x1", b"1_0", b"\xd9\xa1", b"''"]
)
_ten_digits: Final = st.sampled_from([b"1234567890", b"0000000001", b"9" * 4000])
_bad_ends: Final = st.sampled_from([b"\n\n", b"\r\r", b"x\r\n", b"\n\r", b"PING\r\n", b"  \r\n"])
_constant: Final = st.sampled_from([b'{"a":NaN}', b'{"a":-Infinity}'])
_bad_json: Final = (
    st.sampled_from([b"", b"{", b"}", b"{}}", b"{'a':1}", b"\xff{}", b'{"a":}', b"[" * 1500])
    | _constant
)
_no_object: Final = st.sampled_from([b"[]", b"1", b'""', b"null", b"true", b"[{}]"])
_wrong_field: Final = st.sampled_from(
    [
        b'{"max_payload":"1"}',
        b'{"max_payload":1.5}',
        b'{"headers":1}',
        b'{"server_id":null}',
        b'{"connect_urls":"a:1"}',
        b'{"connect_urls":[1]}',
        b'{"ws_connect_urls":{}}',
        b'{"port":true}',
    ]
)


def _with(template: bytes, words: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return words.map(lambda word: template % word)


# {verb of the line with a body: arguments in front of its sizes}
_BODIES: Final = {
    Role.SERVER: (b"MSG a 1", b"MSG a 1 r"),
    Role.CLIENT: (b"PUB a", b"PUB a r"),
}
_FEW: Final = {
    Role.SERVER: (b"MSG ", b"MSG a", b"MSG a 1", b"HMSG a 1 1", b"HMSG\t", b"hmsg a"),
    Role.CLIENT: (b"PUB ", b"PUB a", b"HPUB a 1", b"SUB ", b"SUB a", b"UNSUB ", b"unsub\t"),
}
_MANY: Final = {
    Role.SERVER: (b"MSG a 1 r x 0", b"HMSG a 1 r x 12 12"),
    Role.CLIENT: (b"PUB a r x 0", b"HPUB a r x 12 12", b"SUB a g 1 x", b"UNSUB 1 1 1"),
}
_STRANGE: Final = {
    # What only the other role's verbs are to a reader is in WRONG_DIRECTION.
    Role.SERVER: (
        b"MSGX a 1 0",
        b"MSG",
        b"HMSG",
        b"MSG\va 1 0",
        b"MSG\ra 1 0",
        b"-ER 'x'",
        b"-ERRx",
        b"-ERR'x'",
        b"+O",
        b"INF {}",
        b"INFO{}",
    ),
    Role.CLIENT: (b"PUBX a 0", b"PUB", b"SUB", b"HPUB", b"UNSUB", b"UNSUBX 1", b"CONNEC {}"),
}
_json_verb: Final = {Role.SERVER: b"INFO %b\r\n", Role.CLIENT: b"CONNECT %b\r\n"}
_other: Final = {Role.SERVER: Role.CLIENT, Role.CLIENT: Role.SERVER}


def _bad_frames(sender: Role) -> dict[Invalid, st.SearchStrategy[bytes]]:
    plain = st.sampled_from(_BODIES[sender])
    numbers = [plain.map(lambda head: head + b" %b\r\n")]
    numbers.append(plain.map(lambda head: b"H" + head + b" 0 %b\r\n"))
    numbers.append(plain.map(lambda head: b"H" + head + b" %b 12\r\n"))
    with_number = st.one_of(numbers)
    if sender is Role.CLIENT:
        with_number |= st.just(b"UNSUB 1 %b\r\n")

    def number(words: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
        return st.builds(lambda line, word: line % word, with_number, words)

    def line(words: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
        return st.builds(bytes.__add__, st.sampled_from(words), st.sampled_from([b"\r\n", b"\n"]))

    frames = {
        Invalid.UNKNOWN_VERB: line(
            (*_STRANGE[sender], b"", b" ", b"P", b" PING", b"PIN G", b"\0", b"HELO", b"\xff" * 9)
        ),
        Invalid.WRONG_DIRECTION: events_from(_other[sender])
        .filter(lambda event: not isinstance(event, (Ping, Pong)))
        .map(encode),
        Invalid.TOO_FEW_ARGUMENTS: line(_FEW[sender]),
        Invalid.TOO_MANY_ARGUMENTS: line(_MANY[sender]),
        Invalid.NO_NUMBER: number(_no_number),
        Invalid.TEN_DIGITS: number(_ten_digits),
        Invalid.OVER_THE_LIMIT: st.builds(
            lambda head, size: b"%b %d\r\n" % (head, size),
            plain,
            st.integers(_TIGHT.message + 1, 999_999_999),
        ),
        Invalid.HEADERS_OVER_TOTAL: st.builds(
            lambda head, size, more: b"H%b %d %d\r\n" % (head, size + more, size),
            plain,
            st.integers(0, 99),
            st.integers(1, 99),
        ),
        Invalid.BAD_TERMINATOR: st.builds(
            lambda head, body, end: b"%b %d\r\n%b%b" % (head, len(body), body, end),
            plain,
            payloads,
            _bad_ends,
        ),
        Invalid.BAD_JSON: _with(_json_verb[sender], _bad_json),
        Invalid.NO_OBJECT: _with(_json_verb[sender], _no_object),
        Invalid.LINE_TOO_LONG: st.builds(
            lambda start, end: start.ljust(_TIGHT.control_line + 2, b"x") + end,
            st.sampled_from([b"PING ", b"MSG a 1 ", b"PUB a ", b"INFO {", b"x"]),
            st.sampled_from([b"", b"\r\n"]),
        ),
    }
    if sender is Role.SERVER:
        frames[Invalid.WRONG_FIELD_TYPE] = _with(b"INFO %b\r\n", _wrong_field)
    return frames


_BAD_FRAMES: Final = {sender: _bad_frames(sender) for sender in Role}


def invalid_streams(
    sender: Role, kinds: Collection[Invalid] | None = None
) -> st.SearchStrategy[InvalidStream]:
    """Valid frames, one that breaks the protocol, and whatever.

    Args:
        sender: whose stream it is.
        kinds: which classes; None: all that this sender can commit.

    A reader has to give `events`, then fail, however the stream is cut:

    >>> from hypothesis import given, settings
    >>> from nasq_proto import Decoder, ProtocolFailed, unfold
    >>> @settings(max_examples=20, deadline=None, database=None)
    ... @given(invalid_streams(Role.SERVER, [Invalid.BAD_TERMINATOR]))
    ... def test_what_was_good_before_is_not_lost(case):
    ...     frames = Decoder(Role.CLIENT, case.limits).receive(case.stream)
    ...     *events, last = [event for frame in frames for event in unfold(frame)]
    ...     assert events == case.events and isinstance(last, ProtocolFailed)
    >>> test_what_was_good_before_is_not_lost()
    """
    frames = _BAD_FRAMES[sender]
    chosen = [kind for kind in frames if kinds is None or kind in kinds]

    @st.composite
    def build(draw: st.DrawFn) -> InvalidStream:
        kind = draw(st.sampled_from(chosen))
        good = draw(st.lists(events_from(sender), max_size=2))
        bad = draw(frames[kind])
        rest = draw(st.sampled_from([b"", b"PING\r\n", b"\r\n"]))
        stream = b"".join(map(encode, good)) + bad + rest
        return InvalidStream(kind, good, stream, _TIGHT)

    return build()


@st.composite
def _truncated(draw: st.DrawFn, sender: Role) -> tuple[list[Event], bytes]:
    events = draw(st.lists(events_from(sender), max_size=3))
    last = encode(draw(events_from(sender)))
    cut = draw(st.integers(1, len(last) - 1))
    return events, b"".join(map(encode, events)) + last[:cut]


def truncated_streams(sender: Role) -> st.SearchStrategy[tuple[list[Event], bytes]]:
    """Valid events, and their stream with the beginning of one more frame behind it.

    Nothing in it is wrong until the connection ends there.
    """
    return _truncated(sender)


# ---------------------------------------------------------------------- how streams arrive


def _replace(stream: bytes, at: int, new: bytes) -> bytes:
    return stream[:at] + new + stream[at + 1 :]


def _insert(stream: bytes, at: int, new: bytes) -> bytes:
    return stream[:at] + new + stream[at:]


def _delete(stream: bytes, at: int, new: bytes) -> bytes:
    return stream[:at] + stream[at + len(new) :]


def _truncate(stream: bytes, at: int, new: bytes) -> bytes:
    return stream[:at]


def _repeat(stream: bytes, at: int, new: bytes) -> bytes:
    return stream[:at] + stream[max(0, at - 16) :]


_MUTATIONS: Final[tuple[Callable[[bytes, int, bytes], bytes], ...]] = (
    _replace,
    _insert,
    _delete,
    _truncate,
    _repeat,
)
_noise: Final = st.sampled_from(
    [
        b"\r",
        b"\n",
        b"\r\n",
        b"\v",
        b"\f",
        b" ",
        b"\t",
        b"9",
        b"0",
        b"-1",
        b"PING\r\n",
        b"MSG a 1 2\r\n",
        b"{",
        b"\0",
    ]
) | st.binary(min_size=1, max_size=4)


@st.composite
def mutations_of(draw: st.DrawFn, streams: st.SearchStrategy[bytes]) -> bytes:
    """A stream to which nothing or up to three things have happened: bytes replaced, inserted,
    deleted, repeated, cut off."""
    stream = draw(streams)
    for _ in range(draw(st.integers(0, 3))):
        mutate = draw(st.sampled_from(_MUTATIONS))
        stream = mutate(stream, draw(st.integers(0, len(stream))), draw(_noise))
    return stream


def broken_streams(sender: Role) -> st.SearchStrategy[bytes]:
    """Streams that were valid before something happened to them; and plain noise."""
    valid = streams_from(sender).map(lambda pair: pair[1])
    if sender is Role.SERVER:
        valid |= repetitive_streams
    return mutations_of(valid) | st.binary(max_size=60)


@st.composite
def chunks_of(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """`stream`, cut anywhere, empty chunks included."""
    if draw(st.booleans()):
        step = draw(st.integers(1, 16))
        return [stream[i : i + step] for i in range(0, len(stream), step)]
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


# ---------------------------------------------------------------------- dialogues

_said: Final = st.one_of(
    st.sampled_from([(sender, event) for sender in Role for event in _messages[sender]]),
    st.sampled_from([(sender, event) for sender in Role for event in _others[sender]]),
    *(st.tuples(st.just(sender), events_from(sender)) for sender in Role),
)


def sessions() -> st.SearchStrategy[list[tuple[Role, Event]]]:
    """A whole dialogue: who says what, in an order that `nasq_proto.states` permits.

    It starts with the server's INFO and the client's CONNECT.
    """
    return st.builds(
        lambda info, connect, rest: [(Role.SERVER, info), (Role.CLIENT, connect), *rest],
        st.sampled_from([e for e in _USUAL[Role.SERVER] if isinstance(e, Info)]) | infos,
        st.sampled_from([e for e in _USUAL[Role.CLIENT] if isinstance(e, Connect)]) | connects,
        st.lists(_said, max_size=3),
    )


class Command(enum.Enum):
    """What can happen to a client: what its owner asks, what the server says, what breaks."""

    OPEN = "connect, or connect again"
    PUBLISH = "publish `data` to `subject`"
    PUBLISH_WITH_HEADERS = "the same with headers and a reply subject"
    REQUEST = "publish with a reply subject, wait for the answer"
    SUBSCRIBE = "subscribe to `subject`"
    SUBSCRIBE_IN_GROUP = "subscribe to `subject` in a queue group"
    UNSUBSCRIBE = "end the `number`-th subscription"
    UNSUBSCRIBE_AFTER = "end the last subscription after `number` messages"
    FLUSH = "flush"
    ABANDON = "whoever waits for the `number`-th result stops waiting"
    DRAIN = "drain"
    CLOSE = "close"
    SERVER_SAYS = "the server sends `data`, whatever it is"
    CUT = "the connection breaks"
    REFUSE = "the next connection is refused"
    TIME = "`number` tenths of a second pass"


class Step(NamedTuple):
    """One step of a client script. Which fields count is said by `Command`."""

    command: Command
    subject: str = "a"
    data: bytes = b""
    number: int = 0


_usual: Final = st.sampled_from(["a", "a.b", "b"])
_answers: Final[st.SearchStrategy[bytes]] = st.one_of(
    events_from(Role.SERVER).map(encode),
    st.sampled_from(
        [
            b"PONG\r\n",
            b"PING\r\n",
            b'INFO {"headers":true}\r\n',
            b'INFO {"ldm":true}\r\n',
            b"MSG a 1 2\r\nhi\r\n",
            b"MSG a 1 2\r\nhi\r\nMSG a 1 2\r\nho\r\n",
        ]
    ),
    server_errors.map(lambda text: encode(Err(text))),
)


def client_scripts(
    *,
    subjects: st.SearchStrategy[str] = _usual,
    max_steps: int = 8,
) -> st.SearchStrategy[list[Step]]:
    """What happens to a client from its first connect on.

    A script is data: whoever plays it maps each `Command` to a call of the client under test.

    Args:
        subjects: what is published and subscribed to.
        max_steps: how long a script may be.

    >>> from hypothesis import given, settings
    >>> @settings(max_examples=20, deadline=None, database=None)
    ... @given(client_scripts())
    ... def test_a_script_opens_first(script):
    ...     assert script[0].command is Command.OPEN
    >>> test_a_script_opens_first()
    """
    commands = [command for command in Command if command is not Command.SERVER_SAYS]
    by_owner = st.builds(
        lambda command_and_number, subject: Step(
            command_and_number[0], subject, b"hi", command_and_number[1]
        ),
        st.sampled_from([(command, number) for command in commands for number in (0, 1, 2, 9)]),
        subjects,
    )
    # Not a `map`: through one, `|` would count each kind of answer as one more of its branches.
    by_server = st.builds(lambda data: Step(Command.SERVER_SAYS, data=data), _answers)
    return st.lists(by_owner | by_server, max_size=max_steps - 1).map(
        lambda steps: [Step(Command.OPEN), *steps]
    )
