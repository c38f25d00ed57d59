"""Dialogues: sessions that both sides agree on, and scripts that try to upset a client."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from hypothesis import strategies as st

from nasq_proto.decoder import Role
from nasq_proto.encoder import encode
from nasq_proto.events import Connect, Err, Event, Info

from .events import COMMON_MESSAGES, COMMON_OTHERS, connects, events_from, infos, server_errors

__all__ = ["Command", "Step", "client_scripts", "sessions"]

_common_infos: Final = [e for e in COMMON_OTHERS[Role.SERVER] if isinstance(e, Info)]
_common_connects: Final = [e for e in COMMON_OTHERS[Role.CLIENT] if isinstance(e, Connect)]
_sent: Final = st.one_of(
    st.sampled_from([(sender, event) for sender in Role for event in COMMON_MESSAGES[sender]]),
    st.sampled_from([(sender, event) for sender in Role for event in COMMON_OTHERS[sender]]),
    *(st.tuples(st.just(sender), events_from(sender)) for sender in Role),
)


def sessions() -> st.SearchStrategy[list[tuple[Role, Event]]]:
    """A dialogue: pairs of sender and event, in an order that `nasq_proto.states` permits.

    It starts with the server's INFO and the client's CONNECT.
    """
    return st.builds(
        lambda info, connect, rest: [(Role.SERVER, info), (Role.CLIENT, connect), *rest],
        st.sampled_from([e for e in COMMON_OTHERS[Role.SERVER] if isinstance(e, Info)]) | infos,
        st.sampled_from([e for e in COMMON_OTHERS[Role.CLIENT] if isinstance(e, Connect)])
        | connects,
        st.lists(_sent, max_size=3),
    )


class Command(enum.Enum):
    """What can happen to a client: commands, what the server sends, failures, passing time."""

    OPEN = "connect, or connect again after closing"
    PUBLISH = "publish `data` to `subject`"
    PUBLISH_WITH_HEADERS = "the same with headers and a reply subject"
    REQUEST = "send a request"
    SUBSCRIBE = "subscribe to `subject`"
    SUBSCRIBE_IN_GROUP = "subscribe to `subject` in a queue group"
    UNSUBSCRIBE = "end the `number`-th subscription"
    UNSUBSCRIBE_AFTER = "end the last subscription after `number` messages"
    FLUSH = "flush"
    ABANDON = "the caller that waits for the `number`-th result gives up"
    DRAIN = "drain"
    CLOSE = "close"
    SERVER_SAYS = "the server sends `data`, which may be invalid"
    CUT = "the connection breaks"
    REFUSE = "the next connect attempt is refused"
    TIME = "`number` tenths of a second pass"


class Step(NamedTuple):
    """One step of a client script. `Command` tells which fields the command uses."""

    command: Command
    subject: str = "a"
    data: bytes = b""
    number: int = 0


_common_subjects: Final = st.sampled_from(["a", "a.b", "b"])
_answers: Final[st.SearchStrategy[bytes]] = st.one_of(
    events_from(Role.SERVER).map(encode),
    st.sampled_from(
        [
            b"PONG\r\n",
            b"PING\r\n",
            b'INFO {"headers":true}\r\n',
            b'INFO {"ldm":true}\r\n',
            b"MSG a 1 2\r\nhi\r\n",
            b"MSG a 1 2\r\nhi\r\nMSG a 1 2\r\nho\r\n",
        ]
    ),
    server_errors.map(lambda text: encode(Err(text))),
)


def client_scripts(
    *,
    subjects: st.SearchStrategy[str] = _common_subjects,
    max_steps: int = 8,
) -> st.SearchStrategy[list[Step]]:
    """Scripts of what happens to a client, starting with `Command.OPEN`.

    A script is data: a test maps each `Command` to a call of the client under test.

    Args:
        subjects: the subjects to publish and subscribe to.
        max_steps: the maximum number of steps in a script.

    >>> from hypothesis import given, settings
    >>> @settings(max_examples=20, deadline=None, database=None)
    ... @given(client_scripts())
    ... def test_a_script_starts_with_open(script):
    ...     assert script[0].command is Command.OPEN
    >>> test_a_script_starts_with_open()
    """
    commands = [command for command in Command if command is not Command.SERVER_SAYS]
    by_caller = st.builds(
        lambda command_and_number, subject: Step(
            command_and_number[0], subject, b"hi", command_and_number[1]
        ),
        st.sampled_from([(command, number) for command in commands for number in (0, 1, 2, 9)]),
        subjects,
    )
    # Not a `map`: `|` looks through it and would count each kind of answer as one branch.
    by_server = st.builds(lambda data: Step(Command.SERVER_SAYS, data=data), _answers)
    return st.lists(by_caller | by_server, max_size=max_steps - 1).map(
        lambda steps: [Step(Command.OPEN), *steps]
    )
