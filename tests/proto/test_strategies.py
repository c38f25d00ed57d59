"""The strategies keep their word: what they call valid is read, what they call broken is not.

`test_decoder` and its neighbours draw from them too; here they are what is tested.
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
from nasq_proto.states import TRANSITIONS
from nasq_proto.strategies import Command, Invalid, InvalidStream, Step

ROOT = Path(__file__).resolve().parents[2]
_NEVER_SAID = (ConnectionClosed, ProtocolFailed)
T = TypeVar("T")
OTHER = {Role.CLIENT: Role.SERVER, Role.SERVER: Role.CLIENT}
SENDERS = pytest.mark.parametrize("sender", list(Role), ids=lambda role: role.value)
EXAMPLES = settings(max_examples=60)


def draws(strategy: st.SearchStrategy[T], wanted: Callable[[T], bool]) -> bool:
    """Whether the strategy makes what is wanted, before long."""
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
def test_words_are_allowed(subject: str, pattern: str, sid: str, group: str) -> None:
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
def test_any_text_is_any_text(wanted: Callable[[str], bool]) -> None:
    assert draws(strategies.any_text, wanted)


@EXAMPLES
@given(strategies.headers, strategies.header_blocks, strategies.broken_header_blocks)
def test_header_blocks_are_valid_or_broken(
    headers: list[tuple[str, str]], block: bytes, broken: bytes
) -> None:
    assert parse_headers(encode_headers(headers)) is not None
    assert read_headers(block) is not None
    assert read_headers(broken) is None


def test_header_keys_repeat() -> None:
    assert draws(strategies.headers, lambda pairs: len({key for key, _ in pairs}) < len(pairs))


@EXAMPLES
@given(strategies.server_errors)
def test_server_errors_have_a_class(text: str) -> None:
    assert isinstance(server_error(text), ServerError)


# ---------------------------------------------------------------------- streams


@SENDERS
def test_every_event_is_drawn(sender: Role) -> None:
    said = {kind for kind in TRANSITIONS[ConnectionState.OPEN][sender] if kind not in _NEVER_SAID}
    for kind in said | {Info if sender is Role.SERVER else Connect}:
        assert draws(strategies.events_from(sender), kind.__instancecheck__)


@SENDERS
@settings(EXAMPLES)
@given(data=st.data())
def test_valid_streams_are_valid(sender: Role, data: st.DataObject) -> None:
    for kind in (strategies.streams_from, strategies.awkward_streams):
        events, stream = data.draw(kind(sender))
        assert events_in(stream, sender) == events
        assert read(stream, OTHER[sender]) == (events, End.CLEAN)


@SENDERS
@settings(EXAMPLES)
@given(data=st.data())
def test_a_frame_is_one_event(sender: Role, data: st.DataObject) -> None:
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
        if sender is Role.SERVER or kind is not Invalid.WRONG_FIELD_TYPE  # of INFO
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
def test_invalid_streams_fail_where_they_say(
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
def test_all_classes_of_invalid_streams_are_drawn(sender: Role) -> None:
    for kind in kinds_of(sender):

        def is_of_it(case: InvalidStream, kind: Invalid = kind) -> bool:
            return case.kind is kind

        assert draws(strategies.invalid_streams(sender), is_of_it)


@EXAMPLES
@given(strategies.repetitive_streams)
def test_repetitive_streams_are_valid(stream: bytes) -> None:
    assert read(stream, Role.CLIENT).end is End.CLEAN


@SENDERS
def test_broken_streams_are_of_every_kind(sender: Role) -> None:
    for end in End:

        def ends_so(stream: bytes, end: End = end) -> bool:
            return read(stream, OTHER[sender]).end is end

        assert draws(strategies.broken_streams(sender), ends_so)


# ---------------------------------------------------------------------- arrival, dialogues


@EXAMPLES
@given(st.data(), st.binary(max_size=50))
def test_chunks_are_the_stream(data: st.DataObject, stream: bytes) -> None:
    assert b"".join(data.draw(strategies.chunks_of(stream))) == stream


def test_mutations_change_something_or_nothing() -> None:
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
        heard = sides[OTHER[sender]].receive_data(sides[sender].data_to_send())
        assert heard == [event]


@EXAMPLES
@given(strategies.client_scripts(max_steps=5))
def test_a_script_starts_with_its_connection(script: list[Step]) -> None:
    assert script[0] == Step(Command.OPEN)
    assert len(script) <= 5


def test_every_command_is_in_some_script() -> None:
    seen: set[Command] = set()

    @settings(max_examples=400, derandomize=True, database=None, phases=[Phase.generate])
    @given(strategies.client_scripts())
    def look(script: list[Step]) -> None:
        seen.update(step.command for step in script)

    look()
    assert seen == set(Command)


def test_subjects_of_a_script_can_be_chosen() -> None:
    scripts = strategies.client_scripts(subjects=st.just("mine"))
    script = find(scripts, lambda script: any(s.command is Command.PUBLISH for s in script))
    assert {step.subject for step in script if step.command is Command.PUBLISH} == {"mine"}


# ---------------------------------------------------------------------- the module


def test_the_core_does_not_load_it() -> None:
    code = "import nasq_proto, sys; assert 'nasq_proto.strategies' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_without_hypothesis_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import nasq_proto.strategies"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert "MissingDependencyError" in done.stderr
    assert "pip install 'nasq[strategies]'" in done.stderr


def test_there_is_a_strategy_for_each_name() -> None:
    strategic = {name.partition("(")[0] for name in all_strategies()}
    classes = {"Command", "Invalid", "InvalidStream", "Step"}
    assert strategic == set(strategies.__all__) - classes
