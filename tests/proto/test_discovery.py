"""Servers that announce one another, on a virtual clock."""

from __future__ import annotations

import errno
import random
from typing import Any

import pytest

from nasq_proto import (
    AuthenticationTimeoutError,
    AuthorizationError,
    Client,
    ClientOptions,
    ClientState,
    ConnectFailedError,
    Inbox,
    InvalidOptionError,
    LameDuckError,
    Notice,
    ReconnectPolicy,
    Server,
    parse_server,
)
from nasq_proto.events import Connect, Info, Pub
from nasq_proto.notices import Connected, Disconnected, LameDuck, Reconnected
from nasq_proto.pool import MOST_ANNOUNCED
from nasq_proto.testing import Broker, Link, ServerSession


class Net:
    """Brokers by address, and one client that was told of some of them."""

    def __init__(self, *urls: str, seed: int = 1, **options: Any) -> None:
        self.brokers: dict[str, Broker] = {}
        # Addresses where connections are taken and nothing is ever said.
        self.deaf: set[str] = set()
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
        if server.address in self.deaf:
            broker = Broker()
            broker.script = lambda session: True
            return broker
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
        return [server.address for server in self.client._connector.pool.servers]


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
    net.up("name.example:1", users={"u": "p"})
    net.brokers["name.example:1"].info["tls_required"] = True
    net.open()
    assert net.client.is_connected
    net.say("10.0.0.2:2", "other.example:3")
    by_ip, by_name = net.client._connector.pool.servers[1:]
    assert [s.scheme for s in (by_ip, by_name)] == ["tls", "tls"]
    assert (by_ip.user, by_ip.password) == ("u", "p")
    assert by_ip.tls_name == "name.example", "what the user asked for is what is verified"
    assert by_name.tls_name == "other.example"


@pytest.mark.parametrize("url", ["tls://a:1", "nats://a:1"])
def test_what_is_announced_in_the_clear_counts_only_where_there_is_no_tls(url: str) -> None:
    """Somebody in between can say it; what comes under TLS is the server's own."""
    net = Net(url)
    net.up("a:1", "evil:1").info["tls_required"] = True
    net.open()
    assert net.client.is_connected
    assert net.pool == ["a:1"]
    net.say("b:2")
    assert net.pool == ["a:1", "b:2"]


def test_a_handshake_that_fails_leads_nowhere_else() -> None:
    net = Net("nats://a:1")
    net.up("a:1", "evil:1").info["tls_required"] = True
    net.up("evil:1")
    net.link.tls_error = ConnectionResetError("no trust")
    net.open()
    assert net.client.state is ClientState.CLOSED
    assert net.tried == ["a:1"]


@pytest.mark.parametrize("options", [{"tls_first": True}, {"tls": True, "tls_first": True}])
def test_with_tls_first_the_first_info_counts(options: dict[str, Any]) -> None:
    net = Net("nats://a:1", **options)
    net.up("a:1", "b:2")
    net.open()
    assert net.pool == ["a:1", "b:2"]


def test_over_websocket_the_websocket_addresses_count() -> None:
    net = Net("ws://a:1")
    broker = net.up("a:1", "raw:2")
    broker.info["ws_connect_urls"] = ["b:8080"]
    net.open()
    assert net.pool == ["a:1", "b:8080"]
    assert net.client._connector.pool.servers[1].scheme == "ws"


def test_those_found_are_tried_in_the_first_round_too() -> None:
    net = Net("nats://a:1")
    net.up("a:1", "b:2", users={"x": "y"})
    net.up("b:2", "a:1")
    net.open()
    assert net.tried == ["a:1", "b:2"]
    assert net.client.is_connected


def test_those_found_have_one_timeout_in_all_in_the_first_round() -> None:
    net = Net("nats://a:1", "nats://b:1", connect_timeout=5.0)
    net.up("a:1", *(f"s{n}:1" for n in range(1000)), users={"x": "y"})
    net.deaf.update(f"s{n}:1" for n in range(1000))
    opened = net.client.open(net.link.now)
    net.link.pump()
    # Refused by a, refused by b; then the first of those found swallows everything.
    net.link.advance(4.9)
    assert not opened.done
    net.link.advance(0.2)
    assert opened.done
    assert net.client.state is ClientState.CLOSED
    assert net.tried == ["a:1", "b:1", "s0:1"]


