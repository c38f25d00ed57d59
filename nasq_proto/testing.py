"""A NATS server and a network without I/O, for tests: deterministic, on a virtual clock.

`Broker` is a server built on `Connection(Role.SERVER)`: subjects, wildcards, queue groups,
headers, no responders, refusals. `Link` is the network between a `Client` and a broker, and the
client's clock. It can cut chunks, delay them, break connections, refuse them and lose bytes. With
`session.say(b"...")` a test can send any bytes as the server, for instance those of a hostile one.

    >>> import random
    >>> from nasq_proto import Client, ClientOptions, Inbox, Server
    >>> client = Client(ClientOptions([Server("a", 1)]), rng=random.Random(1))
    >>> link, inbox = Link(client, Broker()), Inbox()
    >>> opened = client.open(link.now)
    >>> link.pump()
    >>> sub = client.subscribe("greetings", None, inbox.deliver)
    >>> client.publish("greetings", b"hello")
    False
    >>> link.pump()
    >>> inbox.items[0][1]
    b'hello'
"""

from __future__ import annotations

import random
from bisect import insort
from collections import deque
from collections.abc import Callable
from typing import Any

from .actions import CloseTransport, NeedCredentials, OpenTransport, StartTLS
from .client import Client
from .connection import Connection
from .decoder import Role
from .events import (
    Connect,
    Err,
    Event,
    Info,
    Msg,
    Ping,
    Pong,
    ProtocolFailed,
    Pub,
    Sub,
    Unsub,
)
from .headers import encode_headers
from .limits import DEFAULT_MAX_PAYLOAD
from .servers import Server
from .states import ClientState, ConnectionState
from .subjects import subject_matches

__all__ = ["Broker", "Link", "ServerSession"]


class Broker:
    """A NATS server without I/O. It routes messages between its sessions as nats-server does.

    Args:
        info: fields of INFO that differ from the default ones.
        users: user to password; None: credentials are not required.
        deny_publish, deny_subscribe: patterns that are refused with a permissions violation.
        max_subscriptions: the limit for one session; None: no limit.
        rng: picks the member of a queue group.
        record: keep every event of a client in `received` of its session. It grows without limit.

    Attributes:
        sessions: every open session, oldest first.
        script: called with each new session before it sends INFO; return True to send nothing.
    """

    def __init__(
        self,
        *,
        info: dict[str, Any] | None = None,
        users: dict[str, str] | None = None,
        deny_publish: tuple[str, ...] = (),
        deny_subscribe: tuple[str, ...] = (),
        max_subscriptions: int | None = None,
        rng: random.Random | None = None,
        record: bool = True,
    ) -> None:
        self.info: dict[str, Any] = {
            "server_id": "MEMORY",
            "server_name": "memory",
            "version": "2.12.0",
            "proto": 1,
            "headers": True,
            "max_payload": DEFAULT_MAX_PAYLOAD,
            "auth_required": users is not None,
            **(info or {}),
        }
        self.users = users
        self.record = record
        self.deny_publish = deny_publish
        self.deny_subscribe = deny_subscribe
        self.max_subscriptions = max_subscriptions
        self.sessions: list[ServerSession] = []
        self.script: Callable[[ServerSession], bool] | None = None
        self._rng = rng or random.Random(0)

    def accept(self) -> ServerSession:
        """Accept a client, and return its session."""
        session = ServerSession(self)
        self.sessions.append(session)
        if self.script is None or not self.script(session):
            session.say(Info(self.info))
        return session

    def route(self, pub: Pub, source: ServerSession) -> None:
        """Deliver a message to each subscriber without a group, and to a member of each group."""
        groups: dict[tuple[str, str], list[tuple[ServerSession, Sub]]] = {}
        delivered = False
        for session in list(self.sessions):
            for sub in list(session.subs.values()):
                if not subject_matches(sub.subject, pub.subject):
                    continue
                if sub.queue_group is not None:
                    members = groups.setdefault((sub.subject, sub.queue_group), [])
                    members.append((session, sub))
                else:
                    session.deliver(sub, pub)
                    delivered = True
        for members in groups.values():
            session, sub = self._rng.choice(members)
            session.deliver(sub, pub)
            delivered = True
        if not delivered and pub.reply is not None and source.options.get("no_responders"):
            block = encode_headers({}, status="503")
            self.route(Pub(pub.reply, b"", None, block), source)


