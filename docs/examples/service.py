"""A service that knows prices. Start as many instances as you need: they share the requests."""

import asyncio
import signal
import sys

from nasq import Message, NASQueue

PRICES = {"tea": 4.5, "cup": 12.0}


async def answer(message: Message) -> dict[str, object]:
    try:
        await asyncio.sleep(0.01)  # your work, a database for instance
        return {"price": PRICES[message.json()["item"]]}
    except Exception as error:  # a bad request must not end the service
        return {"error": repr(error)}


async def handle(queue: NASQueue, message: Message, name: str) -> None:
    if message.reply_to is not None:  # None: published, so nobody waits for an answer
        await queue.respond(message, await answer(message), headers={"Served-By": name})


async def main(name: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    queue = NASQueue("localhost", 4222, namespace="shop", wait_for_server=60.0)
    # Left from the right to the left: first all requests are answered, then the queue disconnects.
    async with queue, asyncio.TaskGroup() as requests:
        await queue.subscribe_and_queue("prices", queue_group="prices")
        print(name, "is ready")
        while not stop.is_set():
            message = await queue.pop(timeout=0.2)
            if message is not None:
                requests.create_task(handle(queue, message, name))

        await queue.unsubscribe()  # the other instances get the new requests
        while (message := await queue.pop()) is not None:
            requests.create_task(handle(queue, message, name))


asyncio.run(main(sys.argv[1]))
