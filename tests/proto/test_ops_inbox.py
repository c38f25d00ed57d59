"""`Op`, the result of a command, and the inbox, which never loses a wake-up."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from nasq_proto import Head, Inbox, InvalidOptionError, Op
from nasq_proto.inbox import Overflow

# ---------------------------------------------------------------------- Op


def test_a_new_op_is_not_done() -> None:
    assert not Op[int]().done


def test_result_returns_the_value_of_a_resolved_op() -> None:
    op: Op[int] = Op()
    op.resolve(7)
    assert (op.done, op.result(), op.error) == (True, 7, None)


def test_a_failed_op_raises_its_error() -> None:
    op: Op[int] = Op()
    error = ValueError("why")
    op.fail(error)
    with pytest.raises(ValueError, match="why"):
        op.result()
    assert op.error is error


def test_an_op_can_be_created_resolved() -> None:
    assert Op.resolved(7).result() == 7


def test_an_op_can_be_created_failed() -> None:
    op: Op[int] = Op.failed(ValueError("why"))
    assert (op.done, str(op.error)) == (True, "why")


@pytest.mark.parametrize(
    "later",
    [lambda op: op.resolve(8), lambda op: op.fail(ValueError("later"))],
    ids=["resolve", "fail"],
)
def test_a_later_outcome_does_not_change_a_success(later: Callable[[Op[int]], None]) -> None:
    op = Op.resolved(7)
    later(op)
    assert (op.result(), op.error) == (7, None)


@pytest.mark.parametrize(
    "later",
    [lambda op: op.resolve(8), lambda op: op.fail(ValueError("later"))],
    ids=["resolve", "fail"],
)
def test_a_later_outcome_does_not_change_a_failure(later: Callable[[Op[int]], None]) -> None:
    op: Op[int] = Op.failed(ValueError("first"))
    later(op)
    assert str(op.error) == "first"


def test_wakers_are_called_once_and_in_order() -> None:
    op: Op[None] = Op()
    calls: list[int] = []
    op.on_done(lambda: calls.append(1))
    op.on_done(lambda: calls.append(2))
    op.resolve(None)
    op.resolve(None)
    op.fail(ValueError())
    assert calls == [1, 2]


def test_no_waker_is_called_before_the_outcome() -> None:
    op: Op[None] = Op()
    calls: list[int] = []
    op.on_done(lambda: calls.append(1))
    assert calls == []


def test_a_waker_of_a_done_op_is_called_at_once() -> None:
    calls: list[int] = []
    Op.resolved(None).on_done(lambda: calls.append(1))
    assert calls == [1]


def test_a_waker_sees_the_outcome() -> None:
    op: Op[int] = Op()
    seen: list[int] = []
    op.on_done(lambda: seen.append(op.result()))
    op.resolve(7)
    assert seen == [7]


def test_a_waker_may_add_another_waker() -> None:
    op: Op[None] = Op()
    calls: list[int] = []
    op.on_done(lambda: op.on_done(lambda: calls.append(1)))
    op.resolve(None)
    assert calls == [1]


def test_a_waker_can_not_change_the_outcome() -> None:
    op: Op[int] = Op()
    op.on_done(lambda: op.resolve(8))
    op.resolve(7)
    assert op.result() == 7


# ---------------------------------------------------------------------- Inbox

HEAD = Head("a", b"1", None, 0, 1)


def inbox_with(*bodies: bytes) -> Inbox:
    inbox = Inbox()
    for body in bodies:
        inbox.put(HEAD, body, 0.0)
    return inbox


def test_messages_of_put_and_deliver_keep_their_order() -> None:
    inbox = Inbox()
    inbox.deliver([HEAD] * 2, [b"1", b"2"], 0.5)
    inbox.put(HEAD, b"3", 1.5)
    inbox.deliver([HEAD], [b"4"], 2.5)
    assert list(inbox.items) == [
        (HEAD, b"1", 0.5),
        (HEAD, b"2", 0.5),
        (HEAD, b"3", 1.5),
        (HEAD, b"4", 2.5),
    ]


def test_delivered_messages_are_counted() -> None:
    inbox = Inbox()
    inbox.deliver([Head("a", b"1", None, 2, 5)] * 3, [b"12345"] * 3, 0.0)
    assert (inbox.messages_in, inbox.bytes_in) == (3, 15)


def test_messages_that_were_put_are_not_counted_as_received() -> None:
    inbox = inbox_with(b"1", b"2")
    assert (inbox.messages_in, inbox.bytes_in) == (0, 0)


def test_a_message_wakes_the_longest_waiter() -> None:
    inbox = Inbox()
    first, second = inbox.waiter(), inbox.waiter()
    inbox.put(HEAD, b"1", 0.0)
    assert (first.done, second.done) == (True, False)


def test_a_run_wakes_one_waiter_per_message() -> None:
    inbox = Inbox()
    waiters = [inbox.waiter() for _ in range(3)]
    inbox.deliver([HEAD] * 2, [b"1", b"2"], 0.0)
    assert [op.done for op in waiters] == [True, True, False]


def test_a_run_with_more_messages_than_waiters_wakes_all_waiters() -> None:
    inbox = Inbox()
    waiters = [inbox.waiter() for _ in range(2)]
    inbox.deliver([HEAD] * 5, [b"1"] * 5, 0.0)
    assert [op.done for op in waiters] == [True, True]


def test_a_woken_waiter_that_waits_again_is_the_first() -> None:
    inbox = Inbox()
    later = inbox.waiter()
    again = inbox.waiter(again=True)
    inbox.put(HEAD, b"1", 0.0)
    assert (again.done, later.done) == (True, False)


def test_a_woken_waiter_that_gives_up_wakes_the_next_one() -> None:
    inbox = Inbox()
    first, second = inbox.waiter(), inbox.waiter()
    inbox.put(HEAD, b"1", 0.0)
    inbox.abandon(first)
    assert second.done


def test_a_woken_waiter_that_gives_up_wakes_no_other_when_the_inbox_is_empty() -> None:
    inbox = Inbox()
    first, second = inbox.waiter(), inbox.waiter()
    inbox.put(HEAD, b"1", 0.0)
    inbox.take()
    inbox.abandon(first)
    assert not second.done


def test_a_waiter_that_gave_up_is_not_woken() -> None:
    inbox = Inbox()
    first, second = inbox.waiter(), inbox.waiter()
    inbox.abandon(first)
    inbox.put(HEAD, b"1", 0.0)
    assert (first.done, second.done) == (False, True)


def test_the_other_waiters_keep_their_order_when_one_gives_up() -> None:
    inbox = Inbox()
    first, middle, last = inbox.waiter(), inbox.waiter(), inbox.waiter()
    inbox.abandon(middle)
    inbox.put(HEAD, b"1", 0.0)
    assert (first.done, last.done) == (True, False)


def test_wake_all_wakes_every_waiter() -> None:
    inbox = Inbox()
    waiters = [inbox.waiter() for _ in range(3)]
    inbox.wake_all()
    assert [op.done for op in waiters] == [True, True, True]


class Consumers(RuleBasedStateMachine):
    """Consumers that wait, wake up, look again, give up or join, in any order.

    Each does what a transport does: it waits only when the inbox is empty, looks again when woken,
    waits again at the front if another consumer was faster, and abandons its op when cancelled.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inbox = self.new_inbox()
        self.holding: list[Op[None]] = []
        self.sent = 0
        self.taken: list[bytes] = []

    def new_inbox(self) -> Inbox:
        return Inbox()

    def _next(self) -> bytes:
        self.sent += 1
        return b"%d" % self.sent

    def _take(self) -> None:
        self.taken.append(self.inbox.take()[1])

    @rule()
    def put(self) -> None:
        self.inbox.put(HEAD, self._next(), 0.0)

    @rule(count=st.integers(1, 4))
    def deliver(self, count: int) -> None:
        self.inbox.deliver([HEAD] * count, [self._next() for _ in range(count)], 0.0)

    @rule()
    def pop(self) -> None:
        """A new consumer takes a message, or waits if there is none."""
        if self.inbox.items:
            self._take()
        else:
            self.holding.append(self.inbox.waiter())

    @precondition(lambda self: any(op.done for op in self.holding))
    @rule(data=st.data())
    def look_again(self, data: st.DataObject) -> None:
        op = data.draw(st.sampled_from([op for op in self.holding if op.done]))
        self.holding.remove(op)
        if self.inbox.items:
            self._take()
        else:
            self.holding.append(self.inbox.waiter(again=True))

    @precondition(lambda self: self.holding)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        op = data.draw(st.sampled_from(self.holding))
        self.holding.remove(op)
        self.inbox.abandon(op)

    @rule()
    def clear(self) -> None:
        self.taken += [body for _, body, _ in self.inbox.items]
        self.inbox.clear()

    @rule()
    def wake_all(self) -> None:
        self.inbox.wake_all()

    @invariant()
    def no_wake_up_is_lost(self) -> None:
        woken = sum(op.done for op in self.holding)
        if woken < len(self.holding):
            assert woken >= len(self.inbox.items)

    @invariant()
    def order_is_kept_and_nothing_is_lost(self) -> None:
        held = [body for _, body, _ in self.inbox.items]
        assert self.taken + held == [b"%d" % n for n in range(1, self.sent + 1)]

    def teardown(self) -> None:
        # Let every woken consumer look again. Then no consumer waits while there is a message.
        while any(op.done for op in self.holding):
            op = next(op for op in self.holding if op.done)
            self.holding.remove(op)
            if self.inbox.items:
                self._take()
        assert not (self.holding and self.inbox.items)