class ServerSession:
    """One client of a `Broker`.

    Attributes:
        received: every event that the client sent, in order, if the broker's `record` is set.
        options: the fields of its CONNECT.
        subs: its subscriptions by sid.
        closed: whether the session has ended.
        mute: when set, it receives everything and answers nothing.
    """

    def __init__(self, broker: Broker) -> None:
        self.received: list[Event] = []
        self.options: dict[str, Any] = {}
        self.subs: dict[str, Sub] = {}
        self.closed = False
        self.mute = False
        self._broker = broker
        self._connection = Connection(Role.SERVER)
        # By sid: how many messages were sent, and after how many the subscription ends.
        self._sent: dict[str, int] = {}
        self._most: dict[str, int] = {}
        self._out: list[bytes] = []

    def say(self, what: Event | bytes) -> None:
        """Send an event, or raw bytes of any kind."""
        if isinstance(what, bytes):
            self._out.append(what)
        elif self._connection.state is not ConnectionState.CLOSED:
            self._connection.send(what)
            self._out.append(self._connection.data_to_send())

    def refuse(self, text: str) -> None:
        """Send -ERR and close the connection."""
        self.say(Err(text))
        self.close()

    def close(self) -> None:
        """Close the connection, after sending what was passed to `say` before."""
        self.closed = True
        if self in self._broker.sessions:
            self._broker.sessions.remove(self)

    @property
    def has_news(self) -> bool:
        """Whether it has something to send, or has closed the connection."""
        return bool(self._out) or self.closed

    def data_to_send(self) -> bytes:
        """Return the bytes for the client."""
        out, self._out = self._out, []
        return b"".join(out)

    def receive_data(self, data: bytes) -> None:
        """Process bytes from the client."""
        if self.closed or self._connection.state is ConnectionState.CLOSED:
            return
        for event in self._connection.receive_data(data):
            if self._broker.record:
                self.received.append(event)
            if not self.mute and not self.closed:
                self._react(event)

    def deliver(self, sub: Sub, pub: Pub) -> None:
        """Send a message to one of its subscriptions."""
        self.say(Msg(pub.subject, sub.sid, pub.payload, pub.reply, pub.headers))
        self._sent[sub.sid] = sent = self._sent.get(sub.sid, 0) + 1
        if sub.sid in self._most and sent >= self._most[sub.sid]:
            self._end(sub.sid)

    def _react(self, event: Event) -> None:
        if isinstance(event, Ping):
            self.say(Pong())
        elif isinstance(event, Connect):
            self.options = event.fields
            users, user = self._broker.users, event.fields.get("user")
            if users is not None and (user not in users or users[user] != event.fields.get("pass")):
                self.refuse("Authorization Violation")
        elif isinstance(event, Sub):
            self._subscribe(event)
        elif isinstance(event, Unsub):
            if event.max_msgs is None or event.max_msgs <= self._sent.get(event.sid, 0):
                self._end(event.sid)
            elif event.sid in self.subs:
                self._most[event.sid] = event.max_msgs
        elif isinstance(event, Pub):
            if any(subject_matches(p, event.subject) for p in self._broker.deny_publish):
                self.say(Err(f'Permissions Violation for Publish to "{event.subject}"'))
            else:
                self._broker.route(event, self)
        elif isinstance(event, ProtocolFailed):
            self.refuse("Unknown Protocol Operation")

    def _subscribe(self, sub: Sub) -> None:
        if any(subject_matches(p, sub.subject) for p in self._broker.deny_subscribe):
            group = f' using queue "{sub.queue_group}"' if sub.queue_group is not None else ""
            self.say(Err(f'Permissions Violation for Subscription to "{sub.subject}"{group}'))
        elif sub.sid not in self.subs:  # nats-server ignores a SUB whose sid is in use
            most = self._broker.max_subscriptions
            if most is not None and len(self.subs) >= most:
                self.say(Err("maximum subscriptions exceeded"))
            else:
                self.subs[sub.sid] = sub

    def _end(self, sid: str) -> None:
        self.subs.pop(sid, None)
        self._sent.pop(sid, None)
        self._most.pop(sid, None)


