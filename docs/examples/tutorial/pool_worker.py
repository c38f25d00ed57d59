import asyncio
import signal
import sys

from nasq import Message, NASQueue


async def work(queue: NASQueue, message: Message, name: str) -> None:
    order = message.json()
    await asyncio.sleep(0.1)  # your work
    print(name, "has done order", order["id"])
    if message.reply_to is not None:  # None: the sender wants no answer
        await queue.respond(message, f"done by {name}")


async def main(name: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    queue = NASQueue("localhost", 4222, namespace="shop", on_event=print, wait_for_server=60.0)
    async with queue:
        await queue.subscribe_and_queue("orders.*", queue_group="workers")
        print(name, "is ready")
        while not stop.is_set():
            message = await queue.pop(timeout=0.2)
            if message is not None:
                await work(queue, message, name)

        await queue.unsubscribe()  # from now on, the other workers get the orders
        while (message := await queue.pop()) is not None:
            await work(queue, message, name)  # what this one had already received
    print(name, "has stopped")


asyncio.run(main(sys.argv[1]))
