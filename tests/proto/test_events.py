"""Events as values, and the fields of INFO and CONNECT."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasq_proto import (
    Connect,
    ConnectionClosed,
    Err,
    Event,
    Info,
    Msg,
    Ok,
    Ping,
    Pong,
    ProtocolFailed,
    Pub,
    RemoteProtocolError,
    Sub,
    Unsub,
)
from nasq_proto.strategies import events_from

from .test_decoder import CLIENT, SERVER

ONE_OF_EACH: list[Event] = [
    Ping(),
    Pong(),
    Ok(),
    Err("x"),
    Info({"server_id": "S"}),
    Connect({"name": "n"}),
    Pub("a", b"x", "r", b"H"),
    Sub("a", "1", "g"),
    Unsub("1", 5),
    Msg("a", "1", b"x", "r", b"H"),
    ConnectionClosed(),
    ProtocolFailed(RemoteProtocolError("x")),
]

# ---------------------------------------------------------------------- as values


def test_events_of_different_kinds_are_not_equal() -> None:
    assert all((one == other) is (one is other) for one in ONE_OF_EACH for other in ONE_OF_EACH)


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=repr)
def test_an_event_equals_its_copy_and_has_the_same_hash(event: Event) -> None:
    duplicate = copy.deepcopy(event)
    assert (duplicate, hash(duplicate)) == (event, hash(event))


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=repr)
def test_an_event_survives_pickling(event: Event) -> None:
    assert pickle.loads(pickle.dumps(event)) == event


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=repr)
def test_an_event_is_not_equal_to_other_objects(event: Event) -> None:
    assert event != repr(event)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Pub("a"), Pub("b")),
        (Pub("a", b"x"), Pub("a", b"y")),
        (Pub("a", b"", "r"), Pub("a")),
        (Pub("a", b"", None, b"H"), Pub("a")),
        (Sub("a", "1"), Sub("a", "2")),
        (Sub("a", "1"), Sub("a", "1", "g")),
        (Unsub("1"), Unsub("1", 1)),
        (Msg("a", "1"), Msg("a", "2")),
        (Err("a"), Err("b")),
        (Info({}), Info({"x": 1})),
        (Connect({}), Connect({"x": 1})),
        (ProtocolFailed(RemoteProtocolError("a")), ProtocolFailed(RemoteProtocolError("b"))),
    ],
)
def test_events_with_different_fields_are_not_equal(one: Event, other: Event) -> None:
    assert one != other


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (Ping(), "Ping()"),
        (Sub("a", "1"), "Sub(queue_group=None, sid='1', subject='a')"),
        (ProtocolFailed(RemoteProtocolError("why")), "ProtocolFailed(why)"),
    ],
)
def test_the_repr_shows_the_fields(event: Event, shown: str) -> None:
    assert repr(event) == shown


@pytest.mark.parametrize("sender", [CLIENT, SERVER])
@given(data=st.data())
def test_equal_events_have_equal_hashes(sender: Any, data: st.DataObject) -> None:
    event = data.draw(events_from(sender))
    assert hash(copy.deepcopy(event)) == hash(event)


# ---------------------------------------------------------------------- INFO

DEFAULTS: dict[str, Any] = {
    "server_id": "",
    "server_name": "",
    "version": "",
    "proto": 0,
    "host": "",
    "port": 0,
    "cluster": "",
    "domain": "",
    "headers": False,
    "max_payload": 1048576,
    "jetstream": False,
    "auth_required": False,
    "tls_required": False,
    "tls_verify": False,
    "tls_available": False,
    "nonce": "",
    "client_id": 0,
    "client_ip": "",
    "ldm": False,
    "connect_urls": [],
    "ws_connect_urls": [],
}
PRESENT: dict[type, Any] = {str: "x", int: 7, bool: True, list: ["a:1", "[::1]:2"]}
WRONG: list[Any] = ["x", 7, 1.5, True, None, {}, [], [1], [None]]


@pytest.mark.parametrize(("name", "default"), DEFAULTS.items())
def test_an_absent_field_has_its_default(name: str, default: Any) -> None:
    assert getattr(Info({}), name) == default


@pytest.mark.parametrize(("name", "default"), DEFAULTS.items())
def test_a_present_field_has_its_value(name: str, default: Any) -> None:
    value = PRESENT[type(default)]
    assert getattr(Info({name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name, default in DEFAULTS.items()
        for value in WRONG
        if type(value) is not type(default) and not (type(default) is list and value is None)
    ]
    + [(name, value) for name in ("connect_urls", "ws_connect_urls") for value in ([1], [None])]
    + [(name, value) for name in ("connect_urls", "ws_connect_urls") for value in ("", 0, False)],
)
def test_a_field_of_the_wrong_type_is_a_remote_error(name: str, value: Any) -> None:
    with pytest.raises(RemoteProtocolError, match=f"INFO field '{name}' must be"):
        Info({name: value})


@pytest.mark.parametrize("name", ["connect_urls", "ws_connect_urls"])
def test_a_list_that_is_null_is_read_as_empty(name: str) -> None:
    assert getattr(Info({name: None}), name) == []


def test_unknown_fields_are_kept() -> None:
    info = Info.from_json(b'{"from_the_future":{"x":[1]},"api_lvl":5}')
    assert info.fields == {"from_the_future": {"x": [1]}, "api_lvl": 5}


def test_an_unknown_field_is_not_an_attribute() -> None:
    with pytest.raises(AttributeError, match=r"INFO has no field 'api_lvl'; see \.fields"):
        _ = Info({"api_lvl": 5}).api_lvl


@pytest.mark.parametrize("value", [-1, 0, 1 << 40])
def test_max_payload_may_be_any_integer(value: int) -> None:
    assert Info.from_json(b'{"max_payload":%d}' % value).max_payload == value


def test_the_last_of_two_equal_keys_wins() -> None:
    assert Info.from_json(b'{"port":1,"port":2}').port == 2


@pytest.mark.parametrize("read", [Info.from_json, Connect.from_json])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"{}x",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":"\xff"}',
        b'{"a":"\x01"}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        "{}".encode("utf-16-le"),
        "{}".encode("utf-32-be"),
        b'{"a":' * 200_000,
        b"[" * 200_000,
        b'{"a":' + b"9" * 100_000 + b"}",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_invalid_json_is_a_remote_error(read: Any, data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="is not valid JSON"):
        read(data)


@pytest.mark.parametrize("read", [Info.from_json, Connect.from_json])
@pytest.mark.parametrize("data", [b"[]", b"null", b"1", b'"x"', b"true"])
def test_json_other_than_an_object_is_a_remote_error(read: Any, data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="must contain a JSON object, not"):
        read(data)


@given(data=st.binary(max_size=30) | st.text(max_size=30).map(str.encode))
def test_any_bytes_after_info_are_valid_json_or_a_remote_error(data: bytes) -> None:
    try:
        info = Info.from_json(data)
    except RemoteProtocolError:
        return
    assert info.fields == json.loads(data)


# ---------------------------------------------------------------------- CONNECT

SECRET = "s3cr3t-0123"


@pytest.mark.parametrize(
    "key",
    [
        "user",
        "pass",
        "auth_token",
        "jwt",
        "nkey",
        "sig",
        "proxy_sig",
        "Pass",
        "AUTH_TOKEN",
        "pa\u017fs",
    ],
)
def test_the_repr_of_connect_shows_no_secret(key: str) -> None:
    assert SECRET not in repr(Connect({key: SECRET}))


def test_the_repr_of_connect_shows_no_secret_within_an_unknown_field() -> None:
    assert SECRET not in repr(Connect({"extra": {"pass": SECRET}, "list": [SECRET]}))


def test_the_repr_of_connect_shows_the_names_of_its_fields() -> None:
    assert repr(Connect({"verbose": False, "name": "n", "pass": SECRET})) == (
        "Connect(fields={'verbose': False, 'name': 'n', 'pass': '…'})"
    )


def test_the_hash_of_connect_does_not_depend_on_the_order_of_its_fields() -> None:
    assert hash(Connect({"a": 1, "b": 2})) == hash(Connect({"b": 2, "a": 1}))
