"""Message.make, namespace=None, limits of length, and the docstrings of the blocking queue."""

from __future__ import annotations

import copy
import inspect
import pickle
from datetime import datetime
from typing import Any

import pytest

from nasq import (
    BlockingNASQueue,
    InvalidOptionError,
    InvalidSubjectError,
    Message,
    NASQueue,
)
from tests.conftest import Kit

from .test_lifecycle import inner

NOW = datetime(2024, 5, 6, 7, 8, 9, 123456)


def test_make_returns_a_message_with_these_fields() -> None:
    message = Message.make(
        subject="orders.new",
        message={"id": 7},
        headers={"Trace": ["x", "y"]},
        reply_to="_INBOX.1",
        timestamp=NOW,
    )
    assert dict(message) == {
        "subject": "orders.new",
        "message": b'{"id": 7}',
        "headers": {"Trace": ["x", "y"]},
        "reply_to": "_INBOX.1",
        "timestamp": NOW,
    }
    assert message.json() == {"id": 7}
    assert (message.reply_error, message.header_error) == (None, None)
    plain = Message.make(subject="a")
    assert (plain.message, plain.headers, plain.reply_to) == (b"", None, None)
    assert abs((datetime.now() - plain.timestamp).total_seconds()) < 60
    for other in (copy.copy(message), pickle.loads(pickle.dumps(message))):
        assert dict(other) == dict(message)


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": "a b"},
        {"subject": "a.*"},
        {"subject": 7},
        {"subject": "a", "reply_to": "b..c"},
        {"subject": "a", "message": object()},
        {"subject": "a", "headers": ["b"]},
    ],
)
def test_make_refuses_a_message_that_no_queue_could_return(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, InvalidSubjectError)):
        Message.make(**wrong)


def test_the_repr_has_singular_and_plural() -> None:
    assert repr(Message.make(subject="k", message="1")) == "<Message 'k' 1 byte b'1'>"
    assert repr(Message.make(subject="k", message="22")) == "<Message 'k' 2 bytes b'22'>"


async def test_respond_accepts_a_message_of_make(kit: Kit) -> None:
    async with kit.queue(namespace=None) as queue:
        await queue.subscribe_and_queue(f"{kit.namespace}.answers")
        asked = Message.make(subject="job", reply_to=f"{kit.namespace}.answers")
        await queue.respond(asked, "done")
        message = await queue.pop(timeout=10.0)
        assert message is not None
        assert message.text == "done"


# ---------------------------------------------------------------------- no namespace


async def test_without_a_namespace_subjects_have_no_prefix(kit: Kit) -> None:
    name = kit.namespace
    async with kit.queue(namespace=None) as bare, kit.queue() as queue:
        assert bare.get_namespace() is None
        assert queue.get_namespace() == name
        assert repr(inner(bare)).split()[1] == "None"
        await bare.subscribe_and_queue(f"{name}.>")
        await queue.subscribe_and_queue("answer")
        await queue.publish("orders", "1", reply_to="answer")
        message = await bare.pop(timeout=10.0)
        assert message is not None
        assert (message.subject, message.reply_to) == (f"{name}.orders", f"{name}.answer")
        await bare.respond(message, "2")
        answer = await queue.pop(timeout=10.0)
        assert answer is not None
        assert (answer.subject, answer.text) == ("answer", "2")
        await bare.flush()  # it has received the answer as well
        await bare.push(name, "one token, kept here")
        assert [m.subject for m in await bare.pop_many(5)] == [f"{name}.answer", name]
        for wrong in ("a b", "a..b", "", "a.*"):
            with pytest.raises(InvalidSubjectError):
                await bare.push(wrong, "x")


async def test_without_a_namespace_the_servers_own_subjects_can_be_used(async_kit: Kit) -> None:
    async with async_kit.queue(namespace=None) as queue:
        reply = await queue.request("$JS.API.INFO", b"", timeout=10.0)
        assert "type" in reply.json()
        await queue.subscribe_and_queue("$SYS.>")  # this account receives nothing there
        await queue.flush()
        assert queue.is_connected()


# ---------------------------------------------------------------------- limits


@pytest.mark.parametrize("length", [4071, 5000])
def test_a_namespace_that_leaves_no_room_for_a_subject_is_refused(length: int) -> None:
    for facade in (NASQueue, BlockingNASQueue):
        with pytest.raises(InvalidSubjectError, match="leaves no room for a subject"):
            facade(namespace="n" * length)


async def test_a_subject_that_is_too_long_is_refused_by_the_call(kit: Kit) -> None:
    namespace = "n" * 4000
    async with kit.queue(namespace=namespace) as queue:
        await queue.subscribe_and_queue("a")
        await queue.push("a", "x")
        long = "s" * 100
        for call in (
            lambda: queue.push(long, "x"),
            lambda: queue.push(long, "x", {"a": "b"}),
            lambda: queue.push_many(long, ["x"] * 100),
            lambda: queue.publish(long, "x"),
            lambda: queue.publish("a", "x", reply_to=long),
            lambda: queue.request(long, "x"),
            lambda: queue.subscribe_and_queue(long),
            lambda: queue.subscribe_and_queue("b", queue_group=long),
        ):
            with pytest.raises(InvalidSubjectError, match="too long"):
                await call()
        await queue.flush()
        assert queue.is_connected()
        assert queue.stats().reconnects == 0
        message = await queue.pop(timeout=10.0)
        assert message is not None
        assert message.subject == "a"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "localhost:4222"}, "port=4222"),
        ({"host": "h", "servers": ["nats://a"]}, "not both"),
        ({"port": 7, "servers": ["nats://a"]}, "not both"),
        ({"port": True}, "port must be an int"),
        ({"max_messages": True}, "max_messages"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidOptionError, TypeError), match=message):
        NASQueue(**options)
    NASQueue("::1")


# ---------------------------------------------------------------------- docstrings


METHODS = [name for name in vars(BlockingNASQueue) if name[0] != "_"]


@pytest.mark.parametrize("name", METHODS)
def test_the_blocking_methods_have_their_own_docstrings(name: str) -> None:
    mine = inspect.getdoc(getattr(BlockingNASQueue, name)) or ""
    theirs = inspect.getdoc(getattr(NASQueue, name)) or ""
    assert "See `" not in mine
    assert mine.splitlines()[0] == theirs.splitlines()[0]
    assert "event loop" not in mine
