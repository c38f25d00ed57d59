import asyncio

from nasq import NASQueue, NoRespondersError, OperationTimeoutError


async def ask(queue: NASQueue, subject: str, item: str) -> str:
    try:
        reply = await queue.request(subject, {"item": item}, timeout=1.0)
    except NoRespondersError:
        return "nobody offers this service"
    except OperationTimeoutError:
        return "no answer in time"
    return reply.text


async def main() -> None:
    async with NASQueue("localhost", 4222, namespace="shop") as queue:
        print(await ask(queue, "prices", "tea"))
        print(await ask(queue, "prices", "unicorn"))
        print(await ask(queue, "horoscopes", "tea"))

        # Many requests may wait at the same time, over one connection.
        items = ["tea", "cup"] * 50
        answers = await asyncio.gather(*(ask(queue, "prices", item) for item in items))
        print(len(answers), "answers,", answers.count('{"price": 12.0}'), "for cups")


asyncio.run(main())
