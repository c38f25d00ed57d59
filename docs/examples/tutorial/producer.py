import asyncio

from nasq import NASQueue


async def main() -> None:
    async with NASQueue("localhost", 4222, namespace="shop") as queue:
        for number in range(1, 7):
            await queue.publish("orders.new", {"id": number})
        await queue.flush()
        print("the server has all orders")


asyncio.run(main())