# ---------------------------------------------------------------------- unreachable ones


def connected_net(*announced: str, **options: Any) -> Net:
    """Connected to a:1 for a while, which announces some that nothing answers for."""
    net = Net("nats://a:1", **options)
    net.up("a:1", "a:1", *announced)
    net.deaf.update(announced)
    net.open()
    assert net.client.is_connected
    net.link.advance(5.0)
    net.client.take_notices()
    net.tried.clear()
    return net


def test_two_unreachable_peers_do_not_keep_a_client_from_its_one_good_server() -> None:
    net = connected_net("10.0.0.2:1", "10.0.0.3:1")
    for _ in range(5):
        net.link.cut()
        net.link.advance(0.0)
        assert net.client.is_connected, "at once"
        net.link.advance(5.0)
    assert set(net.tried) == {"a:1"}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("down", [0.1, 0.5, 0.9, 2.0, 60.0])
def test_a_client_is_back_soon_whatever_else_was_announced(seed: int, down: float) -> None:
    """The restart of its one good server takes a while, and every other one swallows packets."""
    net = connected_net(*(f"10.0.0.{n}:1" for n in range(2, 12)), seed=seed)
    for _ in range(3):
        broker = net.brokers.pop("a:1")
        net.link.cut()
        net.link.advance(down)
        net.brokers["a:1"] = broker
        start = net.link.now
        while not net.client.is_connected:
            due = net.link.next_event()
            assert due is not None
            net.link.advance(due - net.link.now)
        # Unreachable ones are tried, one after another, and for long only in a long outage.
        assert net.link.now - start <= min(max(1.0, down), 5.0) + 0.75
        net.link.advance(5.0)


def test_a_peer_that_answers_is_gone_to_when_the_good_server_is_gone() -> None:
    net = connected_net()
    net.up("b:1", "a:1", "b:1")
    net.say("a:1", "b:1")
    del net.brokers["a:1"]
    net.link.cut()
    net.link.advance(0.0)
    assert net.tried == ["a:1", "b:1"]
    assert net.client.is_connected


def test_a_peer_that_is_far_away_is_reached_at_its_second_attempt() -> None:
    net = connected_net("b:1")
    net.deaf.clear()
    net.up("b:1", "a:1", "b:1")
    del net.brokers["a:1"]
    net.link.cut()
    net.link.delay = 0.7
    net.link.advance(30.0)
    assert net.client.is_connected


def test_thousands_of_names_are_dialled_with_pauses() -> None:
    net = connected_net()
    net.say(*(f"s{n}:1" for n in range(10_000)))
    broker = net.brokers.pop("a:1")
    net.link.cut()
    net.link.advance(60.0)
    # One round without a pause over those that were kept, then one in 25 to 50 milliseconds.
    assert MOST_ANNOUNCED < len(net.tried) <= 1 + MOST_ANNOUNCED + 60.0 / 0.025
    net.brokers["a:1"] = broker
    start = net.link.now
    while not net.client.is_connected:
        net.link.advance(0.01)
    assert net.link.now - start <= 0.85


def test_the_reasons_of_names_without_end_are_not_kept_without_end() -> None:
    net = connected_net()
    turn = 0

    def others(session: ServerSession) -> bool:
        nonlocal turn
        turn += 1
        names = [f"s{turn}-{n}:1" for n in range(100)]
        session.say(Info({"headers": True, "max_payload": 1000, "connect_urls": names}))
        session.close()
        return True

    net.brokers["a:1"].script = others
    net.link.cut()
    net.link.advance(120.0)
    assert turn > 10
    assert len(set(net.tried)) > 3 * MOST_ANNOUNCED
    assert len(net.client._connector.reasons) <= 2 * MOST_ANNOUNCED


@pytest.mark.parametrize("fields", [{"jwt": b"bytes"}, {"sig": object()}, {"nkey": ["x"]}, None])
def test_an_authenticator_that_gives_nonsense_is_an_attempt_that_failed(fields: Any) -> None:
    net = Net("nats://a:1", authenticator=lambda info: fields)
    net.up("a:1")
    net.open()
    assert net.client.state is ClientState.CLOSED
    assert isinstance(net.client.last_error, InvalidOptionError)
    assert str(net.client.last_error).startswith("no credentials for a:1: TypeError: ")


