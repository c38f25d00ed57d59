"""Users whose permissions allow each of them its own inboxes only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nasq import InvalidOptionError, NASQueue, PermissionsViolationError
from nasq.server import LocalServer
from tests.conftest import Kit

USER = """{{ user: {name}, password: p, permissions: {{
    publish: ["shop.>", "_INBOX_{name}.>"], subscribe: ["shop.>", "_INBOX_{name}.>"] }} }}"""
CONFIG = f"""authorization {{ users = [
    {USER.format(name="alice")}, {USER.format(name="bob")}, {{ user: root, password: p }} ] }}"""


@pytest.fixture(scope="module")
def private() -> Iterator[LocalServer]:
    with LocalServer(config=CONFIG, jetstream=False) as server:
        yield server


def queue_of(kit: Kit, server: LocalServer, user: str, prefix: str) -> NASQueue:
    return kit.queue(
        port=server.port, user=user, password="p", namespace="shop", inbox_prefix=prefix
    )


async def test_a_request_uses_the_inbox_that_the_user_may_use(
    kit: Kit, private: LocalServer
) -> None:
    async with (
        queue_of(kit, private, "alice", "_INBOX_alice") as alice,
        queue_of(kit, private, "root", "_INBOX") as service,
    ):
        await service.subscribe_and_queue("price")

        async def answer() -> None:
            message = await service.pop(timeout=20.0)
            assert message is not None
            assert message.reply_to is not None
            assert message.reply_to.startswith("_INBOX_alice.")
            await service.respond(message, "7")
            await service.flush()

        async def ask() -> None:
            reply = await alice.request("price", "apple", timeout=20.0)
            assert reply.text == "7"

        await kit.gather(ask, answer)


async def test_the_inboxes_of_others_are_refused(kit: Kit, private: LocalServer) -> None:
    for prefix in ("_INBOX", "_INBOX_bob"):
        async with queue_of(kit, private, "alice", prefix) as alice:
            with pytest.raises(PermissionsViolationError, match=prefix):
                await alice.request("price", "apple", timeout=20.0)


async def test_replies_may_go_to_an_inbox_with_either_prefix(
    kit: Kit, private: LocalServer
) -> None:
    async with (
        queue_of(kit, private, "root", "_INBOX_root.eu") as queue,
        queue_of(kit, private, "bob", "_INBOX_bob") as bob,
    ):
        await queue.subscribe_and_queue("a")
        for reply, seen in (
            ("_INBOX_root.eu.1", "_INBOX_root.eu.1"),
            ("_INBOX.1", "_INBOX.1"),
            ("_INBOX_bob.1", "_INBOX_bob.1"),  # in the namespace, so its prefix is removed again
        ):
            await queue.publish("a", "x", reply_to=reply)
            message = await queue.pop(timeout=20.0)
            assert message is not None
            assert message.reply_to == seen
        await bob.publish("a", "x", reply_to="_INBOX_bob.1")
        message = await queue.pop(timeout=20.0)
        assert message is not None
        assert message.reply_to == "_INBOX_bob.1"


@pytest.mark.parametrize("prefix", ["", ".a", "a.", "a..b", "a b", "a.*", ">"])
def test_a_prefix_must_be_a_subject(prefix: str) -> None:
    with pytest.raises(InvalidOptionError, match="inbox_prefix"):
        NASQueue(inbox_prefix=prefix)


def test_a_prefix_must_leave_room_in_each_request() -> None:
    with pytest.raises(InvalidOptionError, match="at most 128 bytes"):
        NASQueue(inbox_prefix="x" * 300)
    with pytest.raises(TypeError, match="inbox_prefix"):
        NASQueue(inbox_prefix=None)  # type: ignore[arg-type]  # that is what is tested
