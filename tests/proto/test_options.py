"""Invalid options are refused when a client is created."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from nasq_proto import Client, ClientOptions, InvalidOptionError, ReconnectPolicy, Server
from nasq_proto.testing import Broker, Link


def make(**options: Any) -> Client:
    return Client(ClientOptions([Server("a", 1)], **options), rng=random.Random(1))


BAD_NUMBERS: list[tuple[Any, type[Exception]]] = [
    (0, InvalidOptionError),
    (0.0, InvalidOptionError),
    (-1, InvalidOptionError),
    (-math.inf, InvalidOptionError),
    (math.nan, InvalidOptionError),
    (True, TypeError),
    (False, TypeError),
    ("5", TypeError),
    (b"5", TypeError),
    (None, TypeError),
    (5j, TypeError),
]


@pytest.mark.parametrize("option", ["connect_timeout", "ping_interval"])
@pytest.mark.parametrize(("value", "error"), BAD_NUMBERS)
def test_an_invalid_time_is_refused(option: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"{option} must be"):
        make(**{option: value})


@pytest.mark.parametrize("option", ["max_pings_out", "reconnect_buffer"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-1, InvalidOptionError),
        (True, TypeError),
        (2.0, TypeError),
        (math.inf, TypeError),
        (math.nan, TypeError),
        ("2", TypeError),
        (None, TypeError),
    ],
)
def test_an_invalid_count_is_refused(option: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"{option} must be"):
        make(**{option: value})


def test_the_smallest_counts_are_accepted() -> None:
    make(max_pings_out=1, reconnect_buffer=0)
    with pytest.raises(InvalidOptionError, match="max_pings_out must be at least 1, not 0"):
        make(max_pings_out=0)


@pytest.mark.parametrize("value", [True, 1, {}, (1, 2)])
def test_a_policy_of_the_wrong_type_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="reconnect must be a ReconnectPolicy or None"):
        make(reconnect=value)


def test_an_invalid_policy_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="reconnect: delay must be"):
        make(reconnect=ReconnectPolicy(delay=math.inf))


@pytest.mark.parametrize("option", ["user", "password", "token"])
@pytest.mark.parametrize("value", [b"x", 7, ["x"]])
def test_a_secret_of_the_wrong_type_is_refused_and_not_shown(option: str, value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        make(**{option: value})
    assert str(caught.value) == f"{option} must be a str or a callable, not {type(value).__name__}"


# ---------------------------------------------------------------------- the name


@pytest.mark.parametrize("name", ["", "worker 1", "grüß dich", "\N{GRINNING FACE}" * 64, "x" * 256])
def test_a_name_reaches_the_server(name: str) -> None:
    client, broker = make(name=name), Broker()
    link = Link(client, broker)
    client.open(link.now)
    link.pump()
    assert client.is_connected
    assert broker.sessions[0].options["name"] == name


@pytest.mark.parametrize("name", [b"worker", 7, ["x"], True])
def test_a_name_that_is_not_a_str_is_refused(name: Any) -> None:
    with pytest.raises(TypeError, match="name must be a str, not"):
        make(name=name)


@pytest.mark.parametrize(
    "name", ["a\nb", "a\r\nPUB x 0\r\n\r\n", "\0", "a\tb", "\x7f", "\x85", "\ud800", "a\udcff"]
)
def test_a_name_with_control_characters_or_surrogates_is_refused(name: str) -> None:
    with pytest.raises(InvalidOptionError, match="name must not contain control characters"):
        make(name=name)


@pytest.mark.parametrize("name", ["x" * 257, "x" * 100_000, "ü" * 129])
def test_a_name_that_is_too_long_is_refused(name: str) -> None:
    with pytest.raises(InvalidOptionError, match="name must have at most 256 bytes as UTF-8"):
        make(name=name)


# ---------------------------------------------------------------------- infinite times


def test_an_infinite_connect_timeout_sets_no_deadline() -> None:
    client, broker = make(connect_timeout=math.inf), Broker()
    broker.script = lambda session: True
    link = Link(client, broker)
    opened = client.open(link.now)
    link.pump()
    assert client.next_timeout() is None
    link.advance(1e9)
    assert not opened.done
    client.close()


@pytest.mark.parametrize("interval", [math.inf, 1e300])
def test_with_an_infinite_ping_interval_no_ping_is_sent(interval: float) -> None:
    client, broker = make(ping_interval=interval), Broker()
    link = Link(client, broker)
    client.open(link.now)
    link.pump()
    assert client.next_timeout() in (None, 1e300)
    before = len(broker.sessions[0].received)
    link.advance(1e9)
    assert client.is_connected
    assert len(broker.sessions[0].received) == before


def test_a_client_needs_a_server() -> None:
    with pytest.raises(InvalidOptionError, match="no server was given"):
        Client(ClientOptions([]), rng=random.Random(1))
