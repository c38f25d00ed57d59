"""A worker on trio that stops cleanly at SIGTERM and Ctrl-C.

    python graceful_trio.py localhost 4222

It finishes the messages that it has already received. Later ones go to the other workers of its
group.
"""

import signal
import sys

import trio

from nasq import Message, NASQueue


async def work(message: Message) -> None:
    await trio.sleep(0.001)  # your work
    print("done", message.text, flush=True)


async def drain_when_told(
    queue: NASQueue, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            try:
                # Ends the subscriptions, receives what is on its way, disconnects.
                await queue.drain()
            except ConnectionError:
                # There is no connection right now, so nothing is on its way.
                await queue.disconnect()
            return


async def main(host: str, port: int) -> None:
    async with NASQueue(host, port, namespace="shop") as queue, trio.open_nursery() as nursery:
        await nursery.start(drain_when_told, queue)
        await queue.subscribe_and_queue("orders", queue_group="workers")
        print("ready", flush=True)
        # Ends when the queue is drained and empty.
        async for message in queue:
            await work(message)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