def test_discovered_servers_can_be_ignored() -> None:
    net = connected_net("b:1", ignore_discovered_servers=True)
    assert net.pool == ["a:1"]
    net.say("c:1", ldm=True)
    net.link.advance(1.0)
    assert net.pool == ["a:1"]
    assert net.client.is_connected, "there is nowhere else to go"
    broker = net.brokers.pop("a:1")
    net.link.cut()
    net.link.advance(30.0)
    net.brokers["a:1"] = broker
    net.link.advance(1.0)
    assert net.client.is_connected
    assert set(net.tried) == {"a:1"}


def test_a_name_in_capitals_and_without_a_port_stays_in_the_pool() -> None:
    net = Net("nats://a:1")
    net.up("a:1", "Nats-B.example.com:4222", "NATS-C")
    net.open()
    for _ in range(5):
        assert net.pool == ["a:1", "nats-b.example.com:4222", "nats-c:4222"]
        net.say("Nats-B.example.com:4222", "NATS-C")


def test_two_clients_that_share_their_options_do_not_influence_each_other() -> None:
    options = ClientOptions([Server("a", 1), Server("b", 1)], user="u", password="wrong")
    good, bad = Broker(), Broker(users={"u": "right"})

    def client(a: Broker, b: Broker) -> tuple[Client, Link]:
        client = Client(options, rng=random.Random(1))
        link = Link(client, lambda server: {"a:1": a, "b:1": b}[server.address])
        client.open(link.now)
        link.pump()
        return client, link

    first, link = client(good, good)
    assert first.is_connected
    second, other_link = client(bad, good)
    assert second.is_connected
    assert second.server is options.servers[1]
    for _ in range(3):
        other_link.cut(ConnectionResetError("again"))
        other_link.advance(0.5)
    link.advance(5.0)
    link.cut()
    link.advance(0.0)
    assert first.is_connected, "no failure of the other client's counts here"
    assert first.server is options.servers[0]
    third, _ = client(good, bad)
    assert third.server is options.servers[0]
    assert [server.tls_name for server in options.servers] == ["a", "b"]


# ---------------------------------------------------------------------- refusals


