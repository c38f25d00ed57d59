"""Servers that announce each other, on a virtual clock."""

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
    """Brokers by address, and a client that knows some of the addresses."""

    def __init__(self, *urls: str, seed: int = 1, **options: Any) -> None:
        self.brokers: dict[str, Broker] = {}
        # Addresses that accept connections and never send anything.
        self.silent: set[str] = set()
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
        if server.address in self.silent:
            broker = Broker()
            broker.script = lambda session: True
            return broker
        if server.address not in self.brokers:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        return self.brokers[server.address]

    def up(self, address: str, *announced: str, **options: Any) -> Broker:
        """Start a broker at `address` that announces `announced`."""
        broker = Broker(info={"connect_urls": list(announced)}, **options)
        self.brokers[address] = broker
        return broker

    def open(self) -> None:
        self.client.open(self.link.now)
        self.link.advance(0.0)

    def say(self, *announced: str, **fields: Any) -> None:
        """Let the current server send another INFO."""
        assert self.link.session is not None
        self.link.session.say(
            Info({"headers": True, "max_payload": 1000, "connect_urls": list(announced), **fields})
        )
        self.link.pump()

    def settle(self, seconds: float = 30.0) -> list[Notice]:
        """Let time pass; return the notices of that time."""
        self.link.advance(seconds)
        return self.client.take_notices()

    @property
    def pool(self) -> list[str]:
        return [server.address for server in self.client._connector.pool.servers]


def test_announced_servers_are_added_once_and_removed_when_no_longer_announced() -> None:
    net = Net("nats://a:1", "nats://b:2")
    net.up("a:1", "a:1", "c:3", "b:2", "c:3", "[::1]:4")
    net.open()
    assert net.pool == ["a:1", "b:2", "c:3", "[::1]:4"]
    net.say("c:3")
    assert net.pool == ["a:1", "b:2", "c:3"], "the user's own servers stay"
    net.say("d:5")
    assert net.pool == ["a:1", "b:2", "d:5"]
    net.say()
    assert net.pool == ["a:1", "b:2", "d:5"], "an empty list changes nothing"


@pytest.mark.parametrize(
    "bad",
    ["", ":", "no port:x", "a:99999", "[::1:4", "a b:1", "\x00", "u:p@evil:1/x", "http://x:1"],
)
def test_an_invalid_address_is_ignored(bad: str) -> None:
    net = Net("nats://a:1")
    net.up("a:1", bad, "b:2")
    net.open()
    assert net.client.is_connected
    assert net.pool == ["a:1", "b:2"]


def test_the_connected_server_stays_in_the_pool_if_it_does_not_announce_itself() -> None:
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


def test_a_discovered_server_inherits_tls_and_credentials() -> None:
    net = Net("tls://u:p@name.example:1")
    net.up("name.example:1", users={"u": "p"})
    net.brokers["name.example:1"].info["tls_required"] = True
    net.open()
    assert net.client.is_connected
    net.say("10.0.0.2:2", "other.example:3")
    by_ip, by_name = net.client._connector.pool.servers[1:]
    assert [s.scheme for s in (by_ip, by_name)] == ["tls", "tls"]
    assert (by_ip.user, by_ip.password) == ("u", "p")
    assert by_ip.tls_name == "name.example", "the certificate is checked against the user's name"
    assert by_name.tls_name == "other.example"


@pytest.mark.parametrize("url", ["tls://a:1", "nats://a:1"])
def test_plaintext_announcements_are_ignored_when_tls_follows(url: str) -> None:
    """A third party can forge plaintext; an INFO under TLS is the server's own."""
    net = Net(url)
    net.up("a:1", "evil:1").info["tls_required"] = True
    net.open()
    assert net.client.is_connected
    assert net.pool == ["a:1"]
    net.say("b:2")
    assert net.pool == ["a:1", "b:2"]


