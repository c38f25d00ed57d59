"""`Client.open(now, until)`: retrying the first connection until a deadline."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from nasq_proto import (
    AuthorizationError,
    Client,
    ClientOptions,
    Closed,
    ConnectFailedError,
    OperationTimeoutError,
    ReconnectPolicy,
    Server,
)
from nasq_proto.testing import Broker, Link

REFUSED = ConnectionRefusedError(111, "Connection refused")


def rig(broker: Broker | None = None, *, servers: int = 2, **options: Any) -> tuple[Client, Link]:
    addresses = [Server(f"s{n}", 4222) for n in range(1, servers + 1)]
    client = Client(ClientOptions(addresses, **options), rng=random.Random(1))
    return client, Link(client, broker or Broker())


def test_without_a_deadline_each_server_is_tried_once() -> None:
    client, link = rig()
    link.refuse = REFUSED
    opened = client.open(link.now)
    link.pump()
    assert isinstance(opened.error, ConnectFailedError)
    assert [server for server, _ in opened.error.reasons] == ["s1:4222", "s2:4222"]
    assert (link.opened, link.now) == (2, 0.0)
    assert str(client.closed.result()) == str(opened.error)


@pytest.mark.parametrize("policy", [None, ReconnectPolicy(max_attempts=1), ReconnectPolicy()])
def test_servers_are_retried_with_delays_until_the_deadline(policy: ReconnectPolicy | None) -> None:
    client, link = rig(reconnect=policy)
    link.refuse = REFUSED
    opened = client.open(link.now, 60.0)
    link.pump()
    assert link.opened == 2, "the first round has no pauses"
    link.advance(59.9)
    assert not opened.done
    assert 60 < link.opened < 400
    link.advance(0.1)
    assert isinstance(opened.error, ConnectFailedError)
    assert len(opened.error.reasons) == 2
    assert str(client.last_error) == str(opened.error)
    assert client.next_timeout() is None
    assert isinstance(client.take_notices()[-1], Closed)


def test_a_server_that_starts_late_is_reached_and_its_failures_are_forgotten() -> None:
    client, link = rig(servers=1, reconnect=ReconnectPolicy(max_attempts=2))
    link.refuse = REFUSED
    opened = client.open(link.now, math.inf)
    link.advance(1000.0)
    link.refuse = None
    link.advance(1.0)
    assert opened.done
    assert opened.error is None
    link.cut()
    link.advance(1.0)
    assert client.is_connected, "earlier failures do not count"


def test_the_deadline_also_limits_the_first_attempt() -> None:
    client, link = rig(servers=1, connect_timeout=30.0)
    link.black_hole = True
    opened = client.open(link.now, 2.0)
    link.advance(2.0)
    assert isinstance(opened.error, OperationTimeoutError)
    assert str(opened.error) == (
        "no connection to s1:4222 in the time given: still waiting for the server's INFO"
    )


def test_the_latest_of_several_deadlines_counts() -> None:
    client, link = rig()
    link.refuse = REFUSED
    opened = [client.open(link.now, until) for until in (None, 5.0, 3.0, None)]
    link.advance(4.9)
    assert not any(op.done for op in opened)
    link.advance(0.1)
    assert all(op.done for op in opened)


def test_open_fails_after_two_refusals_by_each_server() -> None:
    client, link = rig(Broker(users={"ann": "secret"}), user="ann", password="wrong")
    opened = client.open(link.now, math.inf)
    link.advance(60.0)
    assert isinstance(opened.error, ConnectFailedError)
    assert {type(error) for _, error in opened.error.reasons} == {AuthorizationError}
    assert link.opened == 4


def test_give_up_fails_open_and_closes_the_client() -> None:
    client, link = rig(servers=1)
    link.refuse = REFUSED
    opened = client.open(link.now, math.inf)
    link.advance(10.0)
    client.give_up()
    assert isinstance(opened.error, ConnectFailedError)
    client.give_up()
    link.refuse = None
    client.open(link.now)
    link.pump()
    client.give_up()
    assert client.is_connected, "give_up() does not end an established connection"
