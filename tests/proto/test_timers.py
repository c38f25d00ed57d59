"""The heap of timers."""

from __future__ import annotations

import math
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from nasq_proto.timers import Timer, Timers

from .test_client import Rig


class Log:
    """What was called, and when."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []

    def __call__(self, name: str) -> Callable[[float], None]:
        return lambda now: self.calls.append((name, now))


def test_timers_are_called_in_order_of_their_times() -> None:
    timers, log = Timers(), Log()
    for name, when in (("b", 2.0), ("a", 1.0), ("c", 2.0), ("d", 3.0)):
        timers.at(when, log(name))
    assert timers.next == 1.0
    timers.run(0.5)
    assert log.calls == []
    timers.run(2.5)
    assert log.calls == [("a", 2.5), ("b", 2.5), ("c", 2.5)]
    assert (timers.next, len(timers)) == (3.0, 1)


def test_a_cancelled_timer_is_not_called() -> None:
    timers, log = Timers(), Log()
    first = timers.at(1.0, log("a"))
    timers.at(2.0, log("b"))
    first.cancel()
    first.cancel()
    assert (timers.next, len(timers)) == (2.0, 1)
    timers.run(5.0)
    assert log.calls == [("b", 5.0)]
    assert (timers.next, len(timers)) == (None, 0)


def test_a_callback_can_cancel_a_timer_of_the_same_time() -> None:
    timers, log = Timers(), Log()
    later: list[Timer] = []
    timers.at(1.0, lambda now: later[0].cancel())
    later.append(timers.at(1.0, log("a")))
    timers.run(1.0)
    assert log.calls == []


def test_cancelling_a_timer_that_was_called_changes_nothing() -> None:
    timers, log = Timers(), Log()
    called = timers.at(1.0, log("a"))
    timers.at(2.0, log("b"))
    timers.run(1.0)
    called.cancel()
    assert len(timers) == 1
    timers.run(2.0)
    assert log.calls == [("a", 1.0), ("b", 2.0)]


def test_a_timer_that_sets_itself_again_at_once_does_not_run_without_end() -> None:
    timers = Timers()
    calls: list[float] = []

    def again(now: float) -> None:
        calls.append(now)
        timers.at(now, again)

    timers.at(1.0, again)
    timers.run(1.0)
    assert calls == [1.0]
    assert timers.next == 1.0
    timers.run(1.0)
    assert calls == [1.0, 1.0]


def test_a_timer_for_infinity_is_never_called() -> None:
    timers, log = Timers(), Log()
    never = timers.at(math.inf, log("a"))
    assert (timers.next, len(timers)) == (None, 0)
    timers.run(math.inf)
    never.cancel()
    assert (log.calls, len(timers)) == ([], 0)


def test_cancelled_timers_are_removed() -> None:
    timers, log = Timers(), Log()
    kept = [timers.at(1e6 + n, log(str(n))) for n in range(10)]
    for n in range(100_000):
        timers.at(1e3 + n, log("x")).cancel()
    assert len(timers) == len(kept)
    assert len(timers._heap) < 200


def test_a_feature_can_set_timers_on_a_client() -> None:
    rig, log = Rig().connect(), Log()
    due = rig.link.now + 1.0
    rig.client.timers.at(due, log("a"))
    assert rig.client.next_timeout() == due
    rig.link.advance(2.0)
    assert log.calls == [("a", due)]


def test_a_client_leaves_no_timers_behind() -> None:
    rig = Rig().connect()
    for _ in range(5):
        rig.link.cut()
        rig.link.advance(1.0)
    assert rig.client.is_connected
    assert len(rig.client.timers) == 1, "the PING"
    rig.client.close()
    assert (len(rig.client.timers), rig.client.next_timeout()) == (0, None)


@given(
    st.lists(
        st.tuples(st.sampled_from("sscr"), st.integers(0, 9), st.integers(0, 30)), max_size=300
    )
)
def test_timers_agree_with_a_plain_list(steps: list[tuple[str, int, int]]) -> None:
    timers, log = Timers(), Log()
    model: list[tuple[float, int]] = []
    handles: list[Timer] = []
    for what, when, which in steps:
        if what == "s":
            model.append((float(when), len(handles)))
            handles.append(timers.at(float(when), log(str(len(handles)))))
        elif what == "c" and handles:
            number = which % len(handles)
            handles[number].cancel()
            model = [entry for entry in model if entry[1] != number]
        elif what == "r":
            log.calls.clear()
            timers.run(float(when))
            due = sorted(entry for entry in model if entry[0] <= when)
            assert log.calls == [(str(number), float(when)) for _, number in due]
            model = [entry for entry in model if entry[0] > when]
        assert timers.next == (min(model)[0] if model else None)
        assert len(timers) == len(model)