def test_a_failed_tls_handshake_leads_to_no_announced_server() -> None:
    net = Net("nats://a:1")
    net.up("a:1", "evil:1").info["tls_required"] = True
    net.up("evil:1")
    net.link.tls_error = ConnectionResetError("no trust")
    net.open()
    assert net.client.state is ClientState.CLOSED
    assert net.tried == ["a:1"]


@pytest.mark.parametrize("options", [{"tls_first": True}, {"tls": True, "tls_first": True}])
def test_with_tls_first_the_first_info_is_used(options: dict[str, Any]) -> None:
    net = Net("nats://a:1", **options)
    net.up("a:1", "b:2")
    net.open()
    assert net.pool == ["a:1", "b:2"]


def test_over_websocket_the_websocket_addresses_are_used() -> None:
    net = Net("ws://a:1")
    broker = net.up("a:1", "raw:2")
    broker.info["ws_connect_urls"] = ["b:8080"]
    net.open()
    assert net.pool == ["a:1", "b:8080"]
    assert net.client._connector.pool.servers[1].scheme == "ws"


def test_discovered_servers_are_tried_in_the_first_round() -> None:
    net = Net("nats://a:1")
    net.up("a:1", "b:2", users={"x": "y"})
    net.up("b:2", "a:1")
    net.open()
    assert net.tried == ["a:1", "b:2"]
    assert net.client.is_connected


def test_discovered_servers_share_one_timeout_in_the_first_round() -> None:
    net = Net("nats://a:1", "nats://b:1", connect_timeout=5.0)
    net.up("a:1", *(f"s{n}:1" for n in range(1000)), users={"x": "y"})
    net.silent.update(f"s{n}:1" for n in range(1000))
    opened = net.client.open(net.link.now)
    net.link.pump()
    # Servers a and b fail at once; the first discovered one accepts the connection and is silent.
    net.link.advance(4.9)
    assert not opened.done
    net.link.advance(0.2)
    assert opened.done
    assert net.client.state is ClientState.CLOSED
    assert net.tried == ["a:1", "b:1", "s0:1"]


# ---------------------------------------------------------------------- unreachable servers


def connected_net(*announced: str, **options: Any) -> Net:
    """Connect to a:1 for a while; it announces servers that accept connections and stay silent."""
    net = Net("nats://a:1", **options)
    net.up("a:1", "a:1", *announced)
    net.silent.update(announced)
    net.open()
    assert net.client.is_connected
    net.link.advance(5.0)
    net.client.take_notices()
    net.tried.clear()
    return net


def test_two_unreachable_servers_do_not_delay_reconnecting() -> None:
    net = connected_net("10.0.0.2:1", "10.0.0.3:1")
    for _ in range(5):
        net.link.cut()
        net.link.advance(0.0)
        assert net.client.is_connected, "the client did not reconnect at once"
        net.link.advance(5.0)
    assert set(net.tried) == {"a:1"}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("down", [0.1, 0.5, 0.9, 2.0, 60.0])
def test_unreachable_servers_delay_reconnecting_by_a_limited_time(seed: int, down: float) -> None:
    """The only good server takes a while to restart, and all the others drop packets."""
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
        # The client tries unreachable servers one at a time, and long only in a long outage.
        assert net.link.now - start <= min(max(1.0, down), 5.0) + 0.75
        net.link.advance(5.0)


def test_an_announced_server_is_used_when_the_first_one_is_down() -> None:
    net = connected_net()
    net.up("b:1", "a:1", "b:1")
    net.say("a:1", "b:1")
    del net.brokers["a:1"]
    net.link.cut()
    net.link.advance(0.0)
    assert net.tried == ["a:1", "b:1"]
    assert net.client.is_connected


def test_a_distant_server_is_reached_at_the_second_attempt() -> None:
    net = connected_net("b:1")
    net.silent.clear()
    net.up("b:1", "a:1", "b:1")
    del net.brokers["a:1"]
    net.link.cut()
    net.link.delay = 0.7
    net.link.advance(30.0)
    assert net.client.is_connected