TestNoInterleavingLosesAWakeUp = Consumers.TestCase
TestNoInterleavingLosesAWakeUp.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)


# ---------------------------------------------------------------------- a bounded inbox


def bodies_in(inbox: Inbox) -> list[bytes]:
    return [body for _, body, _ in inbox.items]


@pytest.mark.parametrize("name", ["max_messages", "max_bytes"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "5"])
def test_an_invalid_limit_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidOptionError, match=f"{name} must be an int of at least 1"):
        Inbox(**{name: value})


def test_taking_from_an_empty_inbox_raises_index_error() -> None:
    with pytest.raises(IndexError):
        Inbox().take()


@pytest.mark.parametrize(
    ("overflow", "held", "dropped"),
    [
        (Overflow.DROP_NEWEST, [b"1", b"2"], 2),
        (Overflow.ERROR, [b"1", b"2"], 2),
        (Overflow.DROP_OLDEST, [b"3", b"4"], 2),
        (Overflow.BLOCK, [b"1", b"2", b"3", b"4"], 0),
    ],
)
@pytest.mark.parametrize("bounds", [{"max_messages": 2}, {"max_bytes": 2}], ids=str)
def test_the_policy_decides_about_messages_that_do_not_fit(
    bounds: dict[str, int], overflow: Overflow, held: list[bytes], dropped: int
) -> None:
    inbox = Inbox(**bounds, overflow=overflow)
    inbox.deliver([HEAD] * 4, [b"1", b"2", b"3", b"4"], 0.0)
    assert (bodies_in(inbox), inbox.dropped) == (held, dropped)


