"""Servers that announce one another, on a virtual clock."""

from __future__ import annotations

import errno
import random
from typing import Any

import pytest

from nasq_proto import (
    AuthorizationError,
    Client,
    ClientOptions,
    ClientState,
    Inbox,
    LameDuckError,
    Notice,
    ReconnectPolicy,
    Server,
    parse_server,
)
from nasq_proto.events import Connect, Info, Pub
from nasq_proto.notices import Connected, Disconnected, LameDuck, Reconnected
from nasq_proto.testing import Broker, Link


class Net:
    """Brokers by address, and one client that was told of some of them."""

    def __init__(self, *urls: str, seed: int = 1, **options: Any) -> None:
        self.brokers: dict[str, Broker] = {}
        self.tried: list[str] = []
        self.servers: list[Server] = []
        self.client = Client(
            ClientOptions([parse_server(url) for url in urls], **options), rng=random.Random(seed)
        )
        self.link = Link(self.client, self._resolve)
        self.notices: list[Notice] = []

    def _resolve(self, server: Server) -> Broker:
        self.tried.append(server.address)
        self.servers.append(server)
        if server.address not in self.brokers:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        return self.brokers[server.address]

    def up(self, address: str, *announced: str, **options: Any) -> Broker:
        """A broker answers at `address`, and announces those."""
        broker = Broker(info={"connect_urls": list(announced)}, **options)
        self.brokers[address] = broker
        return broker

    def open(self) -> None:
        self.client.open(self.link.now)
        self.link.advance(0.0)

    def say(self, *announced: str, **fields: Any) -> None:
        """The present server sends another INFO."""
        assert self.link.session is not None
        self.link.session.say(
            Info({"headers": True, "max_payload": 1000, "connect_urls": list(announced), **fields})
        )
        self.link.pump()

    def settle(self, seconds: float = 30.0) -> list[Notice]:
        """Let time pass; what was told meanwhile."""
        self.link.advance(seconds)
        return self.client.take_notices()

    @property
    def pool(self) -> list[str]:
        return [server.address for server in self.client._pool._servers]


def test_what_is_announced_is_added_once_and_forgotten_when_it_is_not() -> None:
    net = Net("nats://a:1", "nats://b:2")
    net.up("a:1", "a:1", "c:3", "b:2", "c:3", "[::1]:4")
    net.open()
    assert net.pool == ["a:1", "b:2", "c:3", "[::1]:4"]
    net.say("c:3")
    assert net.pool == ["a:1", "b:2", "c:3"], "the user's own stay"
    net.say("d:5")
    assert net.pool == ["a:1", "b:2", "d:5"]
    net.say()
    assert net.pool == ["a:1", "b:2", "d:5"], "who says nothing says nothing of others"


@pytest.mark.parametrize(
    "bad",
    ["", ":", "no port:x", "a:99999", "[::1:4", "a b:1", "\x00", "u:p@evil:1/x", "http://x:1"],
)
def test_an_address_that_is_none_is_passed_over(bad: str) -> None:
    net = Net("nats://a:1")
    net.up("a:1", bad, "b:2")
    net.open()
    assert net.client.is_connected
    assert net.pool == ["a:1", "b:2"]


def test_the_connected_server_is_not_forgotten_by_itself() -> None:
    net = Net("nats://a:1")
    net.up("a:1", "b:2")
    net.up("b:2", "c:3")
    net.open()
    net.link.advance(5.0)
    del net.brokers["a:1"]
    net.link.cut()
    net.settle()
    assert net.client.server is not None
    assert net.client.server.address == "b:2"
    assert net.pool == ["a:1", "b:2", "c:3"]


def test_a_discovered_server_is_reached_as_the_one_that_announced_it() -> None:
    net = Net("tls://u:p@name.example:1")
    net.up("name.example:1", "10.0.0.2:2", "other.example:3", users={"u": "p"})
    net.brokers["name.example:1"].info["tls_required"] = True
    net.open()
    assert net.client.is_connected
    by_ip, by_name = net.client._pool._servers[1:]
    assert [s.scheme for s in (by_ip, by_name)] == ["tls", "tls"]
    assert (by_ip.user, by_ip.password) == ("u", "p")
    assert by_ip.tls_name == "name.example", "what the user asked for is what is verified"
    assert by_name.tls_name == "other.example"


def test_over_websocket_the_websocket_addresses_count() -> None:
    net = Net("ws://a:1")
    broker = net.up("a:1", "raw:2")
    broker.info["ws_connect_urls"] = ["b:8080"]
    net.open()
    assert net.pool == ["a:1", "b:8080"]
    assert net.client._pool._servers[1].scheme == "ws"


def test_those_found_are_tried_in_the_first_round_too() -> None:
    net = Net("nats://a:1")
    net.up("a:1", "b:2", users={"x": "y"})
    net.up("b:2", "a:1")
    net.open()
    assert net.tried == ["a:1", "b:2"]
    assert net.client.is_connected


def test_connecting_again_begins_with_what_the_user_named() -> None:
    net = Net("nats://a:1")
    net.up("a:1", "b:2")
    net.open()
    net.client.close()
    net.link.pump()
    assert net.pool == ["a:1", "b:2"]
    net.tried.clear()
    net.brokers.clear()
    net.up("a:1")
    net.open()
    assert net.tried == ["a:1"]
    assert net.pool == ["a:1"]


