"""Server URLs, and the delays between connect attempts."""

from __future__ import annotations

import math
import random
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasq_proto import InvalidOptionError, ReconnectPolicy, Server, parse_server, server_at
from nasq_proto.servers import check_number, check_policy

# ---------------------------------------------------------------------- URLs

Parts = tuple[str, str, int, str | None, str | None, str | None]


def parts(server: Server) -> Parts:
    return (
        server.scheme,
        server.host,
        server.port,
        server.user,
        server.password,
        server.token,
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("host", ("nats", "host", 4222, None, None, None)),
        ("host:1", ("nats", "host", 1, None, None, None)),
        ("host:65535", ("nats", "host", 65535, None, None, None)),
        ("host:", ("nats", "host", 4222, None, None, None)),
        ("nats://host", ("nats", "host", 4222, None, None, None)),
        ("nats://host/", ("nats", "host", 4222, None, None, None)),
        ("NATS://HOST:5000", ("nats", "host", 5000, None, None, None)),
        ("tls://host", ("tls", "host", 4222, None, None, None)),
        ("ws://host", ("ws", "host", 80, None, None, None)),
        ("wss://host", ("wss", "host", 443, None, None, None)),
        ("wss://host:8443/", ("wss", "host", 8443, None, None, None)),
        ("127.0.0.1:4333", ("nats", "127.0.0.1", 4333, None, None, None)),
        ("my_host-1.example", ("nats", "my_host-1.example", 4222, None, None, None)),
        ("grüß.example", ("nats", "grüß.example", 4222, None, None, None)),
        ("[::1]", ("nats", "::1", 4222, None, None, None)),
        ("[::1]:4333", ("nats", "::1", 4333, None, None, None)),
        ("tls://[2001:db8::1]:1", ("tls", "2001:db8::1", 1, None, None, None)),
        ("[::ffff:1.2.3.4]", ("nats", "::ffff:1.2.3.4", 4222, None, None, None)),
        ("[fe80::1%eth0]:1", ("nats", "fe80::1%eth0", 1, None, None, None)),
        ("nats://[fe80::1%25eth0]", ("nats", "fe80::1%eth0", 4222, None, None, None)),
        ("user:pass@host", ("nats", "host", 4222, "user", "pass", None)),
        ("nats://user:pass@host:1", ("nats", "host", 1, "user", "pass", None)),
        ("nats://user:@host", ("nats", "host", 4222, "user", "", None)),
        ("nats://:pass@host", ("nats", "host", 4222, "", "pass", None)),
        ("nats://token@host", ("nats", "host", 4222, None, None, "token")),
        ("nats://@host", ("nats", "host", 4222, None, None, None)),
        ("nats://u:p@[::1]:1", ("nats", "::1", 1, "u", "p", None)),
        ("nats://u:a:b@host", ("nats", "host", 4222, "u", "a:b", None)),
        ("nats://u:a@b@host", ("nats", "host", 4222, "u", "a@b", None)),
        ("nats://u:[x@host", ("nats", "host", 4222, "u", "[x", None)),
        ("nats://u:\u2100@host", ("nats", "host", 4222, "u", "\u2100", None)),
        (
            "nats://us%3Aer:p%40s%2Fs%25@host",
            ("nats", "host", 4222, "us:er", "p@s/s%", None),
        ),
        ("nats://to%2Fken@host", ("nats", "host", 4222, None, None, "to/ken")),
        ("nats://u:gr%C3%BC%C3%9F@host", ("nats", "host", 4222, "u", "grüß", None)),
        ("nats://u:%zz@host", ("nats", "host", 4222, "u", "%zz", None)),
    ],
)
def test_a_valid_url_is_parsed(url: str, expected: Parts) -> None:
    assert parts(parse_server(url)) == expected


