"""Hypothesis strategies for the NATS protocol: for tests of clients, servers, proxies and codecs.

They need Hypothesis (`pip install 'nasq[strategies]'`). Nothing else in nasq imports this package.
A strategy that depends on the direction of a stream takes the `Role` of the *sender*.

| module | what | strategies |
|---|---|---|
| `words` | arguments | `subjects` `patterns` `relayed_subjects` `sids` `queue_groups` `any_text` |
| | payloads, headers | `payloads` `headers` `header_blocks` `broken_header_blocks` |
| `events` | events | `infos` `connects` `server_errors` `events_from` |
| `streams` | the bytes of one event | `frames_from` |
| | valid streams | `streams_from` `awkward_streams` `repetitive_streams` |
| | damaged streams | `truncated_streams` `broken_streams` `mutations_of` |
| | streams in chunks | `chunks_of` |
| `invalid` | streams that break one rule | `invalid_streams` (see `Invalid`) |
| `scripts` | dialogues | `sessions` `client_scripts` |

This test cuts streams anywhere and checks that a reader returns the same events:

    >>> from hypothesis import given, settings, strategies as st
    >>> from nasq_proto import Decoder, Role, unfold
    >>> from nasq_proto.strategies import chunks_of, streams_from
    >>> @settings(max_examples=20, deadline=None, database=None)
    ... @given(st.data())
    ... def test_cut_anywhere(data):
    ...     events, stream = data.draw(streams_from(Role.SERVER))
    ...     decoder = Decoder(Role.CLIENT)
    ...     chunks = data.draw(chunks_of(stream))
    ...     frames = [frame for chunk in chunks for frame in decoder.receive(chunk)]
    ...     assert [event for frame in frames for event in unfold(frame)] == events
    >>> test_cut_anywhere()
"""

from __future__ import annotations

from nasq_proto.errors import MissingDependencyError

try:
    import hypothesis as _hypothesis  # noqa: F401 - only whether it is installed
except ImportError as missing:
    raise MissingDependencyError(
        "nasq_proto.strategies needs hypothesis: pip install 'nasq[strategies]'"
    ) from missing

from .events import connects, events_from, infos, server_errors
from .invalid import Invalid, InvalidStream, invalid_streams
from .scripts import Command, Step, client_scripts, sessions
from .streams import (
    awkward_streams,
    broken_streams,
    chunks_of,
    frames_from,
    mutations_of,
    repetitive_streams,
    streams_from,
    truncated_streams,
)
from .words import (
    any_text,
    broken_header_blocks,
    header_blocks,
    headers,
    patterns,
    payloads,
    queue_groups,
    relayed_subjects,
    sids,
    subjects,
)

__all__ = [
    "Command",
    "Invalid",
    "InvalidStream",
    "Step",
    "any_text",
    "awkward_streams",
    "broken_header_blocks",
    "broken_streams",
    "chunks_of",
    "client_scripts",
    "connects",
    "events_from",
    "frames_from",
    "header_blocks",
    "headers",
    "infos",
    "invalid_streams",
    "mutations_of",
    "patterns",
    "payloads",
    "queue_groups",
    "relayed_subjects",
    "repetitive_streams",
    "server_errors",
    "sessions",
    "sids",
    "streams_from",
    "subjects",
    "truncated_streams",
]