def test_attempts_at_thousands_of_servers_are_paced() -> None:
    net = connected_net()
    net.say(*(f"s{n}:1" for n in range(10_000)))
    broker = net.brokers.pop("a:1")
    net.link.cut()
    net.link.advance(60.0)
    # One round over the kept servers without a pause, then one attempt every 25 to 50 ms.
    assert MOST_ANNOUNCED < len(net.tried) <= 1 + MOST_ANNOUNCED + 60.0 / 0.025
    net.brokers["a:1"] = broker
    start = net.link.now
    while not net.client.is_connected:
        net.link.advance(0.01)
    assert net.link.now - start <= 0.85


def test_the_number_of_failure_reasons_that_are_kept_is_limited() -> None:
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
def test_an_invalid_result_of_an_authenticator_fails_the_attempt(fields: Any) -> None:
    net = Net("nats://a:1", authenticator=lambda info: fields)
    net.up("a:1")
    net.open()
    assert net.client.state is ClientState.CLOSED
    assert isinstance(net.client.last_error, InvalidOptionError)
    assert str(net.client.last_error).startswith("can't get the credentials for a:1: TypeError: ")


def test_discovered_servers_can_be_ignored() -> None:
    net = connected_net("b:1", ignore_discovered_servers=True)
    assert net.pool == ["a:1"]
    net.say("c:1", ldm=True)
    net.link.advance(1.0)
    assert net.pool == ["a:1"]
    assert net.client.is_connected, "there is no other server"
    broker = net.brokers.pop("a:1")
    net.link.cut()
    net.link.advance(30.0)
    net.brokers["a:1"] = broker
    net.link.advance(1.0)
    assert net.client.is_connected
    assert set(net.tried) == {"a:1"}


def test_an_upper_case_name_without_a_port_stays_in_the_pool() -> None:
    net = Net("nats://a:1")
    net.up("a:1", "Nats-B.example.com:4222", "NATS-C")
    net.open()
    for _ in range(5):
        assert net.pool == ["a:1", "nats-b.example.com:4222", "nats-c:4222"]
        net.say("Nats-B.example.com:4222", "NATS-C")


def test_clients_that_share_options_do_not_influence_each_other() -> None:
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
    assert first.is_connected, "failures of the other client must not count"
    assert first.server is options.servers[0]
    third, _ = client(good, bad)
    assert third.server is options.servers[0]
    assert [server.tls_name for server in options.servers] == ["a", "b"]


# ---------------------------------------------------------------------- refusals


