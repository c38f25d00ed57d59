"""A request that was reported as failed is never carried out afterwards."""

from __future__ import annotations

import pytest

from nasq_proto import (
    ConnectionLostError,
    Info,
    PayloadTooLargeError,
    Pub,
    ReconnectPolicy,
)
from nasq_proto.testing import Broker
from tests.proto.test_client import Rig

HEADERS = pytest.mark.parametrize("headers", [None, {"k": "v"}], ids=["plain", "headers"])


def asked(rig: Rig) -> list[bytes]:
    """The payloads of the requests that the present server has received."""
    return [pub.payload for pub in rig.received(Pub) if pub.reply is not None]


@HEADERS
def test_one_that_no_connection_took_is_dropped_with_the_connection(
    headers: dict[str, str] | None,
) -> None:
    rig = Rig().connect()
    rig.client.publish("a", b"1")
    op = rig.client.request("a", b"charge", headers)
    rig.client.publish("a", b"2")
    rig.link.cut()
    assert isinstance(op.error, ConnectionLostError)
    rig.link.advance(5.0)
    assert rig.client.is_connected
    assert [pub.payload for pub in rig.received(Pub)] == [b"1", b"2"]


@HEADERS
def test_one_that_was_given_up_while_disconnected_is_not_sent(
    headers: dict[str, str] | None,
) -> None:
    rig = Rig(reconnect=ReconnectPolicy(delay=0.5, max_delay=0.5)).connect()
    rig.link.refuse = ConnectionRefusedError()
    rig.link.cut()
    for _ in range(120):
        op = rig.client.request("a", b"charge", headers)
        rig.link.advance(5.0)
        rig.client.abandon(op)
    kept = rig.client.request("a", b"kept", headers)
    rig.link.refuse = None
    rig.link.advance(5.0)
    assert asked(rig) == [b"kept"]
    rig.link.pump()
    assert kept.done  # nobody listens
    assert rig.client.output.messages_out == 1


def test_one_that_was_given_up_leaves_its_room_to_others() -> None:
    """Otherwise requests that time out fill the reconnect buffer."""
    rig = Rig(reconnect_buffer=200).connect()
    rig.link.refuse = ConnectionRefusedError()
    rig.link.cut()
    for _ in range(50):
        rig.client.abandon(rig.client.request("a", bytes(40)))
    before = rig.client.output.size
    rig.client.publish("a", bytes(100))
    assert rig.client.output.size > before


def test_one_that_waits_for_the_reconnect_is_sent_and_answered() -> None:
    rig = Rig().connect()
    rig.subscribe("a")
    rig.link.cut()
    op = rig.client.request("a", b"?")
    rig.link.advance(1.0)
    ((head, body, _),) = rig.inbox.items
    assert body == b"?"
    assert head.reply is not None
    rig.client.publish_raw(head.reply, b"!")
    rig.link.pump()
    assert op.result()[1] == b"!"


def test_one_that_is_given_up_in_a_connection_that_does_not_read_is_not_sent() -> None:
    rig = Rig().connect()
    op = rig.client.request("a", b"charge")
    rig.client.abandon(op)
    rig.client.publish("a", b"x")
    rig.link.pump()
    assert [pub.payload for pub in rig.received(Pub)] == [b"x"]


def test_those_that_fail_with_their_inbox_are_not_sent() -> None:
    """The server refuses the inbox while more requests wait to be sent."""
    broker = Broker(max_subscriptions=0)
    rig = Rig(broker).connect()
    first = rig.client.request("a", b"first")
    rig.session.receive_data(rig.client.data_to_send())
    second = rig.client.request("a", b"second")
    rig.client.receive_data(1, rig.session.data_to_send(), 0.0)
    assert first.error is not None
    assert second.error is not None
    rig.link.pump()
    assert asked(rig) == [b"first"]
    assert rig.client.output.messages_out == 1


def test_one_behind_the_move_to_another_server_waits_for_that_server() -> None:
    """What is sent while a server in lame duck mode is being left belongs to the next one."""
    rig = Rig(servers=2).connect()
    rig.subscribe("a")
    rig.session.say(Info({**Broker().info, "ldm": True, "connect_urls": ["s2:4222"]}))
    rig.client.receive_data(1, rig.session.data_to_send(), rig.link.now)
    before = rig.client.flush()
    op = rig.client.request("a", b"?")
    rig.link.advance(1.0)
    assert rig.client.reconnects == 1
    assert before.result() is None
    assert not op.done
    (head, _, _) = rig.inbox.items[-1]
    assert head.reply is not None
    rig.client.publish_raw(head.reply, b"!")
    rig.link.pump()
    assert op.result()[1] == b"!"


def test_one_that_is_too_large_for_the_next_server_fails() -> None:
    broker = Broker()
    rig = Rig(broker).connect()
    broker.info["max_payload"] = 10
    rig.link.cut()
    op = rig.client.request("a", bytes(11))
    small = rig.client.request("a", bytes(10))
    rig.link.advance(1.0)
    assert isinstance(op.error, PayloadTooLargeError)
    assert asked(rig) == [bytes(10)]
    assert small.done
    assert rig.client.dropped_unsent == 0


def test_those_unsent_at_the_close_are_not_counted_as_lost_messages() -> None:
    """Their callers are told: the count is of messages that nobody else reports."""
    rig = Rig().connect()
    rig.link.refuse = ConnectionRefusedError()
    rig.link.cut()
    op = rig.client.request("a", b"x")
    rig.client.publish("a", b"y")
    rig.client.close()
    assert op.error is not None
    assert rig.client.dropped_unsent == 1