def test_who_was_given_up_is_not_brought_back_by_an_announcement() -> None:
    net = Net("nats://a:1", user="u", password="old", reconnect=ReconnectPolicy(delay=0.01))
    for address in ("a:1", "b:2", "c:3"):
        net.up(address, "a:1", "b:2", "c:3", users={"u": "old"})
    net.open()
    net.link.advance(5.0)
    for broker in net.brokers.values():
        broker.users = {"u": "new"}
    net.tried.clear()
    net.link.cut()
    net.settle(60.0)
    assert net.client.state is ClientState.CLOSED
    assert sorted(net.tried) == sorted(2 * ["a:1", "b:2", "c:3"])
    assert "Authorization Violation" in str(net.client.last_error)
    assert isinstance(net.client._reasons["b:2"], AuthorizationError)
    # Asked for anew, all are tried anew.
    net.brokers["a:1"].users = {"u": "old"}
    net.open()
    assert net.client.is_connected
    assert net.pool == ["a:1", "b:2", "c:3"]


def test_an_endless_list_of_new_servers_does_not_grow_the_pool() -> None:
    net = Net("nats://a:1")
    net.up("a:1")
    net.open()
    for n in range(1000):
        net.say(*(f"s{n}x{i}:1" for i in range(10)))
    assert len(net.pool) == 11


def test_shuffled_servers_are_tried_in_an_order_that_the_seed_decides() -> None:
    urls = [f"nats://s{n}:1" for n in range(5)]

    def order(seed: int, *, shuffle: bool) -> tuple[str, ...]:
        net = Net(*urls, seed=seed, shuffle=shuffle)
        net.open()
        return tuple(net.tried)

    named = tuple(url.removeprefix("nats://") for url in urls)
    assert {order(seed, shuffle=False) for seed in range(10)} == {named}
    orders = {order(seed, shuffle=True) for seed in range(10)}
    assert len(orders) > 5
    assert all(sorted(one) == sorted(named) for one in orders)


# ---------------------------------------------------------------------- lame duck


def test_a_lame_duck_is_left_and_nothing_is_lost_on_the_way() -> None:
    net = Net("nats://a:1")
    first = net.up("a:1", "a:1", "b:2")
    second = net.up("b:2", "a:1", "b:2")
    net.open()
    inbox = Inbox()
    net.client.subscribe("s", None, inbox.deliver)
    net.link.advance(5.0)
    session = net.link.session
    assert session is not None
    net.client.publish("s", b"1")
    session.say(Info({"headers": True, "max_payload": 1000, "connect_urls": ["b:2"], "ldm": True}))
    # Carried by hand: what is said after the client has heard of it waits for the next server.
    net.client.receive_data(1, session.data_to_send(), net.link.now)
    net.client.publish("s", b"2")
    last_words = net.client.data_to_send()
    assert last_words.startswith(b"PUB s 1\r\n1\r\n")
    assert last_words.endswith(b"PING\r\n")
    net.client.publish("s", b"3")
    assert net.client.data_to_send() == b""
    session.receive_data(last_words)
    notices = net.settle()
    assert [body for _, body, _ in inbox.items] == [b"1", b"2", b"3"]
    assert not first.sessions
    (moved,) = second.sessions
    assert [e.payload for e in moved.received if isinstance(e, Pub)] == [b"2", b"3"]
    (gone,) = [n for n in notices if isinstance(n, Disconnected)]
    assert isinstance(gone.error, LameDuckError)
    assert [n.server for n in notices if isinstance(n, Reconnected)] == ["b:2"]


def test_a_connection_that_breaks_before_the_lame_duck_is_left_loses_nothing_either() -> None:
    net = Net("nats://a:1")
    net.up("a:1", "a:1", "b:2")
    second = net.up("b:2", "a:1", "b:2")
    net.open()
    net.link.advance(5.0)
    session = net.link.session
    assert session is not None
    net.client.publish("s", b"1")
    session.say(Info({"headers": True, "max_payload": 1000, "connect_urls": ["b:2"], "ldm": True}))
    net.client.receive_data(1, session.data_to_send(), net.link.now)
    net.client.publish("s", b"2")
    net.link.cut()
    net.settle()
    (moved,) = second.sessions
    assert [e.payload for e in moved.received if isinstance(e, Pub)] == [b"1", b"2"]


@pytest.mark.parametrize("alias", [False, True])
def test_a_lame_duck_that_is_alone_is_stayed_with(alias: bool) -> None:
    net = Net("nats://localhost:1")
    net.up("localhost:1", *(["10.0.0.1:1"] if alias else []))
    net.open()
    net.link.advance(5.0)
    inbox = Inbox()
    net.client.subscribe("s", None, inbox.deliver)
    # It leaves itself out of the list, under whatever name.
    net.say(ldm=True)
    net.client.publish("s", b"x")
    notices = net.settle(5.0)
    assert [type(n) for n in notices] == [Connected, LameDuck]
    assert net.client.is_connected
    assert len(inbox.items) == 1
    # Another server turns up while there is time.
    net.up("b:2")
    net.say("b:2", ldm=True)
    assert [n.server for n in net.settle() if isinstance(n, Reconnected)] == ["b:2"]


def test_a_lame_duck_comes_last_for_a_while() -> None:
    net = Net("nats://a:1", "nats://b:2")
    net.up("a:1")
    net.open()
    net.link.advance(5.0)
    net.tried.clear()
    net.say(ldm=True)
    net.link.advance(5.0)
    assert "a:1" not in net.tried
    assert net.tried
    net.settle(20.0)
    assert net.client.is_connected
    assert net.client.server is not None
    assert net.client.server.address == "a:1", "it is back, and no other one is there"
    assert isinstance(net.brokers["a:1"].sessions[0].received[0], Connect)