class Vault:
    """Returns a password, and counts its calls."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
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


def test_refusals_of_different_passwords_do_not_close_the_client() -> None:
    vault = Vault("old")
    net = signed_in_net(vault)
    net.brokers["a:1"].users = {"u": "new"}
    net.link.cut()
    net.link.advance(0.0)
    assert isinstance(net.client.last_error, AuthorizationError)
    vault.password = "in between"
    net.link.advance(0.05)
    assert net.client.state is ClientState.RECONNECTING, "the two refusals had different passwords"
    vault.password = "new"
    net.link.advance(1.0)
    assert net.client.is_connected


def test_two_refusals_of_the_same_password_close_the_client() -> None:
    vault = Vault("old")
    net = signed_in_net(vault)
    net.brokers["a:1"].users = {"u": "new"}
    net.link.cut()
    net.link.advance(10.0)
    assert net.client.state is ClientState.CLOSED
    assert vault.calls == 3
    error = net.client.last_error
    assert isinstance(error, AuthorizationError)
    assert (error.text, error.address) == ("Authorization Violation", "a:1")
    assert str(error).startswith("the server a:1 said: Authorization Violation (check the user")


def test_another_failure_between_two_refusals_resets_the_count() -> None:
    vault = Vault("old")
    net = signed_in_net(vault)
    broker = net.brokers["a:1"]
    for _ in range(10):
        # One refusal, then no server, then one refusal, …
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


def test_an_authentication_timeout_is_not_a_refusal() -> None:
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
    assert str(error).startswith(
        "the server a:1 said: Authentication Timeout (the server is overloaded"
    )
    net.brokers["a:1"].script = None
    net.link.advance(1.0)
    assert net.client.is_connected


def test_a_policy_can_retry_refusals_forever() -> None:
    vault = Vault("old")
    net = signed_in_net(vault, reconnect=ReconnectPolicy(give_up_on_auth=False))
    net.brokers["a:1"].users = {"u": "new"}
    net.link.cut()
    net.link.advance(60.0)
    assert net.client.state is ClientState.RECONNECTING
    assert 60.0 / 0.75 < vault.calls < 400, "refusals are not paced like other failures"
    vault.password = "new"
    net.link.advance(1.0)
    assert net.client.is_connected


def test_a_new_signature_by_the_same_key_counts_as_the_same_credentials() -> None:
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


def test_open_starts_again_with_the_given_servers() -> None:
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


def test_an_announcement_does_not_bring_back_a_server_that_was_given_up() -> None:
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
    # `open` tries all of them again, including those that were given up.
    net.brokers["a:1"].users = {"u": "old"}
    net.open()
    assert net.client.is_connected
    assert net.pool == ["a:1", "b:2", "c:3"]


def test_the_number_of_announced_servers_in_the_pool_is_limited() -> None:
    net = Net("nats://a:1")
    net.up("a:1")
    net.open()
    for n in range(1000):
        net.say(*(f"s{n}x{i}:1" for i in range(10)))
    assert len(net.pool) == 11
    net.say(*(f"s{n}:1" for n in range(40 * MOST_ANNOUNCED)))
    assert len(net.pool) == 1 + MOST_ANNOUNCED


def test_the_seed_decides_the_order_of_shuffled_servers() -> None:
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


def test_moving_from_a_lame_duck_server_loses_nothing() -> None:
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
    # Move the bytes by hand: output after the client has read "ldm" waits for the next server.
    net.client.receive_data(1, session.data_to_send(), net.link.now)
    net.client.publish("s", b"2")
    last_output = net.client.data_to_send()
    assert last_output.startswith(b"PUB s 1\r\n1\r\n")
    assert last_output.endswith(b"PING\r\n")
    net.client.publish("s", b"3")
    assert net.client.data_to_send() == b""
    session.receive_data(last_output)
    notices = net.settle()
    assert [body for _, body, _ in inbox.items] == [b"1", b"2", b"3"]
    assert not first.sessions
    (moved,) = second.sessions
    assert [e.payload for e in moved.received if isinstance(e, Pub)] == [b"2", b"3"]
    (gone,) = [n for n in notices if isinstance(n, Disconnected)]
    assert isinstance(gone.error, LameDuckError)
    assert [n.server for n in notices if isinstance(n, Reconnected)] == ["b:2"]


@pytest.mark.parametrize("taken", [False, True])
def test_drain_on_a_lame_duck_server_finishes_there(taken: bool) -> None:
    """Output that should wait for the next server was once lost, and drain failed."""
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


def test_a_lame_duck_connection_that_breaks_loses_nothing() -> None:
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
def test_the_client_stays_on_a_lame_duck_server_until_another_one_is_known(alias: bool) -> None:
    net = Net("nats://localhost:1")
    net.up("localhost:1", *(["10.0.0.1:1"] if alias else []))
    net.open()
    net.link.advance(5.0)
    inbox = Inbox()
    net.client.subscribe("s", None, inbox.deliver)
    # A lame duck server leaves its own address out of the list.
    net.say(ldm=True)
    net.client.publish("s", b"x")
    notices = net.settle(5.0)
    assert [type(n) for n in notices] == [Connected, LameDuck]
    assert net.client.is_connected
    assert len(inbox.items) == 1
    # Another server is announced in time.
    net.up("b:2")
    net.say("b:2", ldm=True)
    assert [n.server for n in net.settle() if isinstance(n, Reconnected)] == ["b:2"]


def test_a_lame_duck_server_is_tried_last_for_a_while() -> None:
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
    assert net.client.server.address == "a:1", "it is back, and there is no other server"
    assert isinstance(net.brokers["a:1"].sessions[0].received[0], Connect)
