import sys

import anyio

from nasq import NASQueue


async def worker(queue: NASQueue, done: list[str]) -> None:
    async for message in queue:
        await anyio.sleep(0.01)  # your work
        done.append(message.text)


async def main() -> None:
    done: list[str] = []
    async with NASQueue("localhost", 4222, namespace="shop") as queue:
        await queue.subscribe_and_queue("jobs", queue_group="workers")
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(worker, queue, done)
            for number in range(30):
                await queue.push("jobs", f"job {number}")
            await queue.drain()  # the workers' loops end when the local queue is empty
    print(len(done), "jobs done")


anyio.run(main, backend=sys.argv[1])
