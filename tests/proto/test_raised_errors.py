"""Errors that reach callers: a class of nasq, with a cause, and a new instance for each caller."""

from __future__ import annotations

import random

import pytest

from nasq_proto import (
    Client,
    ClientOptions,
    ConnectFailedError,
    ConnectionClosedError,
    ConnectionLostError,
    Disconnected,
    Err,
    LocalProtocolError,
    NASQError,
    Op,
    ReconnectPolicy,
    Server,
    StaleConnectionError,
)
from nasq_proto.replies import PendingReply, Replies
from nasq_proto.testing import Broker, Link
from tests.proto.test_client import Rig


def test_a_connection_reset_is_a_connection_lost_error_with_a_cause() -> None:
    rig = Rig().connect()
    rig.client.take_notices()
    reset = ConnectionResetError(104, "Connection reset by peer")
    flushed = rig.client.flush()
    rig.link.cut(reset)
    (notice,) = [n for n in rig.client.take_notices() if isinstance(n, Disconnected)]
    for error in (notice.error, rig.client.last_error):
        assert isinstance(error, ConnectionLostError)
        assert error.__cause__ is reset
        assert "s1:4222" in str(error)
    assert isinstance(flushed.error, ConnectionLostError)
    assert flushed.error.__cause__ is notice.error


def test_a_refused_reconnect_is_a_connect_failed_error_with_a_cause() -> None:
    rig = Rig().connect()
    refused = ConnectionRefusedError(111, "Connection refused")
    rig.link.refuse = refused
    rig.link.cut()
    rig.link.advance(1.0)
    error = rig.client.last_error
    assert isinstance(error, ConnectFailedError)
    assert error.__cause__ is refused
    assert error.reasons == [("s1:4222", refused)]


def test_the_first_round_keeps_the_os_error_of_each_server() -> None:
    rig = Rig(servers=2)
    refused = ConnectionRefusedError(111, "Connection refused")
    rig.link.refuse = refused
    opened = rig.client.open(0.0)
    rig.link.pump()
    assert isinstance(opened.error, ConnectFailedError)
    assert opened.error.reasons == [("s1:4222", refused), ("s2:4222", refused)]
    assert opened.error.__cause__ is refused


def test_each_waiter_gets_its_own_exception() -> None:
    """One exception raised in many tasks would collect the tracebacks of all of them."""
    rig = Rig().connect()
    ops: list[Op[object]] = [rig.client.request("a", b"") for _ in range(3)]  # type: ignore[misc]  # Op is invariant
    ops += [rig.client.flush() for _ in range(3)]  # type: ignore[misc]  # as above
    rig.link.cut()
    errors = [op.error for op in ops]
    assert len({id(error) for error in errors}) == len(ops)
    assert all(isinstance(error, ConnectionLostError) for error in errors)
    assert all(error is not None and error.__cause__ for error in errors)


def test_each_waiter_for_the_connection_gets_its_own_exception() -> None:
    rig = Rig(Broker(users={"u": "p"}), user="u", password="wrong")
    ops = [rig.client.open(0.0) for _ in range(3)]
    rig.link.pump()
    errors = [op.error for op in ops]
    assert len({id(error) for error in (*errors, rig.client.last_error)}) == 4
    assert len({str(error) for error in errors}) == 1


def test_an_abandoned_open_is_removed_from_the_waiters() -> None:
    rig = Rig().connect()
    rig.link.refuse = ConnectionRefusedError()
    rig.link.cut()
    for _ in range(100):
        op = rig.client.open(rig.link.now)
        rig.client.abandon(op)
    assert rig.client._waiters.opening == []


def test_a_waker_can_be_removed() -> None:
    op: Op[None] = Op()
    called: list[int] = []
    first, second = (lambda: called.append(1)), (lambda: called.append(2))
    op.on_done(first)
    op.on_done(second)
    op.forget(first)
    op.forget(first)
    op.resolve(None)
    op.forget(second)
    assert called == [2]


def test_an_old_err_is_not_the_reason_for_a_later_loss() -> None:
    rig = Rig().connect()
    rig.session.say(Err("Something Harmless"))
    rig.link.pump()
    rig.client.flush()
    rig.link.pump()
    rig.link.cut(ConnectionResetError("pulled"))
    assert "pulled" in str(rig.client.last_error)


