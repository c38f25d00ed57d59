import trio

from nasq import NASQueue


async def worker(queue: NASQueue, done: list[str]) -> None:
    async for message in queue:
        await trio.sleep(0.01)  # your work
        done.append(message.text)


async def main() -> None:
    done: list[str] = []
    async with NASQueue("localhost", 4222, namespace="shop") as queue:
        await queue.subscribe_and_queue("jobs", queue_group="workers")
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(worker, queue, done)
            for number in range(30):
                await queue.push("jobs", f"job {number}")
            await queue.drain()  # the workers' loops end when the local queue is empty
    print(len(done), "jobs done")


trio.run(main)
