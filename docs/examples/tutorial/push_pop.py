import asyncio

from nasq import NASQueue


async def main() -> None:
    async with NASQueue("localhost", 4222, namespace="shop") as queue:
        await queue.push("orders.new", "a pot of tea")
        await queue.push("orders.new", {"item": "cup", "count": 2})
        print("in the queue:", queue.queue_size())

        message = await queue.pop()
        assert message is not None
        print(message.subject, message.text)

        message = await queue.pop()
        assert message is not None
        print(message.subject, message.json()["count"])

        print(await queue.pop(timeout=0.5))


asyncio.run(main())
