"""The -ERR for a refused SUB does not name it, so the client finds it by the order of answers."""

from __future__ import annotations

import pytest

from nasq_proto import (
    Err,
    OperationTimeoutError,
    Ping,
    Pong,
    ServerErrorReceived,
    Sub,
    SubscriptionLimitError,
    SubscriptionRefusedError,
)
from nasq_proto.testing import Broker
from tests.proto.test_client import Rig


def test_a_subscription_over_the_servers_limit_fails() -> None:
    rig = Rig(Broker(max_subscriptions=2)).connect()
    first, second, third = (rig.subscribe(subject) for subject in ("a", "b", "c"))
    assert first.confirmed.error is None
    assert second.confirmed.error is None
    error = third.confirmed.error
    assert isinstance(error, SubscriptionLimitError)
    assert error.subject == "c"
    assert "'c'" in str(error)
    assert "maximum subscriptions exceeded" in str(error)
    assert third.ended.done
    assert len(rig.client.subscriptions) == 2
    # The waiting caller gets the error, so no notice reports it.
    assert not [n for n in rig.client.take_notices() if isinstance(n, ServerErrorReceived)]


@pytest.mark.parametrize("text", ["maximum subscriptions exceeded", "Invalid Subject"])
def test_each_refusal_fails_the_right_subscription(text: str) -> None:
    """Between two PONGs there can only be the refusal of the SUB that the second PONG confirms."""
    rig = Rig().connect()
    flushed = rig.client.flush()
    subs = [rig.client.subscribe(subject, None, rig.inbox.deliver) for subject in "abcd"]
    last = rig.client.flush()
    rig.client.data_to_send()
    session = rig.session
    for answer in (Pong(), Err(text), Pong(), Pong(), Err(text), Pong(), Pong(), Pong()):
        session.say(answer)
    rig.link.pump()
    refused = [isinstance(sub.confirmed.error, SubscriptionRefusedError) for sub in subs]
    assert refused == [True, False, True, False]
    assert flushed.error is None
    assert last.error is None
    assert all(sub.confirmed.done for sub in subs)


def test_a_refusal_after_a_reconnect_is_reported_and_ends_the_subscription() -> None:
    rig = Rig(Broker()).connect()
    subs = [rig.subscribe(subject) for subject in ("a", "b", "c")]
    assert isinstance(rig.broker, Broker)
    rig.broker.max_subscriptions = 2
    rig.client.take_notices()
    rig.link.cut()
    rig.link.advance(1.0)
    assert rig.client.is_connected
    assert [sub.ended.done for sub in subs] == [False, False, True]
    (notice,) = [n for n in rig.client.take_notices() if isinstance(n, ServerErrorReceived)]
    assert isinstance(notice.error, SubscriptionLimitError)
    assert notice.error.subject == "c"


def test_a_subscription_made_while_disconnected_can_be_refused() -> None:
    rig = Rig(Broker(max_subscriptions=1)).connect()
    first = rig.subscribe("a")
    rig.link.cut()
    second = rig.client.subscribe("b", None, rig.inbox.deliver)
    rig.client.publish("b", b"x")
    rig.link.advance(1.0)
    assert not first.ended.done
    assert isinstance(second.confirmed.error, SubscriptionLimitError)


def test_requests_fail_when_their_inbox_is_refused_and_work_again_later() -> None:
    """Once, all requests timed out because the inbox was never subscribed again."""
    broker = Broker(max_subscriptions=1)
    rig = Rig(broker).connect()
    rig.subscribe("a")
    refused = [rig.client.request("x", b"") for _ in range(2)]
    rig.link.pump()
    errors = [op.error for op in refused]
    assert all(isinstance(error, SubscriptionLimitError) for error in errors)
    assert errors[0] is not errors[1]
    broker.max_subscriptions = None
    rig.subscribe("x")
    again = rig.client.request("x", b"")
    rig.link.pump()
    (head, _, _) = rig.inbox.items[-1]
    assert head.reply is not None
    rig.client.publish_raw(head.reply, b"yes")
    rig.link.pump()
    assert again.result()[1] == b"yes"


def test_a_refusal_without_a_pending_subscription_affects_none() -> None:
    rig = Rig().connect()
    sub = rig.subscribe("a")
    flushed = rig.client.flush()
    rig.client.data_to_send()
    rig.session.say(Err("maximum subscriptions exceeded"))
    rig.session.say(Pong())
    rig.link.pump()
    assert not sub.ended.done
    assert flushed.done
    (notice,) = [n for n in rig.client.take_notices() if isinstance(n, ServerErrorReceived)]
    assert isinstance(notice.error, SubscriptionLimitError)
    assert notice.error.subject is None


def test_every_sub_of_a_replay_is_followed_by_a_ping() -> None:
    rig = Rig().connect()
    for subject in ("a", "b"):
        rig.subscribe(subject)
    rig.link.cut()
    rig.link.advance(1.0)
    replayed = [e for e in rig.session.received if isinstance(e, (Sub, Ping))]
    assert [type(event) for event in replayed] == [Ping, Sub, Ping, Sub, Ping]


def test_a_silent_server_times_out_while_a_subscription_waits() -> None:
    """A server that answers no PING is disconnected as usual, even if subscriptions wait."""
    rig = Rig(ping_interval=5.0).connect()
    rig.session.mute = True
    sub = rig.client.subscribe("a", None, rig.inbox.deliver)
    rig.link.advance(60.0)
    assert sub.confirmed.done  # confirmed on the next connection
    assert rig.client.reconnects == 1
    assert not isinstance(rig.client.last_error, OperationTimeoutError)


def test_the_pong_of_a_removed_subscription_resolves_nothing_else() -> None:
    """Its SUB and PING are still to be sent when the subscription is removed."""
    rig = Rig().connect()
    rig.link.cut()
    gone = rig.client.subscribe("a", None, rig.inbox.deliver)
    rig.client.subscriptions.remove(gone)
    flushed = rig.client.flush()
    later = rig.client.subscribe("b", None, rig.inbox.deliver)
    rig.link.advance(1.0)
    assert flushed.result() is None
    assert later.confirmed.result() is None
    assert not rig.client._answers
