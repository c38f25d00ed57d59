"""The code under test."""

from collections.abc import Awaitable, Callable

from nasq import ConnectionLostError, Message, NASQueue, NoRespondersError, OperationTimeoutError

TRIES = 3
Sleep = Callable[[float], Awaitable[None]]


def total(message: Message) -> float:
    order = message.json()
    return float(order["price"] * order["count"])


async def place_order(queue: NASQueue, order: dict[str, float], sleep: Sleep) -> str | None:
    """Ask the workers to do the order. None: they did not answer, three times."""
    for attempt in range(TRIES):
        try:
            reply = await queue.request("orders", order, timeout=5.0)
        except (NoRespondersError, OperationTimeoutError, ConnectionLostError):
            await sleep(2.0**attempt)
        else:
            return reply.text
    return None


async def work(queue: NASQueue) -> None:
    """Do orders until the queue is disconnected. The caller has subscribed to them."""
    async for message in queue:
        await queue.respond(message, f"{total(message):.2f} paid")