@pytest.mark.parametrize(
    "text",
    [
        "Invalid Subject",
        "maximum subscriptions exceeded",
        'Permissions Violation for Publish to "x"',
    ],
)
def test_an_err_that_keeps_the_connection_open_is_not_the_reason_for_its_loss(text: str) -> None:
    rig = Rig().connect()
    rig.session.say(Err(text))
    rig.link.pump()
    rig.link.cut(ConnectionResetError("pulled"))
    assert "pulled" in str(rig.client.last_error)


def test_an_unknown_err_right_before_the_end_is_its_reason() -> None:
    rig = Rig().connect()
    rig.session.refuse("Something New")
    rig.link.pump()
    assert "Something New" in str(rig.client.last_error)


@pytest.mark.parametrize("most", [10**9, 0, -1, "5", 2.5])
def test_an_invalid_unsub_maximum_changes_nothing(most: object) -> None:
    """The value was once stored, and raised again at every reconnect or the next message."""
    rig = Rig().connect()
    sub = rig.subscribe("a")
    rig.client.unsubscribe(sub, 3)
    with pytest.raises((LocalProtocolError, TypeError)):
        rig.client.unsubscribe(sub, most)  # type: ignore[arg-type]  # on purpose
    assert sub.max_msgs == 3
    rig.link.cut()
    rig.link.advance(1.0)
    for _ in range(4):
        rig.client.publish("a", b"x")
    rig.link.pump()
    assert len(rig.bodies()) == 3


def test_an_invalid_result_of_an_authenticator_raises_nothing() -> None:
    options = ClientOptions(
        [Server("s1", 4222)],
        authenticator=lambda info: {"jwt": b"bytes"},  # type: ignore[dict-item]  # on purpose
        reconnect=ReconnectPolicy(),
    )
    client = Client(options, rng=random.Random(1))
    link = Link(client, Broker())
    opened = client.open(0.0)
    link.pump()
    assert isinstance(opened.error, NASQError)
    assert "credentials" in str(opened.error)


def test_a_refusal_is_matched_to_its_request_without_a_search() -> None:
    """Ten thousand requests wait while the server refuses other publishes."""
    replies = Replies("_INBOX")
    replies.new_inbox(random.Random(1))
    waiting = [replies.new(f"a.{n}") for n in range(10_000)]
    visited = 0

    class CountingDict(dict[str, PendingReply]):
        def values(self):  # type: ignore[no-untyped-def]  # only counts its calls
            nonlocal visited
            visited += len(self)
            return super().values()

    replies._pending = CountingDict(replies._pending)
    for n in range(1000):
        assert not replies.refused(f"b.{n}", ValueError())
    assert visited <= 10_000
    error = ConnectionClosedError("x")
    assert replies.refused("a.5", error)
    assert waiting[5].error is error
    assert replies.refused(waiting[6].reply, error)
    assert waiting[6].error is error
    assert not replies.refused("a.5", error)
    later = replies.new("a.5")
    assert replies.refused("a.5", error)
    assert later.error is error


def test_the_index_of_refusals_does_not_grow_without_limit() -> None:
    replies = Replies("_INBOX")
    replies.new_inbox(random.Random(1))
    stays = replies.new("stays")
    assert not replies.refused("x", ValueError())
    for _ in range(10_000):
        replies.abandon(replies.new("a"))
    assert replies._by_subject is None
    assert replies.refused("stays", ValueError())
    assert stays.done


def test_the_error_for_a_flood_of_pings_names_the_server() -> None:
    rig = Rig(servers=2).connect()
    for _ in range(6):
        rig.client.receive_data(1, b"PING\r\n" * 40_000, rig.link.now)
        while not rig.client.wants_read:
            rig.client.handle_timeout(rig.link.now)
    error = rig.client.last_error
    assert isinstance(error, StaleConnectionError)
    assert "s1:4222" in str(error)
    rig.link.advance(1.0)
    assert rig.client.is_connected
    assert rig.client.server is not None
    assert rig.client.server.address == "s2:4222"


def test_an_abandoned_wait_for_the_connection_is_removed() -> None:
    rig = Rig().connect()
    rig.link.refuse = OSError("refused")
    rig.link.cut()
    for _ in range(3):
        rig.client.abandon(rig.client.connected())
    assert not rig.client._waiters.asking
