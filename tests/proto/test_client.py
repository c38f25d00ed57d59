"""The reconnecting client on a virtual clock, with the server role as its peer and no sockets."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from nasq_proto import (
    AuthorizationError,
    BufferFullError,
    Client,
    ClientOptions,
    ClientState,
    Closed,
    Connected,
    ConnectFailedError,
    ConnectionClosedError,
    ConnectionLostError,
    Disconnected,
    Err,
    Inbox,
    Info,
    InvalidHeaderError,
    InvalidOptionError,
    InvalidSubjectError,
    LameDuck,
    Msg,
    NoRespondersError,
    NotConnectedError,
    Op,
    OperationTimeoutError,
    PayloadTooLargeError,
    PermissionsViolationError,
    Ping,
    Pub,
    Reconnected,
    ReconnectPolicy,
    RemoteProtocolError,
    Server,
    ServerError,
    ServerErrorReceived,
    StaleConnectionError,
    Sub,
    Unsub,
)
from nasq_proto.testing import Broker, Link, ServerSession


class Rig:
    """A client with its network and its broker."""

    def __init__(
        self,
        broker: Broker | Callable[[Server], Broker] | None = None,
        *,
        servers: int = 1,
        chop: int | None = None,
        **options: Any,
    ) -> None:
        self.broker = broker or Broker()
        addresses = [Server(f"s{n}", 4222) for n in range(1, servers + 1)]
        self.client = Client(ClientOptions(addresses, **options), rng=random.Random(1))
        self.link = Link(self.client, self.broker, chop=chop)
        self.inbox = Inbox()

    def connect(self) -> Rig:
        opened = self.client.open(self.link.now)
        self.link.pump()
        assert opened.done
        opened.result()
        return self

    def subscribe(self, subject: str, group: str | None = None) -> Any:
        sub = self.client.subscribe(subject, group, self.inbox.deliver)
        self.link.pump()
        return sub

    @property
    def session(self) -> ServerSession:
        assert self.link.session is not None, "the stream is not open"
        return self.link.session

    def received(self, kind: type) -> list[Any]:
        return [event for event in self.session.received if isinstance(event, kind)]

    def bodies(self) -> list[bytes]:
        return [body for _, body, _ in self.inbox.items]


def test_connect_sends_the_options_and_credentials() -> None:
    rig = Rig(name="me", user="u", password=lambda: "p").connect()
    assert rig.client.state is ClientState.CONNECTED
    options = rig.session.options
    assert options["verbose"] is False
    assert options["pedantic"] is False
    assert options["echo"] is True
    assert options["headers"] is True
    assert options["no_responders"] is True
    assert (options["user"], options["pass"], options["name"]) == ("u", "p", "me")
    assert rig.client.take_notices() == [Connected("s1:4222")]


@pytest.mark.parametrize("headers", [True, False])
def test_a_server_without_headers_is_not_asked_to_report_no_responders(headers: bool) -> None:
    """nats-server closes the connection if `no_responders` is set without `headers`."""
    rig = Rig(Broker(info={"headers": headers})).connect()
    assert rig.session.options["headers"] is headers
    assert rig.session.options["no_responders"] is headers


def test_credentials_in_the_url_take_precedence_over_the_options() -> None:
    client = Client(
        ClientOptions([Server("a", 1, user="x", password="y")], user="u", password="p"),
        rng=random.Random(1),
    )
    link = Link(client, Broker())
    client.open(0.0)
    link.pump()
    assert link.session is not None
    assert link.session.options["user"] == "x"
    assert link.session.options["pass"] == "y"


def test_a_credential_callable_that_raises_fails_the_attempt() -> None:
    def broken() -> str:
        raise KeyError("vault")

    rig = Rig(token=broken)
    opened = rig.client.open(0.0)
    rig.link.pump()
    assert isinstance(opened.error, InvalidOptionError)
    assert "vault" in str(opened.error)


@pytest.mark.parametrize("chop", [None, 1, 3])
def test_published_messages_come_back_in_order(chop: int | None) -> None:
    rig = Rig(chop=chop).connect()
    rig.subscribe("a.*")
    sent = [b"%d" % n for n in range(50)]
    for body in sent:
        rig.client.publish("a.b", body)
    rig.link.pump()
    assert rig.bodies() == sent
    assert rig.inbox.messages_in == 50


def test_only_the_first_publish_of_a_turn_asks_for_a_kick() -> None:
    rig = Rig().connect()
    assert rig.client.publish("a", b"1") is True
    assert rig.client.publish("a", b"2") is False
    rig.link.pump()
    assert rig.client.publish("a", b"3") is True


@pytest.mark.parametrize(
    ("subject", "payload", "headers", "error"),
    [
        ("a b", b"", None, InvalidSubjectError),
        ("", b"", None, InvalidSubjectError),
        ("a..b", b"", None, InvalidSubjectError),
        ("a.*", b"", None, InvalidSubjectError),
        ("x" * 5000, b"", None, InvalidSubjectError),
        ("a", b"x" * (1024 * 1024 + 1), None, PayloadTooLargeError),
        ("a", b"x" * 1024 * 1024, {"k": "v"}, PayloadTooLargeError),
        ("a", b"", {"k": "v\r\n"}, InvalidHeaderError),
        ("a", b"", {"": "v"}, InvalidHeaderError),
        ("a", b"", {"k": 1}, TypeError),
    ],
)
def test_bad_input_is_refused_before_a_byte_is_sent(
    subject: str, payload: bytes, headers: Any, error: type[Exception]
) -> None:
    rig = Rig().connect()
    with pytest.raises(error):
        rig.client.publish(subject, payload, None, headers)
    assert rig.client.data_to_send() == b""
    assert rig.client.output.messages_out == 0


def test_headers_are_refused_if_the_server_does_not_support_them() -> None:
    rig = Rig(Broker(info={"headers": False})).connect()
    with pytest.raises(InvalidHeaderError, match="does not support headers"):
        rig.client.publish("a", b"", None, {"k": "v"})


def test_max_payload_follows_a_later_info() -> None:
    rig = Rig().connect()
    rig.session.say(Info({**rig.link._broker.info, "max_payload": 10}))  # type: ignore[union-attr]  # the rig made a Broker
    rig.link.pump()
    with pytest.raises(PayloadTooLargeError):
        rig.client.publish("a", b"x" * 11)
    rig.client.publish("a", b"x" * 10)


def test_the_error_for_a_command_before_open_says_to_connect() -> None:
    rig = Rig()
    for call in (
        lambda: rig.client.publish("a", b""),
        lambda: rig.client.subscribe("a", None, rig.inbox.deliver),
        lambda: rig.client.request("a", b""),
        rig.client.flush,
        rig.client.drain,
    ):
        with pytest.raises(NotConnectedError, match="connect"):
            call()


# ---------------------------------------------------------------------- first connection


def test_open_fails_when_no_server_answers_and_the_error_names_each() -> None:
    rig = Rig(servers=2)
    rig.link.refuse = ConnectionRefusedError("nobody there")
    opened = rig.client.open(0.0)
    rig.link.pump()
    error = opened.error
    assert isinstance(error, ConnectFailedError)
    assert [server for server, _ in error.reasons] == ["s1:4222", "s2:4222"]
    assert "nobody there" in str(error)
    assert rig.client.state is ClientState.CLOSED
    assert rig.link.finished


def test_open_tries_the_next_server() -> None:
    def by_name(server: Server) -> Broker:
        if server.host == "s1":
            raise ConnectionRefusedError
        return broker

    broker = Broker()
    rig = Rig(by_name, servers=2)
    opened = rig.client.open(0.0)
    rig.link.pump()
    assert opened.done
    assert opened.error is None
    assert rig.client.server is not None
    assert rig.client.server.host == "s2"


def test_a_client_can_be_opened_again_after_it_failed() -> None:
    rig = Rig()
    rig.link.refuse = ConnectionRefusedError("no")
    rig.client.open(0.0)
    rig.link.pump()
    rig.link.refuse = None
    rig.connect()
    assert rig.client.is_connected


@pytest.mark.parametrize(
    ("script", "phase"),
    [
        (lambda session: True, "waiting for the server's INFO"),
        (lambda session: setattr(session, "mute", True), "to answer CONNECT"),
    ],
    ids=["no INFO", "no PONG"],
)
def test_a_silent_server_fails_the_attempt_at_its_deadline(
    script: Callable[[ServerSession], bool], phase: str
) -> None:
    broker = Broker()
    broker.script = script
    rig = Rig(broker, connect_timeout=2.0)
    opened = rig.client.open(0.0)
    rig.link.advance(1.9)
    assert not opened.done
    rig.link.advance(0.2)
    assert isinstance(opened.error, OperationTimeoutError)
    assert phase in str(opened.error)


def test_wrong_credentials_fail_with_an_authorization_error() -> None:
    rig = Rig(Broker(users={"u": "p"}), user="u", password="wrong")
    opened = rig.client.open(0.0)
    rig.link.pump()
    assert isinstance(opened.error, AuthorizationError)
    assert str(rig.client.last_error) == str(opened.error)


def test_no_credentials_are_sent_before_the_tls_handshake() -> None:
    rig = Rig(Broker(info={"tls_required": True}), user="u", password="p")
    rig.link.tls_error = ConnectionResetError("no trust")
    sessions: list[ServerSession] = []
    assert isinstance(rig.broker, Broker)

    def remember(session: ServerSession) -> bool:
        sessions.append(session)
        return False

    rig.broker.script = remember
    opened = rig.client.open(0.0)
    rig.link.pump()
    assert isinstance(opened.error, ConnectionLostError)
    assert isinstance(opened.error.__cause__, ConnectionResetError)
    assert "no trust" in str(opened.error)
    assert sessions[0].received == []


@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n", b"INFO {nonsense\r\n", b"MSG a 1 0\r\n\r\n"]
)
def test_garbage_instead_of_info_is_a_typed_error(greeting: bytes) -> None:
    broker = Broker()

    def script(session: ServerSession) -> bool:
        session.say(greeting)
        return True

    broker.script = script
    rig = Rig(broker)
    opened = rig.client.open(0.0)
    rig.link.pump()
    assert isinstance(opened.error, RemoteProtocolError)


def test_info_and_ping_during_the_handshake_are_handled() -> None:
    broker = Broker()

    def script(session: ServerSession) -> bool:
        session.say(Info(broker.info))
        session.say(Info({**broker.info, "client_id": 7}))
        session.say(Ping())
        session.say(b"+OK\r\n")
        return True

    broker.script = script
    rig = Rig(broker).connect()
    assert rig.client.info is not None
    assert rig.client.info.client_id == 7


# ---------------------------------------------------------------------- liveness


def test_pings_are_answered() -> None:
    rig = Rig().connect()
    before = len(rig.session.received)
    rig.session.say(Ping())
    rig.link.pump()
    assert repr(rig.session.received[before:]) == "[Pong()]"


def test_pings_are_sent_at_the_interval_even_under_steady_traffic() -> None:
    rig = Rig(ping_interval=10.0).connect()
    before = len(rig.received(Ping))
    for _ in range(100):
        rig.link.advance(0.5)
        rig.session.say(Msg("a", "1", b"x"))
        rig.link.pump()
    assert len(rig.received(Ping)) - before == 5


def test_a_silent_server_is_noticed_within_the_documented_time() -> None:
    rig = Rig(ping_interval=10.0, max_pings_out=2).connect()
    flushed = rig.client.flush()
    rig.link.pump()
    assert flushed.done
    rig.link.black_hole = True
    flushed = rig.client.flush()
    rig.link.advance(29.9)
    assert rig.client.is_connected
    rig.link.advance(0.2)
    assert not rig.client.is_connected
    assert isinstance(rig.client.last_error, StaleConnectionError)
    assert isinstance(flushed.error, ConnectionLostError)


def test_a_pong_resets_the_count_of_unanswered_pings() -> None:
    rig = Rig(ping_interval=10.0, max_pings_out=1).connect()
    rig.link.advance(1000.0)
    assert rig.client.is_connected
    assert rig.client.reconnects == 0


# ---------------------------------------------------------------------- flush, request


def test_each_flush_ends_with_its_own_pong() -> None:
    rig = Rig().connect()
    rig.session.mute = True
    first, second = rig.client.flush(), rig.client.flush()
    rig.link.pump()
    rig.session.say(b"PONG\r\n")
    rig.link.pump()
    assert first.done
    assert not second.done


def test_an_abandoned_flush_keeps_its_place_in_the_order() -> None:
    rig = Rig().connect()
    rig.session.mute = True
    first, second = rig.client.flush(), rig.client.flush()
    rig.client.abandon(first)
    rig.link.pump()
    rig.session.say(b"PONG\r\n")
    rig.link.pump()
    assert not second.done
    rig.session.say(b"PONG\r\n")
    rig.link.pump()
    assert second.done


def test_a_flush_fails_if_the_connection_is_lost_before_its_pong() -> None:
    rig = Rig().connect()
    rig.session.mute = True
    flushed = rig.client.flush()
    rig.link.pump()
    rig.link.cut()
    rig.link.advance(5.0)
    assert rig.client.is_connected
    assert isinstance(flushed.error, ConnectionLostError)


def test_a_flush_while_disconnected_waits_for_the_next_connection() -> None:
    rig = Rig().connect()
    rig.link.refuse = ConnectionRefusedError("down")
    rig.link.cut()
    rig.client.publish("a", b"kept")
    flushed = rig.client.flush()
    rig.link.advance(5.0)
    assert not flushed.done
    rig.link.refuse = None
    rig.link.advance(1.0)
    assert flushed.error is None
    assert flushed.done
    assert [pub.payload for pub in rig.received(Pub)] == [b"kept"]


def test_each_request_gets_its_own_reply() -> None:
    rig = Rig().connect()
    first, second = rig.client.request("svc", b"1"), rig.client.request("svc", b"2")
    rig.session.mute = True
    rig.link.pump()
    one, two = rig.received(Pub)
    rig.session.say(Msg(two.reply, "1", b"to 2"))
    rig.session.say(Msg(one.reply, "1", b"to 1"))
    rig.link.pump()
    assert first.result()[1] == b"to 1"
    assert second.result()[1] == b"to 2"


def test_a_request_without_responders_fails_at_once() -> None:
    rig = Rig().connect()
    reply = rig.client.request("nobody", b"")
    rig.link.pump()
    assert isinstance(reply.error, NoRespondersError)
    assert "'nobody'" in str(reply.error)


def test_a_late_reply_is_counted_and_ignored() -> None:
    rig = Rig().connect()
    rig.session.mute = True
    reply = rig.client.request("svc", b"")
    rig.link.pump()
    rig.client.abandon(reply)
    rig.session.say(Msg(rig.received(Pub)[0].reply, "1", b"late"))
    rig.link.pump()
    assert not reply.done
    assert rig.client.unrouted == 1


def test_pending_requests_fail_when_the_connection_breaks() -> None:
    rig = Rig().connect()
    rig.session.mute = True
    reply = rig.client.request("svc", b"")
    rig.link.pump()
    rig.link.cut()
    assert isinstance(reply.error, ConnectionLostError)


def test_requests_work_after_a_reconnect() -> None:
    rig = Rig().connect()
    rig.subscribe("svc")
    reply = rig.client.request("svc", b"1")
    rig.link.cut()
    rig.link.advance(2.0)
    reply = rig.client.request("svc", b"2")
    rig.link.pump()
    head, _, _ = rig.inbox.items[-1]
    assert head.reply is not None
    rig.client.publish_raw(head.reply, b"answer")
    rig.link.pump()
    assert reply.result()[1] == b"answer"


# ---------------------------------------------------------------------- subscriptions


def test_a_subscription_is_confirmed_by_the_pong_after_it() -> None:
    rig = Rig().connect()
    rig.session.mute = True
    sub = rig.subscribe("a")
    assert not sub.confirmed.done
    rig.session.say(b"PONG\r\n")
    rig.link.pump()
    assert sub.confirmed.done


def test_a_denied_subscription_fails_and_keeps_the_connection() -> None:
    rig = Rig(Broker(deny_subscribe=("secret.>",))).connect()
    sub = rig.subscribe("secret.a")
    error = sub.confirmed.error
    assert isinstance(error, PermissionsViolationError)
    assert error.subject == "secret.a"
    assert rig.client.is_connected
    assert len(rig.client.subscriptions) == 0


def test_a_denied_publish_is_reported_and_keeps_the_connection() -> None:
    rig = Rig(Broker(deny_publish=("secret.>",))).connect()
    rig.client.take_notices()
    rig.client.publish("secret.a", b"x")
    rig.link.pump()
    (notice,) = rig.client.take_notices()
    assert isinstance(notice, ServerErrorReceived)
    assert isinstance(notice.error, PermissionsViolationError)
    assert rig.client.is_connected


def test_messages_sent_before_unsubscribe_are_still_delivered() -> None:
    rig = Rig().connect()
    sub = rig.subscribe("a")
    rig.client.publish("a", b"before")
    rig.client.unsubscribe(sub)
    rig.client.publish("a", b"after")
    rig.link.pump()
    assert rig.bodies() == [b"before"]
    assert sub.ended.done
    assert rig.client.unrouted == 0


def test_a_maximum_counts_from_the_start_across_reconnects() -> None:
    rig = Rig().connect()
    sub = rig.subscribe("a")
    rig.client.unsubscribe(sub, max_msgs=3)
    rig.client.publish("a", b"1")
    rig.link.pump()
    rig.link.cut()
    rig.link.advance(2.0)
    assert rig.received(Unsub) == [Unsub("1", 2)]
    for n in (2, 3, 4):
        rig.client.publish("a", b"%d" % n)
    rig.link.pump()
    assert rig.bodies() == [b"1", b"2", b"3"]
    assert sub.ended.done


def test_a_maximum_set_while_disconnected_counts_from_the_start() -> None:
    rig = Rig().connect()
    sub = rig.subscribe("a", "g")
    rig.client.publish("a", b"1")
    rig.link.pump()
    rig.link.cut()
    rig.client.unsubscribe(sub, max_msgs=3)
    rig.link.advance(2.0)
    assert rig.received(Unsub) == [Unsub("1", 2)]


def test_a_message_for_an_unknown_sid_is_counted() -> None:
    rig = Rig().connect()
    rig.session.say(Msg("a", "99", b"x"))
    rig.link.pump()
    assert rig.client.unrouted == 1
    assert rig.client.is_connected


# ---------------------------------------------------------------------- reconnecting


def test_after_a_reconnect_subscriptions_are_replayed_before_kept_messages() -> None:
    rig = Rig().connect()
    sub = rig.subscribe("a")
    rig.client.take_notices()
    rig.link.cut()
    for n in range(3):
        rig.client.publish("a", b"%d" % n)
    rig.link.advance(2.0)
    assert rig.received(Sub) == [Sub("a", str(sub.sid))]
    assert rig.bodies() == [b"0", b"1", b"2"]
    lost, again = rig.client.take_notices()
    assert isinstance(lost, Disconnected)
    assert lost.reconnecting
    assert again == Reconnected("s1:4222")
    assert rig.client.reconnects == 1


def test_order_of_push_subscribe_push_is_kept_while_disconnected() -> None:
    rig = Rig().connect()
    rig.link.cut()
    rig.client.publish("a", b"before SUB")
    sub = rig.client.subscribe("a", None, rig.inbox.deliver)
    rig.client.publish("a", b"after SUB")
    rig.link.advance(2.0)
    assert rig.bodies() == [b"after SUB"]
    assert sub.confirmed.done
    assert [type(e) for e in rig.session.received if isinstance(e, (Pub, Sub))] == [Pub, Sub, Pub]


def test_unsubscribe_while_disconnected_keeps_its_place() -> None:
    rig = Rig().connect()
    sub = rig.subscribe("a")
    rig.link.cut()
    rig.client.publish("a", b"before UNSUB")
    rig.client.unsubscribe(sub)
    rig.client.publish("a", b"after UNSUB")
    rig.link.advance(2.0)
    assert rig.bodies() == [b"before UNSUB"]
    assert sub.ended.done


def test_a_reconnect_does_not_undo_an_unsubscribe() -> None:
    rig = Rig().connect()
    sub = rig.subscribe("a")
    rig.session.mute = True
    rig.client.unsubscribe(sub)
    rig.link.pump()
    rig.link.cut()
    rig.link.advance(2.0)
    assert sub.ended.done
    assert rig.received(Sub) == []


def test_output_that_was_handed_over_is_never_sent_again() -> None:
    rig = Rig().connect()
    rig.client.publish("a", b"taken")
    assert rig.client.data_to_send() == b"PUB a 5\r\ntaken\r\n"
    rig.client.publish("a", b"kept")
    rig.link.cut()
    rig.link.advance(2.0)
    assert [pub.payload for pub in rig.received(Pub)] == [b"kept"]


def test_a_full_reconnect_buffer_raises_buffer_full_error() -> None:
    rig = Rig(reconnect_buffer=100).connect()
    rig.link.refuse = ConnectionRefusedError("down")
    rig.link.cut()
    accepted = 0
    with suppress(BufferFullError):
        while accepted < 100:
            rig.client.publish("a", b"0123456789")
            accepted += 1
    assert 0 < accepted < 10
    with pytest.raises(BufferFullError, match="reconnect_buffer"):
        rig.client.publish("a", b"0123456789")
    rig.link.refuse = None
    rig.link.advance(2.0)
    assert len(rig.received(Pub)) == accepted


def test_kept_messages_too_large_for_the_new_server_are_dropped_and_reported() -> None:
    rig = Rig().connect()
    rig.link.refuse = ConnectionRefusedError("down")
    rig.link.cut()
    rig.client.publish("a", b"x" * 100)
    rig.client.publish("a", b"small")
    rig.link._broker = Broker(info={"max_payload": 50})
    rig.link.refuse = None
    rig.client.take_notices()
    rig.link.advance(2.0)
    assert [pub.payload for pub in rig.received(Pub)] == [b"small"]
    assert rig.client.dropped_unsent == 1
    notices = rig.client.take_notices()
    assert any(
        isinstance(n, ServerErrorReceived) and isinstance(n.error, PayloadTooLargeError)
        for n in notices
    )


def test_the_first_reconnect_is_immediate_and_later_ones_are_delayed() -> None:
    policy = ReconnectPolicy(delay=1.0, max_delay=8.0)
    rig = Rig(reconnect=policy).connect()
    rig.link.advance(60.0)
    rig.link.refuse = ConnectionRefusedError("down")
    start = rig.link.opened
    rig.link.cut()
    rig.link.pump()
    assert rig.link.opened == start + 1
    rig.link.advance(100.0)
    assert 100 / 8 < rig.link.opened - start < 100


def test_reconnecting_to_a_server_that_hangs_up_is_paced() -> None:
    rig = Rig(reconnect=ReconnectPolicy(delay=1.0, max_delay=4.0)).connect()
    for _ in range(200):
        if rig.link.session is not None:
            rig.link.cut()
        rig.link.advance(0.1)
    assert rig.link.opened < 40


def test_without_reconnect_the_client_closes_at_the_first_loss() -> None:
    rig = Rig(reconnect=None).connect()
    rig.link.cut()
    rig.link.pump()
    assert rig.client.state is ClientState.CLOSED
    assert rig.link.finished
    with pytest.raises(ConnectionClosedError):
        rig.client.publish("a", b"")


def test_after_max_attempts_the_client_closes_with_a_reason() -> None:
    rig = Rig(reconnect=ReconnectPolicy(max_attempts=3)).connect()
    waiting = rig.inbox.waiter()
    rig.client.closed.on_done(rig.inbox.wake_all)
    rig.link.refuse = ConnectionRefusedError("down")
    rig.link.cut()
    rig.link.advance(60.0)
    assert rig.client.state is ClientState.CLOSED
    assert isinstance(rig.client.last_error, ConnectFailedError)
    assert waiting.done


def test_messages_before_a_protocol_error_are_delivered_and_the_client_reconnects() -> None:
    rig = Rig().connect()
    sub = rig.subscribe("a")
    rig.session.say(b"MSG a %d 2\r\nok\r\nMSG a %d 2\r\nbroken\r\n" % (sub.sid, sub.sid))
    rig.link.pump()
    assert rig.bodies() == [b"ok"]
    assert isinstance(rig.client.last_error, RemoteProtocolError)
    rig.link.advance(2.0)
    assert rig.client.is_connected


@pytest.mark.parametrize("text", ["Stale Connection", "Maximum Payload Violation"])
def test_an_err_that_ends_the_connection_is_the_reason_for_the_reconnect(text: str) -> None:
    rig = Rig().connect()
    rig.session.refuse(text)
    rig.link.advance(2.0)
    assert isinstance(rig.client.last_error, ServerError)
    assert rig.client.last_error.text == text
    assert rig.client.is_connected


def test_an_unknown_err_is_reported_and_keeps_the_connection() -> None:
    rig = Rig().connect()
    rig.client.take_notices()
    rig.session.say(Err("Something New"))
    rig.link.pump()
    assert rig.client.is_connected
    rig.session.close()
    rig.link.advance(2.0)
    first, lost, *_ = rig.client.take_notices()
    assert isinstance(first, ServerErrorReceived)
    assert isinstance(lost, Disconnected)
    assert isinstance(lost.error, ServerError)
    assert lost.error.text == "Something New"


def test_lame_duck_mode_is_reported() -> None:
    rig = Rig().connect()
    rig.client.take_notices()
    rig.session.say(Info({"ldm": True}))
    rig.link.pump()
    assert rig.client.take_notices() == [LameDuck("s1:4222")]


def test_reports_about_an_earlier_attempt_are_ignored() -> None:
    rig = Rig().connect()
    rig.link.cut()
    rig.link.advance(2.0)
    rig.client.receive_data(1, b"garbage\r\n", rig.link.now)
    rig.client.transport_closed(1, OSError("late"), rig.link.now)
    rig.client.transport_closed(1, OSError("late"), rig.link.now)
    assert rig.client.transport_opened(1, rig.link.now) is False
    assert rig.client.is_connected


# ---------------------------------------------------------------------- closing


def test_close_ends_every_wait() -> None:
    rig = Rig().connect()
    rig.session.mute = True
    ops: list[Op[Any]] = [
        rig.client.flush(),
        rig.client.request("svc", b""),
        rig.client.subscribe("a", None, rig.inbox.deliver).confirmed,
    ]
    stopped = rig.client.close()
    assert all(isinstance(op.error, ConnectionClosedError) for op in ops)
    assert rig.client.closed.done
    rig.link.pump()
    assert stopped.done
    assert rig.link.finished


def test_close_while_reconnecting_counts_unsent_messages() -> None:
    rig = Rig().connect()
    rig.link.refuse = ConnectionRefusedError("down")
    rig.link.cut()
    for _ in range(3):
        rig.client.publish("a", b"lost")
    waiting = rig.client.connected()
    rig.client.close()
    assert waiting.result() is False
    assert rig.client.dropped_unsent == 3
    assert rig.client.take_notices()[-1] == Closed(None, 3)
    assert rig.client.next_timeout() is None


@pytest.mark.parametrize("connected", [True, False])
def test_fail_closes_the_client_with_the_transports_reason(connected: bool) -> None:
    rig = Rig()
    opened = rig.client.open(rig.link.now)
    if connected:
        rig.link.pump()
        rig.client.take_notices()
    reason = ConnectionClosedError("no more of it")
    flush = rig.client.flush()
    rig.client.fail(reason)
    assert rig.client.state is ClientState.CLOSED
    assert rig.client.last_error is reason
    assert rig.client.stopped.done
    assert rig.client.next_action() is None, "there is no transport to take an action"
    assert rig.client.take_notices() == [Closed(reason, 0)]
    assert (str(opened.error) == str(reason)) is not connected
    assert isinstance(flush.error, ConnectionClosedError)
    rig.client.fail(None)
    assert rig.client.last_error is reason
    # Later reports of the transport have no effect.
    rig.client.transport_closed(1, None, rig.link.now)
    assert rig.client.next_action() is None
    again = rig.client.open(rig.link.now)
    rig.link.pump()
    again.result()


def test_fail_before_open_changes_nothing() -> None:
    client = Rig().client
    client.fail(None)
    assert client.state is ClientState.IDLE


def test_fail_completes_a_pending_close() -> None:
    rig = Rig().connect()
    stopped = rig.client.close()
    assert not stopped.done
    rig.client.fail(None)
    assert stopped.done
    assert rig.client.next_action() is None


def test_close_is_idempotent_and_harmless_before_open() -> None:
    rig = Rig()
    assert rig.client.close().done
    rig.connect()
    rig.client.close()
    rig.client.close()
    assert sum(isinstance(n, Closed) for n in rig.client.take_notices()) == 1


def test_close_during_the_first_connection_fails_open() -> None:
    rig = Rig()
    opened = rig.client.open(0.0)
    rig.client.close()
    rig.link.pump()
    assert isinstance(opened.error, ConnectionClosedError)
    assert rig.link.finished


def test_drain_receives_messages_in_flight_and_ends_the_subscriptions() -> None:
    rig = Rig().connect()
    rig.subscribe("a")
    rig.client.publish("a", b"under way")
    drained = rig.client.drain()
    rig.client.publish("b", b"a last word")
    rig.link.pump()
    assert drained.done
    assert rig.bodies() == [b"under way"]
    assert len(rig.client.subscriptions) == 0
    assert rig.received(Pub)[-1].payload == b"a last word"
    with pytest.raises(ConnectionClosedError, match="draining"):
        rig.client.subscribe("a", None, rig.inbox.deliver)


def test_drain_fails_when_the_connection_breaks_first() -> None:
    rig = Rig().connect()
    rig.session.mute = True
    drained = rig.client.drain()
    rig.link.pump()
    rig.link.cut()
    assert isinstance(drained.error, ConnectionLostError)
    assert rig.client.state is ClientState.CLOSED


# ---------------------------------------------------------------------- backpressure


def test_publishers_wait_above_the_high_water_mark_until_the_output_is_taken() -> None:
    rig = Rig().connect()
    payload = b"x" * 1024 * 1024
    rig.client.publish("a", payload)
    assert rig.client.congested
    writable = rig.client.writable()
    assert not writable.done
    rig.client.data_to_send()
    assert writable.done
    assert not rig.client.congested


def test_waiting_publishers_wake_when_the_connection_breaks() -> None:
    rig = Rig().connect()
    rig.client.publish("a", b"x" * 1024 * 1024)
    writable = rig.client.writable()
    rig.link.cut()
    assert writable.done


@pytest.mark.parametrize(
    "options",
    [
        {"connect_timeout": 0},
        {"ping_interval": -1.0},
        {"ping_interval": float("nan")},
        {"max_pings_out": 0},
        {"reconnect_buffer": -1},
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionError, match=next(iter(options))):
        Rig(**options)


@pytest.mark.parametrize("at", range(0, 321, 5))
def test_a_cut_at_any_byte_delivers_whole_messages_once(at: int) -> None:
    rig = Rig().connect()
    sub = rig.subscribe("a")
    stream = b"".join(b"MSG a %d 3\r\n%03d\r\n" % (sub.sid, n) for n in range(20))
    rig.session.say(stream[:at])
    rig.link.pump()
    rig.link.cut()
    rig.link.advance(2.0)
    assert rig.bodies() == [b"%03d" % n for n in range(at // 16)]