BAD_URLS = [
    "",
    "nats://",
    "nats:///",
    ":4222",
    "@",
    "nats://:4222",
    "http://host",
    "://host",
    "na ts://host",
    "host:0",
    "host:65536",
    "host:99999999999999999999",
    "host:x",
    "host:-1",
    "host:+1",
    "host: 1",
    "host:\N{FULLWIDTH DIGIT ONE}",
    "host:1:2",
    "::1",
    "2001:db8::1",
    "[::1",
    "::1]",
    "[]",
    "[host]",
    "[127.0.0.1]",
    "[::1]x",
    "[::1]x:1",
    "x[::1]",
    "[1:2]",
    "[::1%]",
    "two words",
    " host",
    "host ",
    "host\n",
    "ho\tst",
    "ho\0st",
    "a,b",
    "nats://a:1,nats://b:2",
    "host/path",
    "host:1/path",
    "nats://host//",
    "host?x=1",
    "host#x",
    "ho%73t",
    "a\\b",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidOptionError, match="server URL"):
        parse_server(url)


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "url",
    [
        *(f"nats://user:{SECRET}@{url}" for url in BAD_URLS if "//" not in url),
        f"nats://user:1/{SECRET}@host",
        f"nats://user:{SECRET}/x@host",
        f"nats://user:{SECRET}?x@host",
        f"nats://user:{SECRET}#x@host",
        f"nats://{SECRET}/x@host",
        f"user:{SECRET}://x@host",
        f"{SECRET}://x@host",
        f"nats://user:{SECRET}\u2100@host:x",
        f"nats://user:{SECRET}%ff@host",
        f"nats://{SECRET}%ff@host",
        f"nats://user:{SECRET}@other@host:x",
    ],
)
def test_an_error_shows_no_credentials(url: str) -> None:
    with pytest.raises(InvalidOptionError) as caught:
        parse_server(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("mark", ["/", "?", "#"])
def test_the_error_for_an_unencoded_password_says_what_to_do(mark: str) -> None:
    # Any other reading of the URL would connect to the wrong host.
    with pytest.raises(InvalidOptionError, match="must be percent-encoded"):
        parse_server(f"nats://user:12{mark}34@host")


@pytest.mark.parametrize("value", [None, 4222, b"host", ["host"]])
def test_a_url_that_is_not_a_str_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError, match="a server must be a URL as str, not"):
        parse_server(cast("Any", value))


@given(text=st.text(st.characters(exclude_categories=()), max_size=20))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        server = parse_server(text)
    except InvalidOptionError:
        return
    assert server.host
    assert 0 < server.port < 65536


@pytest.mark.parametrize(
    ("server", "address"),
    [
        (Server("host", 1), "host:1"),
        (Server("::1", 4222), "[::1]:4222"),
        (Server("fe80::1%eth0", 1), "[fe80::1%eth0]:1"),
    ],
)
def test_an_ipv6_address_is_in_brackets(server: Server, address: str) -> None:
    assert server.address == address


def test_the_repr_shows_no_credentials() -> None:
    server = Server("host", 1, scheme="tls", user="u", password="p", token="t")
    assert repr(server) == "Server(tls://host:1)"


@given(
    host=st.sampled_from(["host", "::1", "10.0.0.1", "fe80::1%eth0"]), port=st.integers(1, 65535)
)
def test_an_address_is_also_a_url_of_its_server(host: str, port: int) -> None:
    server = parse_server(Server(host, port).address)
    assert (server.host, server.port) == (host, port)


# ---------------------------------------------------------------------- delays


class Fixed(random.Random):
    """A generator that always returns the same share of a range."""

    def __init__(self, share: float) -> None:
        super().__init__(0)
        self.share = share

    def random(self) -> float:
        return self.share


ALL = Fixed(1.0)


def test_without_a_failure_there_is_no_wait() -> None:
    assert ReconnectPolicy(delay=5).wait(0, ALL) == 0.0


@pytest.mark.parametrize(
    ("failures", "most"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 10.0), (6, 10.0), (99, 10.0)]
)
def test_the_longest_wait_grows_by_the_factor_up_to_max_delay(failures: int, most: float) -> None:
    assert ReconnectPolicy(delay=1, max_delay=10, factor=2).wait(failures, ALL) == most


def test_max_delay_also_limits_the_first_wait() -> None:
    assert ReconnectPolicy(delay=5, max_delay=2).wait(1, ALL) == 2


@pytest.mark.parametrize("share", [0.0, 0.25, 0.999])
def test_the_wait_is_drawn_uniformly_from_zero_to_the_longest_wait(share: float) -> None:
    policy = ReconnectPolicy(delay=1, max_delay=10, factor=2)
    assert policy.wait(3, Fixed(share)) == share * 4


@given(
    failures=st.integers(0, 10_000),
    delay=st.floats(0, 1e3),
    most=st.floats(0, 1e3),
    factor=st.floats(1, 1e6),
    seed=st.integers(),
)
def test_a_wait_is_between_zero_and_max_delay(
    failures: int, delay: float, most: float, factor: float, seed: int
) -> None:
    wait = ReconnectPolicy(delay, most, factor).wait(failures, random.Random(seed))
    assert 0 <= wait <= most


def test_the_same_seed_gives_the_same_waits() -> None:
    policy = ReconnectPolicy()
    waits = [[policy.wait(n, rng) for n in range(9)] for rng in map(random.Random, (7, 7))]
    assert waits[0] == waits[1]


class CountedFactor(float):
    """A float that counts how often something is multiplied by it."""

    used = 0

    def __rmul__(self, other: float) -> float:
        self.used += 1
        return other * float(self)


