"""A request that was reported as failed is never sent afterwards."""

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
    """Return the payloads of the requests that the current server has received."""
    return [pub.payload for pub in rig.received(Pub) if pub.reply is not None]


@HEADERS
def test_an_unsent_request_fails_with_its_connection(
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
def test_a_request_abandoned_while_disconnected_is_not_sent(
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
    assert kept.done  # there are no responders
    assert rig.client.output.messages_out == 1


def test_an_abandoned_request_frees_its_space_in_the_buffer() -> None:
    """Otherwise requests that time out would fill the reconnect buffer."""
    rig = Rig(reconnect_buffer=200).connect()
    rig.link.refuse = ConnectionRefusedError()
    rig.link.cut()
    for _ in range(50):
        rig.client.abandon(rig.client.request("a", bytes(40)))
    before = rig.client.output.size
    rig.client.publish("a", bytes(100))
    assert rig.client.output.size > before


def test_a_request_made_while_disconnected_is_sent_after_the_reconnect() -> None:
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


def test_a_request_abandoned_before_it_is_handed_over_is_not_sent() -> None:
    rig = Rig().connect()
    op = rig.client.request("a", b"charge")
    rig.client.abandon(op)
    rig.client.publish("a", b"x")
    rig.link.pump()
    assert [pub.payload for pub in rig.received(Pub)] == [b"x"]


def test_unsent_requests_fail_with_their_inbox_and_are_not_sent() -> None:
    """The server refuses the inbox while another request waits to be sent."""
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


def test_a_request_made_in_lame_duck_mode_waits_for_the_next_server() -> None:
    """While the client leaves a server in lame duck mode, new output waits for the next server."""
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


def test_a_request_too_large_for_the_next_server_fails() -> None:
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


def test_requests_unsent_at_close_are_not_counted_as_unsent_messages() -> None:
    """Their callers get an error. The count is for messages that are not reported otherwise."""
    rig = Rig().connect()
    rig.link.refuse = ConnectionRefusedError()
    rig.link.cut()
    op = rig.client.request("a", b"x")
    rig.client.publish("a", b"y")
    rig.client.close()
    assert op.error is not None
    assert rig.client.dropped_unsent == 1
