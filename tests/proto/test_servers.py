"""Server URLs, the pace of reconnecting, and which server is next."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasq_proto import InvalidOptionError, ReconnectPolicy, Server, parse_server
from nasq_proto.servers import ServerPool

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
def test_a_url_is_read(url: str, expected: Parts) -> None:
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
def test_a_url_that_makes_no_sense_is_refused(url: str) -> None:
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
def test_a_password_that_must_be_encoded_is_refused_with_the_way_out(mark: str) -> None:
    # Any other reading of it would connect to the wrong host.
    with pytest.raises(InvalidOptionError, match="must be percent-encoded"):
        parse_server(f"nats://user:12{mark}34@host")


@pytest.mark.parametrize("value", [None, 4222, b"host", ["host"]])
def test_what_is_no_str_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError, match="a server must be a URL as str, not"):
        parse_server(cast("Any", value))


@given(text=st.text(st.characters(exclude_categories=()), max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
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
def test_an_address_brackets_ipv6(server: Server, address: str) -> None:
    assert server.address == address


def test_the_repr_shows_no_credentials() -> None:
    server = Server("host", 1, scheme="tls", user="u", password="p", token="t")
    assert repr(server) == "Server(tls://host:1)"


@given(
    host=st.sampled_from(["host", "::1", "10.0.0.1", "fe80::1%eth0"]), port=st.integers(1, 65535)
)
def test_an_address_is_a_url_of_the_same_server(host: str, port: int) -> None:
    server = parse_server(Server(host, port).address)
    assert (server.host, server.port) == (host, port)


# ---------------------------------------------------------------------- the pace


class Fixed(random.Random):
    """Always draws the same share of a range."""

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
def test_the_range_grows_by_the_factor_up_to_its_limit(failures: int, most: float) -> None:
    assert ReconnectPolicy(delay=1, max_delay=10, factor=2).wait(failures, ALL) == most


def test_the_limit_holds_for_the_first_delay_too() -> None:
    assert ReconnectPolicy(delay=5, max_delay=2).wait(1, ALL) == 2


@pytest.mark.parametrize("share", [0.0, 0.25, 0.999])
def test_the_wait_is_drawn_evenly_from_nothing_to_the_range(share: float) -> None:
    policy = ReconnectPolicy(delay=1, max_delay=10, factor=2)
    assert policy.wait(3, Fixed(share)) == share * 4


@given(
    failures=st.integers(0, 10_000),
    delay=st.floats(0, 1e3),
    most=st.floats(0, 1e3),
    factor=st.floats(1, 1e6),
    seed=st.integers(),
)
def test_a_wait_is_never_negative_nor_longer_than_its_limit(
    failures: int, delay: float, most: float, factor: float, seed: int
) -> None:
    wait = ReconnectPolicy(delay, most, factor).wait(failures, random.Random(seed))
    assert 0 <= wait <= most


def test_the_same_seed_gives_the_same_waits() -> None:
    policy = ReconnectPolicy()
    waits = [[policy.wait(n, rng) for n in range(9)] for rng in map(random.Random, (7, 7))]
    assert waits[0] == waits[1]


class CountedFactor(float):
    """Counts the multiplications by it."""

    used = 0

    def __rmul__(self, other: float) -> float:
        self.used += 1
        return other * float(self)


def test_after_many_failures_a_wait_costs_no_more_than_after_few() -> None:
    # A factor of 1 never reaches max_delay: a loop up to it would run once per failure.
    factor = CountedFactor(1.0)
    assert ReconnectPolicy(delay=1, max_delay=10, factor=factor).wait(10_000, ALL) == 1
    assert factor.used < 5


@pytest.mark.parametrize("failures", [1, 2, 5000])
def test_without_a_delay_there_is_never_a_wait(failures: int) -> None:
    assert ReconnectPolicy(delay=0, max_delay=10, factor=2).wait(failures, ALL) == 0


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        (ReconnectPolicy(delay=-1), "delay"),
        (ReconnectPolicy(delay=float("nan")), "delay"),
        (ReconnectPolicy(delay=float("inf")), "delay"),
        (ReconnectPolicy(max_delay=-0.1), "max_delay"),
        (ReconnectPolicy(max_delay=float("inf")), "max_delay"),
        (ReconnectPolicy(factor=0.5), "factor"),
        (ReconnectPolicy(factor=float("nan")), "factor"),
        (ReconnectPolicy(max_attempts=0), "max_attempts"),
        (ReconnectPolicy(max_attempts=-1), "max_attempts"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(policy: ReconnectPolicy, name: str) -> None:
    with pytest.raises(InvalidOptionError, match=f"reconnect: {name} must be"):
        ServerPool([Server("a", 1)], policy, ALL)


# ---------------------------------------------------------------------- the pool

POLICY = ReconnectPolicy(delay=1, max_delay=8, factor=2)


def pool_of(
    *hosts: str, policy: ReconnectPolicy | None = POLICY, rng: random.Random = ALL
) -> ServerPool:
    return ServerPool([Server(host, 4222) for host in hosts], policy, rng)


def pick(pool: ServerPool) -> Server:
    server = pool.pick()
    assert server is not None
    return server


def test_a_pool_needs_a_server() -> None:
    with pytest.raises(InvalidOptionError, match="no server was given"):
        pool_of()


def test_a_pool_has_a_length() -> None:
    assert len(pool_of("a", "b")) == 2


def test_servers_are_picked_in_their_order_and_round_again() -> None:
    pool = pool_of("a", "b", "c")
    assert [pick(pool).host for _ in range(7)] == ["a", "b", "c", "a", "b", "c", "a"]


def test_a_server_that_failed_comes_after_those_that_did_not() -> None:
    pool = pool_of("a", "b", "c")
    pool.failed(pick(pool), now=10.0)
    assert [pick(pool).host for _ in range(3)] == ["b", "c", "b"]


def test_when_all_have_failed_the_one_that_is_due_first_is_next() -> None:
    pool = pool_of("a", "b")
    a, b = pick(pool), pick(pool)
    pool.failed(a, now=0.0)
    pool.failed(a, now=0.0)
    pool.failed(b, now=0.5)
    assert pick(pool) is b


def test_each_failure_in_a_row_doubles_the_wait() -> None:
    pool = pool_of("a")
    server = pick(pool)
    waits = []
    for _ in range(5):
        pool.failed(server, now=100.0)
        waits.append(server.not_before - 100.0)
    assert waits == [1, 2, 4, 8, 8]


def test_a_connection_that_had_lived_is_made_again_at_once() -> None:
    pool = pool_of("a")
    server = pick(pool)
    pool.failed(server, now=0.0)
    pool.lost(server, connected_at=10.0, now=20.0)
    assert (server.failures, server.not_before) == (0, 20.0)


@pytest.mark.parametrize("lived", [0.0, 0.5, 0.999])
def test_a_connection_that_hardly_lived_counts_as_a_failure(lived: float) -> None:
    pool = pool_of("a")
    server = pick(pool)
    pool.lost(server, connected_at=10.0, now=10.0 + lived)
    assert (server.failures, server.not_before) == (1, 11.0 + lived)


def test_a_server_is_given_up_after_its_attempts() -> None:
    pool = pool_of("a", "b", policy=ReconnectPolicy(max_attempts=2))
    a = pick(pool)
    pool.failed(a, now=0.0)
    pool.failed(a, now=0.0)
    assert {pick(pool).host for _ in range(4)} == {"b"}


def test_when_all_are_given_up_there_is_no_next() -> None:
    pool = pool_of("a", policy=ReconnectPolicy(max_attempts=1))
    pool.failed(pick(pool), now=0.0)
    assert pool.pick() is None


def test_without_a_policy_nothing_is_given_up_and_nothing_waits() -> None:
    pool = pool_of("a", policy=None)
    server = pick(pool)
    for _ in range(100):
        pool.failed(server, now=5.0)
    assert (pick(pool), server.not_before) == (server, 0.0)


def test_a_reset_forgets_what_became_of_earlier_attempts() -> None:
    pool = pool_of("a", "b", policy=ReconnectPolicy(max_attempts=1))
    for _ in range(2):
        pool.failed(pick(pool), now=50.0)
    pool.reset()
    first = pick(pool)
    assert (first.host, first.failures, first.not_before) == ("a", 0, 0.0)


@given(
    hosts=st.integers(1, 4),
    failures=st.lists(st.floats(0, 3), max_size=20),
    seed=st.integers(),
)
def test_the_next_server_is_never_due_later_than_another(
    hosts: int, failures: list[float], seed: int
) -> None:
    servers = [Server(str(i), 1) for i in range(hosts)]
    pool = ServerPool(servers, POLICY, random.Random(seed))
    now = 0.0
    for step in failures:
        server = pick(pool)
        assert server.not_before == min(s.not_before for s in servers)
        now += step
        pool.failed(server, now)