def test_computing_a_wait_takes_constant_time() -> None:
    # A factor of 1 never reaches max_delay, so a loop up to it would run once per failure.
    factor = CountedFactor(1.0)
    assert ReconnectPolicy(delay=1, max_delay=10, factor=factor).wait(10_000, ALL) == 1
    assert factor.used < 5


@pytest.mark.parametrize("failures", [1, 2, 5000])
def test_with_a_delay_of_zero_there_is_no_wait(failures: int) -> None:
    assert ReconnectPolicy(delay=0, max_delay=10, factor=2).wait(failures, ALL) == 0


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"delay": -1}, InvalidOptionError),
        ({"delay": math.nan}, InvalidOptionError),
        ({"delay": math.inf}, InvalidOptionError),
        ({"delay": True}, TypeError),
        ({"delay": "1"}, TypeError),
        ({"delay": None}, TypeError),
        ({"max_delay": -0.1}, InvalidOptionError),
        ({"max_delay": -math.inf}, InvalidOptionError),
        ({"max_delay": math.inf}, InvalidOptionError),
        ({"max_delay": False}, TypeError),
        ({"factor": 0.5}, InvalidOptionError),
        ({"factor": math.nan}, InvalidOptionError),
        ({"factor": math.inf}, InvalidOptionError),
        ({"factor": b"2"}, TypeError),
        ({"max_attempts": 0}, InvalidOptionError),
        ({"max_attempts": -1}, InvalidOptionError),
        ({"max_attempts": True}, TypeError),
        ({"max_attempts": 1.5}, TypeError),
        ({"max_attempts": math.inf}, TypeError),
        ({"give_up_on_auth": 1}, TypeError),
        ({"give_up_on_auth": None}, TypeError),
    ],
)
def test_an_invalid_policy_is_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=f"reconnect: {next(iter(options))} must be"):
        check_policy(ReconnectPolicy(**options))


@pytest.mark.parametrize("value", [True, False, {"delay": 1}, (0.05, 0.75, 2.0, None, True), 1.0])
def test_a_policy_of_the_wrong_type_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="reconnect must be a ReconnectPolicy or None, not"):
        check_policy(value)


@pytest.mark.parametrize("delay", [0, 0.0, 5e-324, 30 * 86400, 1e300])
def test_a_delay_may_be_any_finite_number_from_zero(delay: float) -> None:
    check_policy(ReconnectPolicy(delay=delay, max_delay=delay))


@pytest.mark.parametrize("value", [5e-324, 1, 30 * 86400, 1e300, math.inf])
def test_a_number_within_its_bounds_is_accepted(value: float) -> None:
    check_number("it", value, least=0, above=True)


# ---------------------------------------------------------------------- host and port


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", "localhost:4222"),
        ("Nats.Example", "nats.example:4222"),
        ("10.0.0.1", "10.0.0.1:4222"),
        ("::1", "[::1]:4222"),
        ("fe80::1%eth0", "[fe80::1%eth0]:4222"),
    ],
)
def test_a_host_and_a_port_make_a_server(host: str, expected: str) -> None:
    assert server_at(host, 4222).address == expected


def test_the_error_for_a_host_with_a_port_says_what_to_write() -> None:
    with pytest.raises(InvalidOptionError) as caught:
        server_at("localhost:4333", 4222)
    assert "host='localhost', port=4333" in str(caught.value)
    assert 'servers=["nats://localhost:4333"]' in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "a b",
        "a/",
        "a:",
        ":4222",
        "[::1]",
        "[::1]:4222",
        "::1]",
        "nats://a",
        "user:pass@a",
        "user:1234@a",
        "a?b",
        "a,b",
        "a\n",
        "a\0",
        "::g",
        "a:b",
    ],
)
def test_an_invalid_host_is_refused_and_not_shown(host: str) -> None:
    with pytest.raises(InvalidOptionError, match="host must be a name or an address") as caught:
        server_at(host, 4222)
    assert "user" not in str(caught.value)


@pytest.mark.parametrize("host", [None, b"localhost", 4222])
def test_a_host_that_is_not_a_str_is_a_type_error(host: Any) -> None:
    with pytest.raises(TypeError, match="host must be a str, not"):
        server_at(host, 4222)


@pytest.mark.parametrize("port", [None, "4222", 4222.0, True])
def test_a_port_that_is_not_an_int_is_a_type_error(port: Any) -> None:
    with pytest.raises(TypeError, match="port must be an int, not"):
        server_at("a", port)


@pytest.mark.parametrize("port", [0, -1, 65536, 10**30])
def test_a_port_out_of_range_is_refused(port: int) -> None:
    with pytest.raises(InvalidOptionError, match="port must be a number from 1 to 65535"):
        server_at("a", port)
