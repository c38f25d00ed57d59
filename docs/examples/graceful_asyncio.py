"""A worker on asyncio that stops cleanly at SIGTERM and Ctrl-C.

    python graceful_asyncio.py localhost 4222

It finishes the messages that it has already received. Later ones go to the other workers of its
group.
"""

import asyncio
import signal
import sys

from nasq import Message, NASQueue


async def work(message: Message) -> None:
    await asyncio.sleep(0.001)  # your work
    print("done", message.text, flush=True)


async def drain_when_told(told: asyncio.Event, queue: NASQueue) -> None:
    await told.wait()
    try:
        # Ends the subscriptions, receives what is on its way, disconnects.
        await queue.drain()
    except ConnectionError:
        # There is no connection right now, so nothing is on its way.
        await queue.disconnect()


async def main(host: str, port: int) -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    async with NASQueue(host, port, namespace="shop") as queue, asyncio.TaskGroup() as group:
        group.create_task(drain_when_told(told, queue))
        await queue.subscribe_and_queue("orders", queue_group="workers")
        print("ready", flush=True)
        # Ends when the queue is drained and empty.
        async for message in queue:
            await work(message)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
