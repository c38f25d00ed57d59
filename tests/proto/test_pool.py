"""`ServerPool`: which server is tried next, and when."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasq_proto import ReconnectPolicy, Server
from nasq_proto.pool import MOST_ANNOUNCED, Candidate, ServerPool


class Fixed(random.Random):
    """A generator that always returns the same share of a range."""

    def __init__(self, share: float) -> None:
        super().__init__(0)
        self.share = share

    def random(self) -> float:
        return self.share


ALL = Fixed(1.0)
POLICY = ReconnectPolicy(delay=1, max_delay=8, factor=2)


def new_pool(
    *hosts: str,
    policy: ReconnectPolicy | None = POLICY,
    rng: random.Random = ALL,
    connect_timeout: float = 5.0,
) -> ServerPool:
    servers = [Server(host, 4222) for host in hosts]
    return ServerPool(servers, policy, rng, connect_timeout=connect_timeout)


def pick(pool: ServerPool, now: float = 0.0) -> Candidate:
    candidate = pool.pick(now)
    assert candidate is not None
    return candidate


def used_pool(
    *hosts: str, policy: ReconnectPolicy | None = POLICY, rng: random.Random = ALL
) -> ServerPool:
    """Return a pool after its first round, in which no server has failed or was reached."""
    pool = new_pool(*hosts, policy=policy, rng=rng)
    pool._first_round = False
    return pool


def named(pool: ServerPool, host: str) -> Candidate:
    (candidate,) = (c for c in pool._candidates if c.server.host == host)
    return candidate


def hosts(pool: ServerPool, times: int, now: float = 0.0) -> list[str]:
    return [pick(pool, now).server.host for _ in range(times)]


# ---------------------------------------------------------------------- the first round


def test_the_length_of_a_pool_is_the_number_of_servers() -> None:
    assert len(new_pool("a", "b")) == 2


def test_in_the_first_round_each_server_is_tried_once_in_order() -> None:
    pool = new_pool("a", "b", "c")
    for host in "abc":
        candidate = pick(pool)
        assert candidate.server.host == host
        pool.failed(candidate, now=0.0)
    assert pool.pick(0.0) is None


def test_in_the_first_round_announced_servers_come_last_and_share_one_timeout() -> None:
    pool = new_pool("a", "b")
    a = pick(pool)
    assert pool.begin(a, 0.0) == 5.0
    pool.announce([f"x{n}:1" for n in range(9)], a)
    pool.failed(a, now=4.0)
    b = pick(pool, 4.0)
    assert b.server.host == "b"
    assert pool.begin(b, 4.0) == 5.0
    pool.failed(b, now=9.0)
    timeouts = []
    now = 9.0
    while (candidate := pool.pick(now)) is not None:
        assert candidate.announced
        timeouts.append(pool.begin(candidate, now))
        now += 2.0
        pool.failed(candidate, now)
    assert timeouts == [5.0, 3.0, 1.0]


def test_a_reset_forgets_failures_and_announced_servers() -> None:
    pool = new_pool("a", "b", policy=ReconnectPolicy(max_attempts=1))
    for _ in range(2):
        pool.failed(pick(pool), now=50.0)
    pool.announce(["c:1"], named(pool, "a"))
    pool.reset()
    first = pick(pool)
    assert (first.server.host, first.failures, first.not_before) == ("a", 0, 0.0)
    assert len(pool) == 2


# ---------------------------------------------------------------------- after the first round


def test_servers_are_picked_in_order_and_then_from_the_start_again() -> None:
    assert hosts(used_pool("a", "b", "c"), 7) == ["a", "b", "c", "a", "b", "c", "a"]


def test_a_failed_server_comes_after_those_that_did_not_fail() -> None:
    pool = used_pool("a", "b", "c")
    pool.failed(pick(pool), now=10.0)
    assert hosts(pool, 3, now=10.0) == ["b", "c", "b"]
    # Even when the server is due again, servers that never failed come first.
    assert "a" not in hosts(pool, 9, now=20.0)


def test_when_all_have_failed_the_earliest_due_server_is_next() -> None:
    pool = used_pool("a", "b")
    a, b = pick(pool), pick(pool)
    pool.failed(a, now=0.0)
    pool.failed(a, now=0.0)
    pool.failed(b, now=0.0)
    assert pick(pool, 0.0) is b


def test_each_failure_in_a_row_doubles_the_wait() -> None:
    pool = used_pool("a")
    candidate = pick(pool)
    waits = []
    for _ in range(5):
        pool.failed(candidate, now=100.0)
        waits.append(candidate.not_before - 100.0)
    assert waits == [1, 2, 4, 8, 8]


def test_a_server_whose_connection_was_stable_is_retried_at_once() -> None:
    pool = used_pool("a")
    candidate = pick(pool)
    pool.failed(candidate, now=0.0)
    pool.lost(candidate, connected_at=10.0, now=20.0)
    assert (candidate.failures, candidate.not_before) == (0, 20.0)


@pytest.mark.parametrize("lived", [0.0, 0.5, 0.999])
def test_a_connection_of_less_than_a_second_counts_as_a_failure(lived: float) -> None:
    pool = used_pool("a")
    candidate = pick(pool)
    pool.lost(candidate, connected_at=10.0, now=10.0 + lived)
    assert (candidate.failures, candidate.not_before) == (1, 11.0 + lived)


def test_a_server_is_given_up_after_max_attempts() -> None:
    pool = used_pool("a", "b", policy=ReconnectPolicy(max_attempts=2))
    a = pick(pool)
    pool.failed(a, now=0.0)
    pool.failed(a, now=0.0)
    assert set(hosts(pool, 4)) == {"b"}


def test_when_all_servers_are_given_up_pick_returns_none() -> None:
    pool = used_pool("a", policy=ReconnectPolicy(max_attempts=1))
    pool.failed(pick(pool), now=0.0)
    assert pool.pick(0.0) is None


def test_without_a_policy_no_server_is_given_up_or_delayed() -> None:
    pool = used_pool("a", policy=None)
    candidate = pick(pool)
    for _ in range(100):
        pool.failed(candidate, now=5.0)
    assert (pick(pool), candidate.not_before) == (candidate, 0.0)


@given(count=st.integers(1, 4), failures=st.lists(st.floats(0, 3), max_size=20), seed=st.integers())
def test_the_picked_server_is_never_due_later_than_another(
    count: int, failures: list[float], seed: int
) -> None:
    pool = used_pool(*map(str, range(count)), rng=random.Random(seed))
    now = 0.0
    for step in failures:
        candidate = pick(pool, now)
        due = min(max(c.not_before, now, pool._pause_until) for c in pool._candidates)
        assert max(candidate.not_before, now) == due
        now += step
        pool.failed(candidate, now)


def test_when_all_have_failed_attempts_are_separated_by_pauses() -> None:
    rng = random.Random(1)
    pool = used_pool(*(f"s{n}" for n in range(20)), policy=ReconnectPolicy(), rng=rng)
    now, begun = 0.0, []
    for _ in range(200):
        candidate = pick(pool, now)
        now = max(now, candidate.not_before)
        begun.append(now)
        pool.failed(candidate, now)
    assert begun[:20] == [0.0] * 20, "the first round has no pauses"
    assert min(later - sooner for sooner, later in pairwise(begun[19:])) >= 0.025


# ---------------------------------------------------------------------- preference


def test_reached_servers_come_first_then_named_then_announced_ones() -> None:
    pool = new_pool("named", "good")
    pool.failed(pick(pool), now=0.0)
    good = pick(pool)
    pool.connected(good)
    pool.announce(["found:1"], good)
    pool.lost(good, connected_at=0.0, now=100.0)
    order = []
    for _ in range(3):
        candidate = pick(pool, 100.0)
        order.append(candidate.server.host)
        pool.begin(candidate, 100.0)
        pool.failed(candidate, now=100.0)
    assert order == ["good", "named", "found"]


def test_an_unreached_announced_server_rests_ten_times_as_long_as_its_attempt_took() -> None:
    pool = new_pool("good")
    good = pick(pool)
    pool.connected(good)
    pool.announce(["far:1"], good)
    far = named(pool, "far")
    pool.begin(far, 100.0)
    pool.failed(far, now=101.0)
    assert far.not_before == 111.0
    pool.begin(far, 200.0)
    pool.failed(far, now=200.0)
    assert far.not_before == 202.0, "a server that fails at once is paced like any other"
    pool.connected(far)
    pool.failed(far, now=305.0)
    assert far.not_before == 309.0


@pytest.mark.parametrize(("outage", "timeout"), [(0.0, 1.0), (0.9, 1.0), (3.0, 3.0), (9.0, 5.0)])
def test_the_timeout_of_an_unreached_announced_server_is_the_outage_so_far(
    outage: float, timeout: float
) -> None:
    pool = new_pool("good")
    good = pick(pool)
    pool.connected(good)
    pool.announce(["far:1"], good)
    pool.lost(good, 0.0, 100.0)
    assert pool.begin(named(pool, "far"), 100.0 + outage) == timeout
    assert pool.begin(good, 100.0 + outage) == 5.0


def test_an_outage_begins_with_the_first_of_several_short_connections() -> None:
    pool = new_pool("nobody", "good", policy=ReconnectPolicy())
    pool.failed(pick(pool), 90.0)
    good = pick(pool)
    pool.connected(good)
    pool.announce(["far:1"], good)
    far = named(pool, "far")
    pool.lost(good, 99.5, 100.0)
    assert pool.begin(far, 100.0) == 1.0
    pool.connected(good)
    pool.lost(good, 102.5, 103.0)
    assert pool.begin(far, 103.0) == 3.0


def test_an_announced_server_has_the_full_timeout_if_no_better_one_is_due_soon() -> None:
    pool = new_pool("lame duck")
    lame_duck = pick(pool)
    pool.connected(lame_duck)
    pool.announce(["far:1"], lame_duck)
    pool.lost(lame_duck, 0.0, 100.0)
    pool.leave(lame_duck, 100.0)
    assert pick(pool, 100.0) is named(pool, "far")
    assert pool.begin(named(pool, "far"), 100.0) == 5.0


def test_an_announced_server_has_the_full_timeout_if_no_server_was_reached() -> None:
    pool = used_pool("a")
    pool.announce(["b:1"], named(pool, "a"))
    assert pool.begin(named(pool, "b"), 0.0) == 5.0


# ---------------------------------------------------------------------- refusals


def refused(pool: ServerPool, candidate: Candidate, *refusals: object) -> bool:
    for refusal in refusals:
        pool.failed(candidate, 0.0, refusal)
    return candidate not in pool._candidates


@pytest.mark.parametrize(
    ("refusals", "given_up"),
    [
        (["x", "x"], True),
        (["y", "x", "x"], True),
        (["x"], False),
        (["x", "y", "x", "y"], False),
        (["x", None, "x"], False),
        ([None, None], False),
    ],
)
def test_a_server_is_given_up_after_the_same_refusal_twice_in_a_row(
    refusals: list[object], given_up: bool
) -> None:
    pool = used_pool("a", "b")
    assert refused(pool, named(pool, "a"), *refusals) is given_up


def test_a_connection_resets_earlier_refusals() -> None:
    pool = used_pool("a")
    a = named(pool, "a")
    assert not refused(pool, a, "x")
    pool.connected(a)
    assert not refused(pool, a, "x")


def test_a_refusal_of_another_server_does_not_count() -> None:
    pool = used_pool("a", "b")
    a, b = named(pool, "a"), named(pool, "b")
    assert not refused(pool, a, "x")
    assert not refused(pool, b, "x")
    assert refused(pool, a, "x")


def test_a_policy_can_forbid_giving_up() -> None:
    pool = used_pool("a", policy=ReconnectPolicy(give_up_on_auth=False))
    assert not refused(pool, named(pool, "a"), *["x"] * 100)


# ---------------------------------------------------------------------- announcements


def announced(pool: ServerPool) -> list[str]:
    return [c.server.address for c in pool._candidates if c.announced]


@pytest.mark.parametrize(
    "address",
    ["Nats-B.example.com:4222", "nats-b.example.com", "[2001:DB8::1]", "nats-b.example.com:"],
)
def test_an_announced_server_stays_in_the_pool_in_any_notation(address: str) -> None:
    pool = new_pool("a")
    a = pick(pool)
    pool.announce([address], a)
    (found,) = (c for c in pool._candidates if c.announced)
    for _ in range(5):
        pool.announce([address], a)
        assert [c for c in pool._candidates if c.announced] == [found]
    pool.announce(["other:1"], a)
    assert announced(pool) == ["other:1"]
    pool.announce([address], a)
    assert announced(pool) == [found.server.address]


def test_an_announced_server_that_the_user_named_is_not_added_in_any_case() -> None:
    pool = new_pool("a")
    pool.announce(["A:4222", "A"], pick(pool))
    assert len(pool) == 1


def test_the_number_of_announced_servers_is_limited() -> None:
    pool = new_pool("a")
    a = pick(pool)
    for turn in range(3):
        pool.announce([f"s{turn}-{n}:1" for n in range(10 * MOST_ANNOUNCED)], a)
        assert len(pool) == 1 + MOST_ANNOUNCED
    pool.announce(["", ":"] * MOST_ANNOUNCED + ["one:1"], a)
    assert announced(pool) == ["one:1"], "invalid addresses do not count"


def test_the_number_of_given_up_servers_that_are_remembered_is_limited() -> None:
    pool = used_pool("a", rng=random.Random(1))
    for n in range(10 * MOST_ANNOUNCED):
        pool.announce([f"s{n}:1"], named(pool, "a"))
        for candidate in list(pool._candidates[1:]):
            assert refused(pool, candidate, "x", "x")
    assert len(pool._given_up) == MOST_ANNOUNCED
    assert len(pool) == 1


def test_announcements_can_be_ignored() -> None:
    pool = ServerPool([Server("a", 1)], POLICY, ALL, ignore_announced=True)
    pool.announce(["b:1"], pick(pool))
    assert len(pool) == 1


def test_a_candidate_shows_no_credentials() -> None:
    server = Server("a", 1, user="user", password="secret", token="secret")
    assert repr(Candidate(server)) == "Candidate(nats://a:1)"