class Vault:
    """Gives a password, and counts how often it is asked."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        return self.password


def signed_in_net(vault: Vault, *addresses: str, **options: Any) -> Net:
    net = Net(
        *(f"nats://{address}" for address in addresses or ("a:1",)),
        user="u",
        password=vault,
        **options,
    )
    for address in addresses or ("a:1",):
        net.up(address, users={"u": "old"})
    net.open()
    assert net.client.is_connected
    net.link.advance(5.0)
    return net


def test_a_password_that_is_refreshed_late_does_not_end_the_client() -> None:
    vault = Vault("old")
    net = signed_in_net(vault)
    net.brokers["a:1"].users = {"u": "new"}
    net.link.cut()
    net.link.advance(0.0)
    assert isinstance(net.client.last_error, AuthorizationError)
    vault.password = "in between"
    net.link.advance(0.05)
    assert net.client.state is ClientState.RECONNECTING, "refused twice, with other credentials"
    vault.password = "new"
    net.link.advance(1.0)
    assert net.client.is_connected


def test_the_same_password_refused_twice_in_a_row_ends_the_client() -> None:
    vault = Vault("old")
    net = signed_in_net(vault)
    net.brokers["a:1"].users = {"u": "new"}
    net.link.cut()
    net.link.advance(10.0)
    assert net.client.state is ClientState.CLOSED
    assert vault.asked == 3
    error = net.client.last_error
    assert isinstance(error, AuthorizationError)
    assert (error.text, error.address) == ("Authorization Violation", "a:1")
    assert str(error).startswith("the server a:1 said: Authorization Violation (check the user")


def test_another_failure_between_two_refusals_starts_the_count_anew() -> None:
    vault = Vault("old")
    net = signed_in_net(vault)
    broker = net.brokers["a:1"]
    for _ in range(10):
        # Refused once, then nobody there, then refused once, …
        broker.users = {"u": "new"}
        net.link.cut()
        tried = len(net.tried)
        while len(net.tried) == tried:
            net.link.advance(0.001)
        assert isinstance(net.client.last_error, AuthorizationError)
        del net.brokers["a:1"]
        while not isinstance(net.client.last_error, ConnectFailedError):
            net.link.advance(0.001)
        net.brokers["a:1"] = broker
    assert net.client.state is ClientState.RECONNECTING
    broker.users = {"u": "old"}
    net.link.advance(5.0)
    assert net.client.is_connected


def test_a_timeout_of_the_servers_is_not_a_refusal() -> None:
    vault = Vault("old")
    net = signed_in_net(vault)

    def slow(session: ServerSession) -> bool:
        session.say(Info({"headers": True, "max_payload": 1000, "auth_required": True}))
        session.refuse("Authentication Timeout")
        return True

    net.brokers["a:1"].script = slow
    net.link.cut()
    net.link.advance(60.0)
    assert net.client.state is ClientState.RECONNECTING
    error = net.client.last_error
    assert isinstance(error, AuthenticationTimeoutError)
    assert str(error).startswith("the server a:1 said: Authentication Timeout (it is overloaded")
    net.brokers["a:1"].script = None
    net.link.advance(1.0)
    assert net.client.is_connected


def test_a_policy_can_have_refusals_retried_for_ever() -> None:
    vault = Vault("old")
    net = signed_in_net(vault, reconnect=ReconnectPolicy(give_up_on_auth=False))
    net.brokers["a:1"].users = {"u": "new"}
    net.link.cut()
    net.link.advance(60.0)
    assert net.client.state is ClientState.RECONNECTING
    assert 60.0 / 0.75 < vault.asked < 400, "at the pace of any other failure"
    vault.password = "new"
    net.link.advance(1.0)
    assert net.client.is_connected


def test_a_new_signature_of_the_same_key_is_no_new_credential() -> None:
    signed: list[str] = []

    def sign(info: Info) -> dict[str, str]:
        signed.append(f"signature {len(signed)}")
        return {"nkey": "U", "sig": signed[-1]}

    net = Net("nats://a:1", authenticator=sign)
    net.up("a:1")
    net.open()
    net.link.advance(5.0)
    net.brokers["a:1"].users = {"u": "p"}
    net.link.cut()
    net.link.advance(10.0)
    assert net.client.state is ClientState.CLOSED
    assert len(signed) == 3


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
    assert isinstance(net.client._connector.reasons["b:2"], AuthorizationError)
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
    net.say(*(f"s{n}:1" for n in range(40 * MOST_ANNOUNCED)))
    assert len(net.pool) == 1 + MOST_ANNOUNCED


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


@pytest.mark.parametrize("taken", [False, True])
def test_a_client_that_drains_while_it_leaves_a_lame_duck_stays_to_the_end(taken: bool) -> None:
    """What was to wait for the next server was lost, and drain failed."""
    net = Net("nats://a:1")
    first = net.up("a:1", "a:1", "b:2")
    net.up("b:2", "a:1", "b:2")
    net.open()
    inbox = Inbox()
    net.client.subscribe("s", None, inbox.deliver)
    net.link.advance(5.0)
    session = net.link.session
    assert session is not None
    net.client.publish("s", b"1")
    session.say(Info({"headers": True, "max_payload": 1000, "connect_urls": ["b:2"], "ldm": True}))
    net.client.receive_data(1, session.data_to_send(), net.link.now)
    if taken:
        session.receive_data(net.client.data_to_send())
    net.client.publish("s", b"2")
    flushed = net.client.flush()
    sub = net.client.subscribe("t", None, inbox.deliver)
    asked = net.client.request("s", b"3")
    drained = net.client.drain()
    net.link.advance(1.0)
    drained.result()
    flushed.result()
    sub.confirmed.result()
    assert [body for _, body, _ in inbox.items] == [b"1", b"2", b"3"]
    assert [e.payload for e in session.received if isinstance(e, Pub)] == [b"1", b"2", b"3"]
    assert first.sessions == [session]
    assert not asked.done
    net.client.close()
    assert net.client.dropped_unsent == 0


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