def test_a_message_larger_than_the_limit_drops_no_other_one() -> None:
    inbox = Inbox(max_bytes=3, overflow=Overflow.DROP_OLDEST)
    inbox.put(HEAD, b"123", 0.0)
    inbox.put(HEAD, b"1234", 0.0)
    assert (bodies_in(inbox), inbox.dropped) == ([b"123"], 1)


def test_new_drops_are_reported_once() -> None:
    inbox = Inbox(max_messages=1)
    inbox.deliver([HEAD] * 3, [b"1", b"2", b"3"], 0.0)
    assert (inbox.new_drops(), inbox.new_drops()) == (2, 0)


def test_cleared_messages_do_not_count_as_dropped() -> None:
    inbox = Inbox(max_messages=2)
    inbox.deliver([HEAD] * 2, [b"1", b"2"], 0.0)
    inbox.clear()
    assert inbox.dropped == 0


def test_on_room_is_called_once_when_a_blocked_inbox_is_half_empty() -> None:
    inbox = Inbox(max_messages=4, overflow=Overflow.BLOCK)
    room_seen: list[int] = []
    inbox.on_room = lambda: room_seen.append(len(inbox.items))
    inbox.deliver([HEAD] * 5, [b"x"] * 5, 0.0)
    while inbox.items:
        inbox.take()
    assert room_seen == [2]


def test_a_waiter_for_room_is_woken_when_a_message_is_taken() -> None:
    inbox = Inbox(max_messages=1)
    inbox.put(HEAD, b"1", 0.0)
    room = inbox.room()
    before = room.done
    inbox.take()
    assert (before, room.done) == (False, True)


class BoundedConsumers(Consumers):
    """The same with limits, compared with a model that computes its sizes each time."""

    overflow = Overflow.DROP_NEWEST

    def __init__(self) -> None:
        self.model: list[bytes] = []
        self.dropped = 0
        super().__init__()

    def new_inbox(self) -> Inbox:
        return Inbox(max_messages=4, max_bytes=7, overflow=self.overflow)

    def _next(self) -> bytes:
        body = super()._next()
        fits = [len(held) for held in self.model]
        if self.overflow is Overflow.DROP_OLDEST and len(body) <= 7:
            while len(fits) >= 4 or sum(fits) + len(body) > 7:
                fits.pop(0)
                self.model.pop(0)
                self.dropped += 1
        if self.overflow is Overflow.BLOCK or (len(fits) < 4 and sum(fits) + len(body) <= 7):
            self.model.append(body)
        else:
            self.dropped += 1
        return body

    def _take(self) -> None:
        super()._take()
        assert self.taken[-1] == self.model.pop(0)

    @rule()
    def clear(self) -> None:
        super().clear()
        self.model.clear()

    @invariant()
    def order_is_kept_and_nothing_is_lost(self) -> None:
        assert bodies_in(self.inbox) == self.model
        assert self.inbox.dropped == self.dropped
        assert len(self.taken) + len(self.model) + self.dropped == self.sent

    @invariant()
    def reading_stops_only_while_messages_are_held(self) -> None:
        assert not (self.inbox.blocked and not self.inbox.items)

    @invariant()
    def has_room_is_true_exactly_when_a_message_fits(self) -> None:
        room = len(self.model) < 4 and sum(map(len, self.model)) + 2 <= 7
        assert self.inbox.has_room(2) is room