class Link:
    """The network between one client and its servers, and the client's clock.

    Args:
        client: the client to drive.
        broker: the broker of every connection, or a callable that returns the one of a server or
            raises OSError.
        chop: the size in bytes of the largest chunk that either side receives; None: no limit.
        delay: seconds that bytes take, each way.
        cuts: the probability that the stream breaks instead of carrying a chunk. The handshake of
            the first connection is never cut, so that `open` succeeds.
        rng: draws the size of each chunk (1 to `chop`), its delay (0 to `delay`) and the cuts;
            None: every chunk has the largest size and delay, and none is cut.
        now: the time at the start.

    Attributes:
        now: the virtual clock, in seconds.
        session: the server's side of the open stream, or None.
        refuse: an OSError with which every new connection fails.
        tls_error: an OSError with which every TLS handshake fails.
        black_hole: when set, bytes are lost in both directions.
        opened: how many connections were tried.
        finished: whether the client needs no transport any more.
    """

    def __init__(
        self,
        client: Client,
        broker: Broker | Callable[[Server], Broker],
        *,
        chop: int | None = None,
        delay: float = 0.0,
        cuts: float = 0.0,
        rng: random.Random | None = None,
        now: float = 0.0,
    ) -> None:
        self.client = client
        self.now = now
        self.chop = chop
        self.delay = delay
        self.cuts = cuts
        self.session: ServerSession | None = None
        self.refuse: OSError | None = None
        self.tls_error: OSError | None = None
        self.black_hole = False
        self.opened = 0
        self.finished = False
        self._broker = broker
        self._rng = rng
        self._attempt = 0
        # (time, attempt, to the client, bytes), earliest first; b"" is the end of the stream.
        self._wire: deque[tuple[float, int, bool, bytes]] = deque()
        # When the last bytes in each direction arrive. Later ones must not overtake them.
        self._latest = {True: now, False: now}

    def pump(self) -> None:
        """Carry everything that can be carried now, until nothing moves."""
        while self._actions() | self._collect() | self._carry():
            pass

    def cut(self, error: OSError | None = None) -> None:
        """Break the stream: bytes that have not arrived in either direction are lost."""
        session, self.session = self.session, None
        self._wire.clear()
        if session is not None:
            session.close()
            self.client.transport_closed(
                self._attempt, error or ConnectionResetError("the link was cut"), self.now
            )

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on the virtual clock, and serve every deadline in that time."""
        end = self.now + seconds
        self.pump()
        while (due := self.next_event()) is not None and due <= end:
            self.now = max(self.now, due)
            self.tick()
        self.now = end
        self.pump()

    def tick(self) -> None:
        """Serve what is due now."""
        self.client.handle_timeout(self.now)
        self.pump()

    def next_event(self) -> float | None:
        """Return when something will happen without another call; None: never."""
        times = [when for when, *_ in self._wire]
        if self.session is not None and self.session.has_news:
            times.append(self.now)
        due = self.client.next_timeout()
        if due is not None:
            times.append(due)
        return min(times, default=None)

    def _actions(self) -> bool:
        moved = False
        while (action := self.client.next_action()) is not None:
            moved = True
            if isinstance(action, OpenTransport):
                self._open(action)
            elif isinstance(action, StartTLS):
                # The bytes are not encrypted: only the order of events is simulated.
                if self.tls_error is None:
                    self.client.tls_established(action.attempt, self.now)
                else:
                    self.cut(self.tls_error)
            elif isinstance(action, NeedCredentials):
                self._read_credentials(action)
            elif isinstance(action, CloseTransport):
                if self.session is not None and action.attempt == self._attempt:
                    self.session.close()
                    self.session = None
                self.client.transport_closed(action.attempt, None, self.now)
            else:
                self.finished = True
        return moved

    def _open(self, action: OpenTransport) -> None:
        self.opened += 1
        try:
            if self.refuse is not None:
                raise self.refuse
            broker = self._broker(action.server) if callable(self._broker) else self._broker
        except OSError as error:
            self.client.transport_closed(action.attempt, error, self.now)
            return
        self._attempt = action.attempt
        self._wire.clear()
        self.client.transport_opened(action.attempt, self.now)
        self.session = broker.accept()

    def _read_credentials(self, need: NeedCredentials) -> None:
        try:
            fields = need.read_now()
        except Exception as error:  # from a callable of the test
            self.client.credentials_failed(need.attempt, error, self.now)
        else:
            self.client.credentials_given(need.attempt, fields, self.now)

    def _collect(self) -> bool:
        """Put the bytes that both sides have to send on the wire."""
        session = self.session
        data = self.client.data_to_send() if session is not None else b""
        if data:
            self._send(data, to_client=False)
        answer = session.data_to_send() if session is not None else b""
        if answer:
            self._send(answer, to_client=True)
        if session is not None and session.closed:
            self.session = None
            self._put(b"", to_client=True)
            return True
        return bool(data or answer)

    def _send(self, data: bytes, *, to_client: bool) -> None:
        at = 0
        while at < len(data) and not self.black_hole:
            size = self.chop or len(data)
            if self.chop and self._rng is not None:
                size = self._rng.randint(1, size)
            self._put(data[at : at + size], to_client=to_client)
            at += size

    def _put(self, chunk: bytes, *, to_client: bool) -> None:
        delay = self.delay
        if delay and self._rng is not None:
            delay = self._rng.uniform(0.0, delay)
        when = self._latest[to_client] = max(self.now + delay, self._latest[to_client])
        entry = (when, self._attempt, to_client, chunk)
        if not self._wire or self._wire[-1][0] <= when:
            self._wire.append(entry)
        else:
            insort(self._wire, entry, key=lambda entry: entry[0])

    def _breaks(self) -> bool:
        return (
            self.cuts > 0.0
            and self._rng is not None
            and self.session is not None
            and self.client.state is not ClientState.CONNECTING
            and self._rng.random() < self.cuts
        )

    def _carry(self) -> bool:
        moved = False
        while self._wire and self._wire[0][0] <= self.now:
            _, attempt, to_client, data = self._wire.popleft()
            moved = True
            if self._breaks():
                self.cut()
            elif not to_client:
                if self.session is not None and attempt == self._attempt:
                    self.session.receive_data(data)
            elif data:
                self.client.receive_data(attempt, data, self.now)
            else:
                self.client.transport_closed(attempt, None, self.now)
        return moved
