"""Queue groups share messages between workers. Namespaces separate them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from nasq import BlockingNASQueue, InvalidSubjectError, NASQueue
from nasq.namespace import Namespace
from nasq.server import LocalServer
from tests.conftest import BACKENDS, Kit


def test_three_workers_on_three_transports_share_3000_messages(
    server: LocalServer,
) -> None:
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    kits = [Kit(backend, server) for backend in BACKENDS]
    for kit in kits:
        kit.namespace = kits[0].namespace
    ready = Barrier(len(kits) + 1)

    def worker(kit: Kit) -> list[int]:
        async def body() -> list[int]:
            async with kit.queue() as queue:
                await queue.subscribe_and_queue("jobs", queue_group="workers")
                ready.wait(10)
                done: list[int] = []
                while (message := await queue.pop(timeout=1.0)) is not None:
                    done.append(message.json())
                return done

        return kit.run(body)

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(worker, kit) for kit in kits]
        ready.wait(10)
        with BlockingNASQueue(server.host, server.port, namespace=kits[0].namespace) as producer:
            producer.push_many("jobs", range(3000))
            producer.flush()
            producer.clear_queue()
        shares = [future.result() for future in futures]
    assert sorted(job for share in shares for job in share) == list(range(3000))
    assert all(share == sorted(share) for share in shares), "messages are out of order"
    assert all(len(share) > 300 for share in shares), "a worker received too few messages"


@pytest.mark.parametrize("subject", ["b.a.c", "a.c", "a", "a.a.a", "b"])
def test_the_namespace_is_removed_from_a_subject_once(subject: str) -> None:
    namespace = Namespace("a")
    assert namespace.qualify(subject) == "a." + subject
    assert namespace.shorten("a." + subject) == subject


def test_a_subject_outside_the_namespace_is_not_shortened() -> None:
    for subject in ("b.a.c", "ab.c", "_INBOX.a.b"):
        assert Namespace("a").shorten(subject) == subject


def test_only_inbox_subjects_are_outside_of_every_namespace() -> None:
    namespace = Namespace("shop")
    assert namespace.qualify_reply("_INBOX.x") == "_INBOX.x"
    for reply in ("_INBOXES.x", "_INBOX", "_inbox.x", "x._INBOX.y", "INBOX.x"):
        assert namespace.qualify_reply(reply) == "shop." + reply


@pytest.mark.parametrize(
    "mark", [" ", "\t", "\r", "\n", "\v", "\f", "\0", "\ud800", "\udcc3\udcbc"]
)
def test_a_namespace_contains_no_whitespace_nul_or_lone_surrogate(mark: str) -> None:
    with pytest.raises(InvalidSubjectError, match="namespace"):
        Namespace(f"a{mark}b")


@pytest.mark.parametrize("pattern", ["orders", "*", ">"])
async def test_a_namespace_never_receives_messages_of_another(kit: Kit, pattern: str) -> None:
    names = [kit.namespace + suffix for suffix in ("a", "b", "ab")]
    async with (
        kit.queue(namespace=names[0]) as first,
        kit.queue(namespace=names[1]) as second,
        kit.queue(namespace=names[2]) as third,
    ):
        queues = [first, second, third]
        for queue in queues:
            await queue.subscribe_and_queue(pattern)
        for name, queue in zip(names, queues, strict=True):
            await queue.push("orders", name)
        for queue in queues * 2:
            await queue.flush()
        for name, queue in zip(names, queues, strict=True):
            assert [m.text for m in await queue.pop_many(10)] == [name]


async def test_namespaces_form_a_tree(kit: Kit) -> None:
    async with (
        kit.queue(namespace=f"{kit.namespace}.shop") as shop,
        kit.queue(namespace=f"{kit.namespace}.shop.eu") as europe,
    ):
        await shop.subscribe_and_queue(">")
        await europe.subscribe_and_queue(">")
        await europe.push("orders", "1")
        message = await shop.pop(timeout=5.0)
        assert message is not None
        assert message.subject == "eu.orders"
        await shop.push("orders", "2")
        await shop.flush()
        await europe.flush()
        assert europe.queue_size() == 1


@pytest.mark.parametrize(
    "name", ["", "a b", "a.*", ">", ".a", "a.", "a..b", "$SYS", "$JS.API", "a\n"]
)
def test_an_invalid_namespace_is_refused_by_the_constructor(name: str) -> None:
    for make in (NASQueue, BlockingNASQueue):
        with pytest.raises(InvalidSubjectError, match="namespace"):
            make(namespace=name)


async def test_a_worker_that_pushes_to_its_own_group_receives_no_job_twice(kit: Kit) -> None:
    async with kit.queue() as first, kit.queue() as second:
        seen: list[int] = []

        def worker(queue: NASQueue) -> Callable[[], Awaitable[None]]:
            async def body() -> None:
                while (message := await queue.pop(timeout=0.5)) is not None:
                    job = message.json()
                    seen.append(job)
                    if job < 200:
                        await queue.push("jobs", job + 2)

            return body

        for queue in (first, second):
            await queue.subscribe_and_queue("jobs", queue_group="workers")
        await first.push("jobs", 0)
        await second.push("jobs", 1)
        await kit.gather(worker(first), worker(second))
        assert sorted(seen) == list(range(202))
