"""The rows of the tables, as data, with the goals that nasq has in each."""

from __future__ import annotations

from typing import Final, NamedTuple

NASQ: Final = ("asyncio", "uvloop", "trio", "blocking")
PEERS: Final = ("nats-py", "natsio", "nats-core")
BEST_PEER: Final = "best peer"
# Limits to compare with: nasq's decoder without its fast path, a round trip without a client, a
# client that checks nothing, and nasq's publish where push is measured.
PLAIN: Final = "plain decoder"
RAW: Final = ("raw socket", "raw asyncio", "raw threads")
MINIMAL: Final = "minimal client"
PUBLISH: Final = "publish"
# nasq as it is in another checkout: `--beside`.
EARLIER: Final = "earlier"
BOUNDS: Final = (PLAIN, *RAW, MINIMAL, PUBLISH)


class Goal(NamedTuple):
    """nasq's figure should be at least (at most, if less is better) `bound` times another one.

    Attributes:
        bound: the ratio.
        against: the contender with the other figure, or `BEST_PEER`; None: `bound` is a figure.
    """

    bound: float
    against: str | None


class Row(NamedTuple):
    """One row of the tables.

    Attributes:
        name: the name that the tables show.
        kind: the name of the measurement, for the worker.
        detail: the parameter of the measurement: a size, a traffic or a number of requests.
        other_end: the server for it, see `runner.other_end`; empty: none is needed.
        for_nasq: the number of messages for nasq, which take it at least 0.3 s.
        for_peers: the number for a peer, which is smaller if peers are slower.
        unit: the unit of the figures, such as messages per second or ns per message.
        goals: the goals of nasq (on asyncio, if several transports are measured).
        less: whether less is better.
        contenders: the contenders of this row.
        blocking: the goal of the blocking transport, as a fraction of the speed on asyncio.
        least: the smallest number of messages that makes sense, at any scale.
        loop: the event loop of the peers, "asyncio" or "uvloop".
    """

    name: str
    kind: str
    detail: str
    other_end: str
    for_nasq: int
    for_peers: int
    unit: str
    goals: tuple[Goal, ...]
    less: bool = False
    contenders: tuple[str, ...] = NASQ + PEERS
    blocking: float = 0.7
    least: int = 1000
    loop: str = "asyncio"

    @property
    def main(self) -> str:
        """The contender that the goals apply to."""
        return self.contenders[0]

    def messages(self, contender: str, scale: float) -> int:
        """The number of messages for this contender."""
        count = self.for_peers if contender in PEERS + RAW else self.for_nasq
        return max(self.least, int(count * scale))


# The goal of trio in every row, as a fraction of the speed on asyncio.
TRIO: Final = 0.7

_PUBLISH: Final = (Goal(4.0, "nats-py"), Goal(2.5, BEST_PEER))
_DECODING: Final = ("asyncio", PLAIN, *PEERS)
_EVENTS: Final = ("asyncio", "nats-py")
_BOUNDED: Final = (*NASQ, *PEERS, MINIMAL)
_ON_UVLOOP: Final = ("uvloop", *PEERS)


def _best(bound: float) -> tuple[Goal, ...]:
    return (Goal(bound, BEST_PEER),)


def _minimal(bound: float) -> Goal:
    return Goal(bound, MINIMAL)


def _py(bound: float) -> tuple[Goal, ...]:
    return (Goal(bound, "nats-py"),)


