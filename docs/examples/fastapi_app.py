"""A web application that takes orders, and works on them in the background.

uvicorn fastapi_app:app
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel

from nasq import NASQueue

done: list[int] = []


async def consume(queue: NASQueue) -> None:
    async for message in queue:
        try:
            order = message.json()
            await asyncio.sleep(0.01)  # your work
            done.append(order["id"])
        except Exception as error:  # one bad message must not end the consumer
            print("failed:", message, repr(error))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    server = os.environ.get("NATS_URL", "nats://localhost:4222")
    async with NASQueue(servers=[server], namespace="shop", wait_for_server=30.0) as queue:
        await queue.subscribe_and_queue("orders.new", queue_group="web")
        app.state.queue = queue
        consumer = asyncio.create_task(consume(queue))
        yield
        await queue.unsubscribe()  # no new orders
        await queue.disconnect()
        await consumer  # which finishes the orders that are already here


app = FastAPI(lifespan=lifespan)


def get_queue(request: Request) -> NASQueue:
    queue: NASQueue = request.app.state.queue
    return queue


Queue = Annotated[NASQueue, Depends(get_queue)]


class Order(BaseModel):
    id: int
    item: str


@app.post("/orders", status_code=202)
async def create_order(order: Order, queue: Queue) -> dict[str, int]:
    await queue.publish("orders.new", order.model_dump())
    return {"accepted": order.id}


@app.get("/orders/done")
async def get_done() -> list[int]:
    return done


@app.get("/health")
async def get_health(queue: Queue) -> dict[str, object]:
    return {"connected": queue.is_connected(), "waiting": queue.queue_size()}
