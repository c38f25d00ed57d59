"""A worker without an event loop that stops cleanly at SIGTERM and Ctrl-C.

    python graceful_blocking.py localhost 4222

It finishes the messages that it has already received. Later ones go to the other workers of its
group.
"""

import signal
import sys
import threading
import time

from nasq import BlockingNASQueue, Message


def work(message: Message) -> None:
    time.sleep(0.001)  # your work
    print("done", message.text, flush=True)


def drain(queue: BlockingNASQueue) -> None:
    try:
        # Ends the subscriptions, receives what is on its way, disconnects.
        queue.drain()
    except ConnectionError:
        # There is no connection right now, so nothing is on its way.
        queue.disconnect()


def main(host: str, port: int) -> None:
    with BlockingNASQueue(host, port, namespace="shop") as queue:

        def told(*_: object) -> None:
            # A signal interrupts the main thread anywhere, even inside a call of this queue.
            # drain() would have to wait for that call, so it runs in another thread.
            threading.Thread(target=drain, args=[queue]).start()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, told)
        queue.subscribe_and_queue("orders", queue_group="workers")
        print("ready", flush=True)
        # Ends when the queue is drained and empty.
        for message in queue:
            work(message)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
