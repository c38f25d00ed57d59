"""The strategies are correct: the codec reads their valid streams and refuses their broken ones.

`test_decoder` and other modules draw from these strategies; this module tests the strategies.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from fuzz.rates import all_strategies
from fuzz.strict import End, read, read_headers
from nasq_proto import (
    Connect,
    Connection,
    ConnectionClosed,
    ConnectionState,
    Decoder,
    Event,
    Info,
    Limits,
    Msg,
    ProtocolFailed,
    Role,
    ServerError,
    check_queue_group,
    check_subject,
    encode,
    encode_headers,
    parse_headers,
    server_error,
    strategies,
    unfold,
)
from nasq_proto.errors import _BY_PREFIX
from nasq_proto.states import TRANSITIONS
from nasq_proto.strategies import Command, Invalid, InvalidStream, Step

ROOT = Path(__file__).resolve().parents[2]
_NEVER_SENT = (ConnectionClosed, ProtocolFailed)
T = TypeVar("T")
OTHER = {Role.CLIENT: Role.SERVER, Role.SERVER: Role.CLIENT}
SENDERS = pytest.mark.parametrize("sender", list(Role), ids=lambda role: role.value)
EXAMPLES = settings(max_examples=60)


def draws(strategy: st.SearchStrategy[T], wanted: Callable[[T], bool]) -> bool:
    """Return whether the strategy soon draws a value that satisfies `wanted`."""
    quickly = settings(max_examples=3000, database=None, phases=[Phase.generate])
    try:
        return wanted(find(strategy, wanted, settings=quickly))
    except NoSuchExample:
        return False


def events_in(stream: bytes, sender: Role, limits: Limits | None = None) -> list[Event]:
    frames = Decoder(OTHER[sender], limits).receive(stream)
    return [event for frame in frames for event in unfold(frame)]


# ---------------------------------------------------------------------- words


@EXAMPLES
@given(strategies.subjects, strategies.patterns, strategies.sids, strategies.queue_groups)
def test_drawn_words_are_allowed(subject: str, pattern: str, sid: str, group: str) -> None:
    check_subject(subject, wildcards=False)
    check_subject(pattern, wildcards=True)
    check_queue_group(group)
    assert encode(Msg(subject, sid)).startswith(b"MSG ")


@pytest.mark.parametrize(
    "wanted",
    [
        lambda text: any("\ud800" <= mark <= "\udfff" for mark in text),
        lambda text: "\r\n" in text,
        lambda text: text == "",
        lambda text: not text.isascii(),
    ],
)
def test_any_text_draws_unusual_text(wanted: Callable[[str], bool]) -> None:
    assert draws(strategies.any_text, wanted)


@EXAMPLES
@given(strategies.headers, strategies.header_blocks, strategies.broken_header_blocks)
def test_header_blocks_are_valid_or_broken(
    headers: list[tuple[str, str]], block: bytes, broken: bytes
) -> None:
    assert parse_headers(encode_headers(headers)) is not None
    assert read_headers(block) is not None
    assert read_headers(broken) is None


def test_header_keys_may_repeat() -> None:
    assert draws(strategies.headers, lambda pairs: len({key for key, _ in pairs}) < len(pairs))


@EXAMPLES
@given(strategies.server_errors)
def test_server_errors_can_be_classified(text: str) -> None:
    assert isinstance(server_error(text), ServerError)


@pytest.mark.parametrize("prefix", [prefix for prefix, *_ in _BY_PREFIX])
def test_every_server_error_that_has_a_class_is_drawn(prefix: str) -> None:
    """The texts are listed in `errors` and in the strategies, which must not differ."""
    assert draws(strategies.server_errors, lambda text: text.lower().startswith(prefix))


# ---------------------------------------------------------------------- streams


@SENDERS
def test_events_of_every_kind_are_drawn(sender: Role) -> None:
    sent = {kind for kind in TRANSITIONS[ConnectionState.OPEN][sender] if kind not in _NEVER_SENT}
    for kind in sent | {Info if sender is Role.SERVER else Connect}:
        assert draws(strategies.events_from(sender), kind.__instancecheck__)


@SENDERS
@settings(EXAMPLES)
@given(data=st.data())
def test_valid_streams_are_read(sender: Role, data: st.DataObject) -> None:
    for kind in (strategies.streams_from, strategies.awkward_streams):
        events, stream = data.draw(kind(sender))
        assert events_in(stream, sender) == events
        assert read(stream, OTHER[sender]) == (events, End.CLEAN)


@SENDERS
@settings(EXAMPLES)
@given(data=st.data())
def test_a_frame_is_read_as_one_event(sender: Role, data: st.DataObject) -> None:
    event, frame = data.draw(strategies.frames_from(sender))
    assert events_in(frame, sender) == [event]


@SENDERS
@settings(EXAMPLES)
@given(data=st.data())
def test_truncated_streams_end_within_a_frame(sender: Role, data: st.DataObject) -> None:
    events, stream = data.draw(strategies.truncated_streams(sender))
    assert read(stream, OTHER[sender]) == (events, End.WITHIN)
    assert events_in(stream, sender) == events


def kinds_of(sender: Role) -> list[Invalid]:
    return [
        kind
        for kind in Invalid
        if sender is Role.SERVER
        or kind is not Invalid.WRONG_FIELD_TYPE  # only INFO has typed fields
    ]


EVERY_KIND = pytest.mark.parametrize(
    ("sender", "kind"),
    [
        pytest.param(sender, kind, id=f"{sender.value}-{kind.name}")
        for sender in Role
        for kind in kinds_of(sender)
    ],
)


@EVERY_KIND
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_invalid_streams_fail_after_their_valid_events(
    sender: Role, kind: Invalid, data: st.DataObject
) -> None:
    case = data.draw(strategies.invalid_streams(sender, [kind]))
    assert case.kind is kind
    assert read(case.stream, OTHER[sender], case.limits) == (case.events, End.BROKEN)
    chunks = data.draw(strategies.chunks_of(case.stream))
    decoder = Decoder(OTHER[sender], case.limits)
    events: list[Event] = []
    for chunk in chunks:
        events += [event for frame in decoder.receive(chunk) for event in unfold(frame)]
        if events and isinstance(events[-1], ProtocolFailed):
            break
    assert events[:-1] == case.events
    assert isinstance(events[-1], ProtocolFailed)


@SENDERS
def test_invalid_streams_of_every_kind_are_drawn(sender: Role) -> None:
    for kind in kinds_of(sender):

        def is_of_kind(case: InvalidStream, kind: Invalid = kind) -> bool:
            return case.kind is kind

        assert draws(strategies.invalid_streams(sender), is_of_kind)


@EXAMPLES
@given(strategies.repetitive_streams)
def test_repetitive_streams_are_valid(stream: bytes) -> None:
    assert read(stream, Role.CLIENT).end is End.CLEAN


@SENDERS
def test_broken_streams_with_every_end_are_drawn(sender: Role) -> None:
    for end in End:

        def ends_with(stream: bytes, end: End = end) -> bool:
            return read(stream, OTHER[sender]).end is end

        assert draws(strategies.broken_streams(sender), ends_with)


# ---------------------------------------------------------------------- arrival, dialogues


@EXAMPLES
@given(st.data(), st.binary(max_size=50))
def test_joined_chunks_are_the_stream(data: st.DataObject, stream: bytes) -> None:
    assert b"".join(data.draw(strategies.chunks_of(stream))) == stream


def test_mutations_may_grow_shrink_or_keep_a_stream() -> None:
    streams = st.just(b"PING\r\nPONG\r\n")
    assert draws(strategies.mutations_of(streams), lambda stream: stream == b"PING\r\nPONG\r\n")
    assert draws(strategies.mutations_of(streams), lambda stream: len(stream) > 12)
    assert draws(strategies.mutations_of(streams), lambda stream: len(stream) < 12)


@EXAMPLES
@given(strategies.sessions())
def test_both_sides_agree_on_a_session(session: list[tuple[Role, Event]]) -> None:
    sides = {role: Connection(role) for role in Role}
    for sender, event in session:
        sides[sender].send(event)
        received = sides[OTHER[sender]].receive_data(sides[sender].data_to_send())
        assert received == [event]


@EXAMPLES
@given(strategies.client_scripts(max_steps=5))
def test_a_script_starts_by_connecting(script: list[Step]) -> None:
    assert script[0] == Step(Command.OPEN)
    assert len(script) <= 5


def test_scripts_with_every_command_are_drawn() -> None:
    seen: set[Command] = set()

    @settings(max_examples=400, derandomize=True, database=None, phases=[Phase.generate])
    @given(strategies.client_scripts())
    def collect(script: list[Step]) -> None:
        seen.update(step.command for step in script)

    collect()
    assert seen == set(Command)


def test_the_subjects_of_a_script_can_be_chosen() -> None:
    scripts = strategies.client_scripts(subjects=st.just("mine"))
    script = find(scripts, lambda script: any(s.command is Command.PUBLISH for s in script))
    assert {step.subject for step in script if step.command is Command.PUBLISH} == {"mine"}


# ---------------------------------------------------------------------- the module


def test_the_core_does_not_load_the_strategies() -> None:
    code = "import nasq_proto, sys; assert 'nasq_proto.strategies' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_without_hypothesis_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import nasq_proto.strategies"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert "MissingDependencyError" in done.stderr
    assert "pip install 'nasq[strategies]'" in done.stderr


def test_all_strategies_yields_every_public_strategy() -> None:
    tested = {name.partition("(")[0] for name in all_strategies()}
    classes = {"Command", "Invalid", "InvalidStream", "Step"}
    assert tested == set(strategies.__all__) - classes
