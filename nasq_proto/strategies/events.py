"""The events that each side may send, with valid fields."""

from __future__ import annotations

import json
from typing import Any, Final

from hypothesis import strategies as st

from nasq_proto.decoder import Role
from nasq_proto.events import Connect, Err, Event, Info, Msg, Ok, Ping, Pong, Pub, Sub, Unsub

from .words import (
    common_blocks,
    common_patterns,
    common_relayed_replies,
    common_relayed_subjects,
    common_replies,
    common_sids,
    common_subjects,
    payloads,
    queue_groups,
)

__all__ = [
    "COMMON_MESSAGES",
    "COMMON_OTHERS",
    "connects",
    "events_from",
    "infos",
    "server_errors",
]

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


_COMMON_INFOS: Final = (
    "{}",
    '{"server_id":"S","version":"2.12.0","proto":1,"headers":true,"max_payload":1048576}',
    '{"headers":true,"connect_urls":["127.0.0.1:4222","[::1]:4222"],"ldm":true}',
    '{"auth_required":true,"nonce":"0123456789abcdef","x_new":{"deep":[null,1.5]}}',
)
infos: Final[st.SearchStrategy[Info]] = _fields(_INFO_VALUES, {}).map(Info)
"""INFO with fields of the right types, with unknown fields and odd addresses in connect_urls."""

_COMMON_CONNECTS: Final = (
    '{"verbose":false,"pedantic":false}',
    '{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"name":"n"}',
    '{"verbose":true,"pedantic":true,"user":"u","pass":"p","echo":false}',
)
connects: Final[st.SearchStrategy[Connect]] = _fields(
    _CONNECT_VALUES, {"verbose": False, "pedantic": False}
).map(Connect)
"""CONNECT, always with the two required fields."""

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
"""Every error text that nats-server sends in -ERR, and one that it does not."""

# (subject, sid, reply, header block) of common messages, and some payloads.
_SHAPES: Final = [
    (subject, sid, reply, block)
    for subject, sid in (("a", "1"), ("a", "12"), ("b", "1"), ("a.b.c", "s"), ("grüß.\udcff", "é"))
    for reply in (None, "r")
    for block in (None, b"NATS/1.0\r\nA: b\r\n\r\n", b"NATS/1.0 503\r\n\r\n", b"broken")
]
_PAYLOADS: Final = (b"", b"hi", b"\r\n", b"\0\xff")
_COMMON: Final[dict[Role, list[Event]]] = {
    Role.SERVER: [
        *(Info(json.loads(text)) for text in _COMMON_INFOS),
        *(Msg(a, sid, body, r, block) for a, sid, r, block in _SHAPES for body in _PAYLOADS),
        *(Ping(), Pong(), Ok(), Err("Unknown Protocol Operation"), Err("")),
    ],
    Role.CLIENT: [
        *(Connect(json.loads(text)) for text in _COMMON_CONNECTS),
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
        st.builds(
            Msg,
            common_relayed_subjects,
            common_sids,
            payloads,
            common_relayed_replies,
            common_blocks,
        ),
    ],
    Role.CLIENT: [
        connects,
        st.builds(Pub, common_subjects, payloads, common_replies, common_blocks),
        st.builds(Sub, common_patterns, common_sids, st.sampled_from((None, "g")) | queue_groups),
        st.builds(Unsub, common_sids, st.sampled_from((None, 1, 2)) | st.integers(1, 999_999_999)),
    ],
}
COMMON_MESSAGES: Final[dict[Role, list[Event]]] = {
    sender: [event for event in _COMMON[sender] if isinstance(event, (Msg, Pub))] for sender in Role
}
# `Sub` and `Unsub` do not use all parts of a shape: each event is listed once.
COMMON_OTHERS: Final[dict[Role, list[Event]]] = {
    sender: list(
        dict.fromkeys(event for event in _COMMON[sender] if not isinstance(event, (Msg, Pub)))
    )
    for sender in Role
}
# `one_of` gives every branch the same weight, so two of three events come from the lists.
_events: Final[dict[Role, st.SearchStrategy[Event]]] = {
    sender: st.one_of(
        *(
            st.sampled_from(usual)
            for usual in [COMMON_MESSAGES[sender], COMMON_OTHERS[sender]] * len(_random[sender])
        ),
        *_random[sender],
    )
    for sender in Role
}


def events_from(sender: Role) -> st.SearchStrategy[Event]:
    """Events that `sender` may send.

    >>> from hypothesis import given, settings
    >>> from nasq_proto import encode
    >>> @settings(max_examples=20, deadline=None, database=None)
    ... @given(events_from(Role.CLIENT))
    ... def test_every_frame_ends_with_a_line_break(event):
    ...     assert encode(event).endswith(b"\\r\\n")
    >>> test_every_frame_ends_with_a_line_break()
    """
    return _events[sender]
