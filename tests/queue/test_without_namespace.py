"""A queue without a namespace: its subjects have no prefix."""

from __future__ import annotations

from tests.conftest import Kit


async def test_it_receives_from_every_namespace(kit: Kit) -> None:
    async with kit.queue(namespace=None) as all_of_them, kit.queue() as one:
        await all_of_them.subscribe_and_queue(f"{kit.namespace}.>")
        await one.publish("orders.new", b"1")
        message = await all_of_them.pop(timeout=10.0)
        assert message is not None
        assert message.subject == f"{kit.namespace}.orders.new"


async def test_it_sends_to_every_namespace(kit: Kit) -> None:
    async with kit.queue(namespace=None) as all_of_them, kit.queue() as one:
        await one.subscribe_and_queue("orders.*")
        await all_of_them.push(f"{kit.namespace}.orders.new", b"1")
        message = await one.pop(timeout=10.0)
        assert message is not None
        assert message.subject == "orders.new"


async def test_a_subject_can_be_one_token(kit: Kit) -> None:
    async with kit.queue(namespace=None) as queue:
        await queue.subscribe_and_queue(kit.namespace)
        await queue.push(kit.namespace, b"1")
        message = await queue.pop(timeout=10.0)
        assert message is not None
        assert message.subject == kit.namespace
        assert await queue.pop() is None
