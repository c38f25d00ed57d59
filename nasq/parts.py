"""The parts of a queue, put together."""

from __future__ import annotations

from contextlib import AbstractContextManager

from nasq_proto import Subscription

from .lifetime import weak_method
from .namespace import Namespace
from .options import AsyncQueueOptions, client_options, event_callback, local_inbox, seconds_of
from .receiver import Receiver
from .routes import Routes
from .sender import Sender
from .session import Session

__all__ = ["Parts"]


class Parts:
    """The parts of a queue. A BlockingNASQueue shares them with the NASQueue inside it.

    Args:
        host, port, namespace, options: as for `NASQueue`.
        kind: the name of the class that callers use.
        lock: held while the parts are used, if several threads may use them.
        pop_lock: held instead of `lock` while messages are popped from an unbounded local queue.
    """

    def __init__(
        self,
        host: str,
        port: int,
        namespace: str | None,
        options: AsyncQueueOptions,
        *,
        kind: str,
        lock: AbstractContextManager[object] | None = None,
        pop_lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self.kind = kind
        self.session = Session(
            client_options(host, port, options),
            transport=options["transport"],
            wait_for_server=seconds_of(options["wait_for_server"], "wait_for_server"),
            on_event=event_callback(options["on_event"]),
        )
        self.namespace = Namespace(namespace, options["inbox_prefix"])
        client = self.session.client
        self.inbox = local_inbox(options)
        self.inbox.on_room = weak_method(self.session.kick)
        client.watch(self.inbox)
        self.subscriptions: dict[int, Subscription] = {}
        self.routes = Routes(client, self.namespace, self.subscriptions)
        self.sender = Sender(self.session, self.inbox, self.routes)
        # Popping from a bounded queue makes room, which concerns the calls that push.
        popping = lock if self.inbox.bounded else pop_lock
        self.receiver = Receiver(self.session, self.inbox, self.namespace, popping)