ROWS: Final = (
    Row("publish 16 B", "publish", "16", "sink", 1_000_000, 400_000, "msg/s",
        (*_PUBLISH, _minimal(0.7)), contenders=_BOUNDED),
    Row("publish 128 B", "publish", "128", "sink", 1_000_000, 400_000, "msg/s", _PUBLISH),
    Row("publish 1 KiB", "publish", "1024", "sink", 600_000, 200_000, "msg/s", _PUBLISH),
    Row("publish 64 KiB", "publish", "65536", "sink", 20_000, 10_000, "msg/s", (), least=100),
    Row("push kept", "push_kept", "128", "sink", 300_000, 300_000, "ns", (Goal(1.5, PUBLISH),),
        less=True, contenders=(*NASQ, PUBLISH)),
    Row("push_many 128 B", "push_many", "128", "sink", 2_000_000, 400_000, "msg/s",
        (*_py(6.0), _minimal(0.55)), contenders=_BOUNDED),
    Row("iterate uniform", "receive", "iterate", "source uniform", 600_000, 60_000, "msg/s",
        (*_best(6.0), _minimal(0.9)), contenders=_BOUNDED),
    Row("iterate mixed", "receive", "iterate", "source mixed", 300_000, 60_000, "msg/s",
        _best(3.0)),
    Row("iterate unique", "receive", "iterate", "source unique", 300_000, 60_000, "msg/s",
        _best(1.0)),
    Row("iterate headers", "receive", "iterate", "source headers", 400_000, 60_000, "msg/s",
        _best(3.0)),
    Row("iterate 64 KiB", "receive", "iterate", "source large", 10_000, 8_000, "msg/s", (),
        least=100),
    Row("pop one by one", "receive", "pop", "source uniform", 600_000, 60_000, "msg/s",
        _best(6.0)),
    Row("pop in batches", "receive", "pop_many", "source uniform", 2_000_000, 60_000, "msg/s",
        _best(15.0)),
    Row("echo 128 B", "echo", "", "server", 300_000, 60_000, "msg/s",
        (*_best(5.0), _minimal(0.7)), contenders=_BOUNDED),
    Row("respond", "respond", "", "source requests", 200_000, 60_000, "msg/s", ()),
    Row("request p50", "request", "1", "echo", 5_000, 3_000, "µs", _py(0.6), less=True,
        contenders=(*NASQ, *PEERS, "raw socket", "raw asyncio"), least=100),
    Row("100 in flight", "request", "100", "echo", 40_000, 20_000, "msg/s",
        (*_best(2.2), _minimal(0.75)), contenders=(*_BOUNDED, "raw threads"), blocking=0.3),
    Row("p50 on uvloop", "request", "1", "echo", 5_000, 3_000, "µs", _best(0.91), less=True,
        contenders=_ON_UVLOOP, least=100, loop="uvloop"),
    Row("100 on uvloop", "request", "100", "echo", 40_000, 20_000, "msg/s", _best(1.5),
        contenders=_ON_UVLOOP, loop="uvloop"),
    Row("held message", "held", "", "source uniform", 50_000, 50_000, "bytes", _best(0.8),
        less=True),
    Row("decode MSG", "decode", "MSG", "", 3_000_000, 300_000, "ns", _py(0.2), less=True,
        contenders=_DECODING),
    Row("decode HMSG", "decode", "HMSG", "", 2_000_000, 200_000, "ns", _py(0.15), less=True,
        contenders=_DECODING),
    Row("decode unique", "decode", "unique", "", 600_000, 300_000, "ns", (Goal(1.1, PLAIN),),
        less=True, contenders=_DECODING),
    Row("one-byte chunks", "decode", "bytes", "", 2_000_000, 1_000_000, "ns", _best(1.0),
        less=True, contenders=_DECODING),
    Row("receive_data MSG", "events", "MSG", "", 600_000, 200_000, "ns", _py(0.2), less=True,
        contenders=_EVENTS),
    Row("receive_data HMSG", "events", "HMSG", "", 400_000, 200_000, "ns", _py(0.2), less=True,
        contenders=_EVENTS),
    Row("receive_data byte", "events", "bytes", "", 1_000_000, 1_000_000, "ns", _py(1.0),
        less=True, contenders=_EVENTS),
    Row("64 MiB dripping", "drip", "", "", 10, 10, "ms", _best(1.0), less=True,
        contenders=_DECODING, least=3),
    Row("64 to 33 MiB", "growth", "", "", 5, 5, "x", (Goal(3.0, None),), less=True,
        contenders=("asyncio", *PEERS), least=3),
    Row("import nasq", "import", "nasq.queue", "", 10, 10, "ms", _py(0.6), less=True,
        contenders=("asyncio", *PEERS), least=3),
    Row("import blocking", "import", "nasq.blocking", "", 10, 10, "ms", _py(0.35), less=True,
        contenders=("blocking", *PEERS), least=3),
)  # fmt: skip
BY_NAME: Final = {row.name: row for row in ROWS}
