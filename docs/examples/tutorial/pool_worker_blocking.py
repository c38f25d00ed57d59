import signal
import sys
import threading
import time

from nasq import BlockingNASQueue, Message

stop = threading.Event()


def work(queue: BlockingNASQueue, message: Message, name: str) -> None:
    order = message.json()
    time.sleep(0.1)  # your work
    print(name, "has done order", order["id"])
    if message.reply_to is not None:  # None: the sender wants no answer
        queue.respond(message, f"done by {name}")


def main(name: str) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    queue = BlockingNASQueue(
        "localhost", 4222, namespace="shop", on_event=print, wait_for_server=60.0
    )
    with queue:
        queue.subscribe_and_queue("orders.*", queue_group="workers")
        print(name, "is ready")
        while not stop.is_set():
            message = queue.pop(timeout=0.2)
            if message is not None:
                work(queue, message, name)

        queue.unsubscribe()  # from now on, the other workers get the orders
        while (message := queue.pop()) is not None:
            work(queue, message, name)  # what this one had already received
    print(name, "has stopped")


main(sys.argv[1])
