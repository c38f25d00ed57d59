import asyncio

from nasq import NASQueue


async def main() -> None:
    async with NASQueue("localhost", 4222, namespace="shop") as queue:
        await queue.subscribe_and_queue("orders.*")
        print("ready")
        async for message in queue:
            print("got", message.subject, message.json())


asyncio.run(main())