@pytest.mark.parametrize("overflow", Overflow)
def test_a_bounded_inbox_behaves_like_its_model(overflow: Overflow) -> None:
    machine = type("Machine", (BoundedConsumers,), {"overflow": overflow})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=40, stateful_step_count=30, deadline=None)
    )


# ---------------------------------------------------------------------- interrupts


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
# The signal may arrive in a finalizer of another test, where Python can only print the exception.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("bounds", [None, 50], ids=["unbounded", "bounded"])
def test_a_signal_at_any_moment_keeps_heads_and_bodies_together(bounds: int | None) -> None:
    """A KeyboardInterrupt may lose the message in progress, and must not damage any other."""
    inbox = Inbox(bounds, None, Overflow.DROP_OLDEST)
    interrupted = 0

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def use(start: int) -> None:
        numbers = range(start, start + 20)
        heads = [Head(str(n), b"1", None, 0, 1) for n in numbers]
        inbox.deliver(heads, [b"%d" % n for n in numbers], float(start))
        for _ in range(13):
            head, body, _ = inbox.take()
            assert head.subject == body.decode()
        if len(inbox) > 100:
            inbox.clear()

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for start in range(0, 60_000, 20):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + start // 20 % 60))
                use(start)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
            assert len(inbox.heads) == len(inbox.bodies) == len(inbox.times)
            assert all(head.subject == body.decode() for head, body, _ in inbox.items)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 100


# ---------------------------------------------------------------------- after an interrupt


def test_a_wrong_size_is_corrected_when_the_inbox_is_empty() -> None:
    room_seen: list[int] = []
    inbox = Inbox(max_bytes=10, overflow=Overflow.BLOCK)
    inbox.on_room = lambda: room_seen.append(len(inbox))
    inbox.deliver([HEAD] * 20, [b"x"] * 20, 0.0)
    assert inbox.blocked
    for _ in range(20):
        next(inbox.oldest)  # taken without updating the count
    inbox.account_for(0)
    assert not inbox.blocked
    assert room_seen == [0]
    assert inbox.has_room(10)


def test_drop_oldest_stops_at_an_empty_inbox_despite_a_wrong_size() -> None:
    inbox = Inbox(max_bytes=10, overflow=Overflow.DROP_OLDEST)
    inbox.deliver([HEAD] * 10, [b"x"] * 10, 0.0)
    for _ in range(10):
        next(inbox.oldest)
    inbox.put(HEAD, b"y", 0.0)
    assert [body for _, body, _ in inbox.items] in ([b"y"], [])
    inbox.account_for(0)
    inbox.put(HEAD, b"z", 0.0)
    assert inbox.items[-1][1] == b"z"


def test_move_times_shifts_only_the_receive_times() -> None:
    inbox = Inbox()
    inbox.deliver([HEAD] * 2, [b"1", b"2"], 5.0)
    inbox.put(HEAD, b"3", 6.0)
    inbox.move_times(100.0)
    assert inbox.items == [(HEAD, b"1", 105.0), (HEAD, b"2", 105.0), (HEAD, b"3", 106.0)]


def test_messages_put_one_by_one_keep_their_place_among_the_received() -> None:
    inbox = Inbox()
    head = Head("a", b"", None, 0, 1)
    inbox.put(head, b"1", 1.0)
    inbox.put(head, b"2", 2.0)
    assert len(inbox) == 2
    assert inbox.take()[1:] == (b"1", 1.0)
    inbox.put(head, b"3", 3.0)
    inbox.deliver([head], [b"4"], 4.0)
    inbox.put(head, b"5", 5.0)
    inbox.move_times(10.0)
    inbox.put(head, b"6", 16.0)
    assert [held[1:] for held in inbox.items] == [(b"%d" % n, 10.0 + n) for n in range(2, 7)]
    assert not inbox.kept
    inbox.put(head, b"7", 17.0)
    inbox.clear()
    assert len(inbox) == 0
    assert not inbox.settle()
