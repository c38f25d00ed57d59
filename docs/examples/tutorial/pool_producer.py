import asyncio
import sys

from nasq import ConnectionLostError, NASQueue, NoRespondersError, OperationTimeoutError


async def order_until_done(queue: NASQueue, number: int) -> None:
    while True:
        try:
            reply = await queue.request("orders.new", {"id": number}, timeout=3.0)
        except (NoRespondersError, OperationTimeoutError, ConnectionLostError) as error:
            print(f"order {number}: {type(error).__name__}, trying again")
            await asyncio.sleep(0.5)
        else:
            print(f"order {number}: {reply.text}")
            return


async def main(count: int) -> None:
    queue = NASQueue("localhost", 4222, namespace="shop", on_event=print, wait_for_server=60.0)
    async with queue, asyncio.TaskGroup() as group:
        for number in range(1, count + 1):
            group.create_task(order_until_done(queue, number))
            await asyncio.sleep(0.1)
    print("all orders are done")


asyncio.run(main(int(sys.argv[1])))
