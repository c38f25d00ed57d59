"""Subscriptions, wildcards, queue groups and namespaces."""

from __future__ import annotations

from .stage import Actor, Stage, each, scenario

SUBJECTS = ["a", "a.b", "a.b.c", "b", "b.a"]


async def publish_to_each(queue: Actor, listener: Actor) -> None:
    """Publish to each subject, and pop what `listener` receives."""
    for subject in SUBJECTS:
        await queue.raw.publish(subject, subject)
    await queue.raw.flush()
    await listener.raw.flush()
    await listener.pop_many(100)


@each({pattern: pattern for pattern in ("a", "*", ">", "a.*", "a.>", "*.b.*", "*.*", "c.>")})
async def a_pattern_receives(stage: Stage, pattern: str) -> None:
    queue, other = await stage.connected(), await stage.connected("other")
    await queue.subscribe_and_queue(pattern)
    await publish_to_each(other, queue)


@each({"none": [], "its subject": ["a.b"], "a star": ["a.*"], "the rest": [">"], "other": ["c"]})
async def a_pushed_message_is_in_this_queue_once(stage: Stage, patterns: list[str]) -> None:
    queue = await stage.connected()
    for pattern in patterns:
        await queue.subscribe_and_queue(pattern)
    await queue.push("a.b", "once")
    await queue.flush()
    await queue.pop_many(10)
    queue.stats()


@scenario
async def overlapping_subscriptions_get_a_copy_each(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.subscribe_and_queue("a.b")
    await queue.subscribe_and_queue("a.*")
    await queue.subscribe_and_queue("a.b")
    await queue.push("a.b", "thrice")
    await queue.flush()
    await queue.pop_many(10)


@scenario
async def unsubscribing_from_one_of_two(stage: Stage) -> None:
    queue, other = await stage.connected(), await stage.connected("other")
    sid = await queue.subscribe_and_queue("a")
    await queue.subscribe_and_queue("b")
    await queue.unsubscribe(sid)
    await publish_to_each(other, queue)
    await queue.unsubscribe(sid)


@scenario
async def unsubscribing_from_everything(stage: Stage) -> None:
    queue, other = await stage.connected(), await stage.connected("other")
    await queue.subscribe_and_queue("a")
    await queue.subscribe_and_queue(">", queue_group="g")
    await queue.unsubscribe()
    await publish_to_each(other, queue)
    await queue.unsubscribe()


@scenario
async def messages_queued_before_unsubscribing_stay(stage: Stage) -> None:
    queue = await stage.connected()
    sid = await queue.subscribe_and_queue("a")
    await queue.push("a", "brought back")
    await queue.unsubscribe(sid)
    await queue.push("a", "kept here")
    await queue.flush()
    await queue.pop_many(10)


@scenario
async def unsubscribing_from_an_unknown_sid(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.unsubscribe(99)
    await queue.subscribe_and_queue("a")
    await queue.unsubscribe(99)
    await queue.unsubscribe("a")


@scenario
async def subscribing_again_after_unsubscribing(stage: Stage) -> None:
    queue = await stage.connected()
    for n in range(3):
        sid = await queue.subscribe_and_queue("a")
        await queue.push("a", n)
        await queue.flush()
        await queue.pop()
        await queue.unsubscribe(sid)


@scenario
async def one_member_of_a_group_gets_each_message(stage: Stage) -> None:
    members = [await stage.connected(f"member {n}") for n in range(3)]
    for member in members:
        member.shares = True
        await member.subscribe_and_queue("jobs", queue_group="workers")
    other = await stage.connected("other")
    await other.raw.push_many("jobs", range(60))
    await other.flush()
    taken = []
    for member in members:
        await member.flush()
        taken += [message.json() for message in await member.raw.pop_many(100)]
    stage.show("each job once", lambda: sorted(taken) == list(range(60)))


@scenario
async def a_group_of_one_gets_everything(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.subscribe_and_queue("a", queue_group="g")
    await queue.push_many("a", [1, 2, 3])
    await queue.flush()
    await queue.pop_many(10)


@scenario
async def a_group_beside_a_plain_subscriber(stage: Stage) -> None:
    queue, other = await stage.connected(), await stage.connected("other")
    await queue.subscribe_and_queue("a", queue_group="g")
    await other.subscribe_and_queue("a")
    await queue.push("a", "to both")
    await queue.flush()
    await other.flush()
    await queue.pop_many(10)
    await other.pop_many(10)


@scenario
async def two_groups_get_a_copy_each(stage: Stage) -> None:
    queue, other = await stage.connected(), await stage.connected("other")
    await queue.subscribe_and_queue("a", queue_group="one")
    await other.subscribe_and_queue("a", queue_group="two")
    await queue.publish("a", "to both")
    await queue.flush()
    await other.flush()
    await queue.pop_many(10)
    await other.pop_many(10)


@scenario
async def namespaces_are_separate(stage: Stage) -> None:
    shop = await stage.connected("shop", namespace="shop")
    bank = await stage.connected("bank", namespace="bank")
    await bank.subscribe_and_queue(">")
    await shop.subscribe_and_queue(">")
    await shop.push("a", "for the shop")
    await shop.flush()
    await bank.flush()
    await shop.pop_many(10)
    await bank.pop_many(10)
    shop.get_namespace()


@scenario
async def a_namespace_contains_those_below_it(stage: Stage) -> None:
    shop = await stage.connected("shop", namespace="tree.shop")
    europe = await stage.connected("europe", namespace="tree.shop.eu")
    await shop.subscribe_and_queue(">")
    await europe.subscribe_and_queue(">")
    await europe.push("orders", "from below")
    await europe.flush()
    await shop.push("eu.orders", "from above")
    await shop.flush()
    await europe.flush()
    await shop.pop_many(10)
    await europe.pop_many(10)
