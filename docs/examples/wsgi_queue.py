"""One queue for each process, made when it is first used: after the server has forked."""

import atexit
import os
import threading

from nasq import BlockingNASQueue

SERVER = os.environ.get("NATS_URL", "nats://localhost:4222")
_lock = threading.Lock()
_queue: BlockingNASQueue | None = None
_made_in = 0


def get_queue() -> BlockingNASQueue:
    """Return the queue of this process. All its threads share it."""
    global _queue, _made_in
    with _lock:
        if _queue is None or _made_in != os.getpid():
            queue = BlockingNASQueue(servers=[SERVER], namespace="shop")
            if not queue.connect():
                raise ConnectionError(f"no NATS server at {SERVER}: {queue.last_error}")
            atexit.register(queue.disconnect)
            _queue, _made_in = queue, os.getpid()
        return _queue
