import asyncio
import sys

from nasq import NASQueue


async def main(name: str) -> None:
    queue = NASQueue("localhost", 4222, namespace="shop", on_event=print)
    async with queue:
        await queue.subscribe_and_queue("orders.*", queue_group="workers")
        print(name, "is ready")
        async for message in queue:
            await asyncio.sleep(0.1)  # your work
            print(name, "has done order", message.json()["id"])


asyncio.run(main(sys.argv[1]))
