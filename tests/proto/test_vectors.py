"""Conformance vectors, run against nasq's codec. vectors/README.md describes their format."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from fuzz.strict import End, read, read_headers
from nasq_proto import (
    Client,
    ClientOptions,
    Connect,
    Decoder,
    Err,
    Event,
    Info,
    InvalidHeaderError,
    InvalidSubjectError,
    Limits,
    Msg,
    NoRespondersError,
    Ok,
    Ping,
    Pong,
    ProtocolFailed,
    Pub,
    Role,
    Server,
    Sub,
    Unsub,
    check_subject,
    encode,
    parse_headers,
    subject_matches,
    unfold,
)
from nasq_proto.strategies import Invalid
from nasq_proto.testing import Broker, Link

HERE = Path(__file__).parent / "vectors"
Vector = dict[str, Any]
ROLES = {"client_reads": Role.CLIENT, "server_reads": Role.SERVER}


def vectors(name: str) -> list[Vector]:
    file = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    assert file["format"] == 1
    found: list[Vector] = file["vectors"]
    return found


def each(*names: str) -> list[Any]:
    return [
        pytest.param(name, vector, id=f"{name}: {vector['name']}")
        for name in names
        for vector in vectors(name)
    ]


def raw(text: str) -> bytes:
    return text.encode("latin-1")


def maybe_raw(text: str | None) -> bytes | None:
    return None if text is None else raw(text)


def word(text: str) -> str:
    return raw(text).decode("utf-8", "surrogateescape")


def maybe_word(text: str | None) -> str | None:
    return None if text is None else word(text)


def event_of(given: Vector) -> Event:
    kind = given["type"]
    if kind in ("MSG", "PUB"):
        rest = raw(given["payload"]), maybe_word(given["reply"]), maybe_raw(given["headers"])
        subject = word(given["subject"])
        return Pub(subject, *rest) if kind == "PUB" else Msg(subject, word(given["sid"]), *rest)
    if kind == "SUB":
        return Sub(word(given["subject"]), word(given["sid"]), maybe_word(given["queue_group"]))
    if kind == "UNSUB":
        return Unsub(word(given["sid"]), given["max_msgs"])
    if kind in ("INFO", "CONNECT"):
        return Info(given["fields"]) if kind == "INFO" else Connect(given["fields"])
    if kind == "ERR":
        return Err(given["text"])
    return {"PING": Ping, "PONG": Pong, "OK": Ok}[kind]()


def events_of(vector: Vector) -> list[Event]:
    return [event_of(given) for given in vector["events"]]


def limits_of(vector: Vector) -> Limits:
    return Limits(**vector.get("limits", {}))


@pytest.mark.parametrize("step", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize(("name", "vector"), each(*ROLES))
def test_a_stream_is_read_in_chunks_of_any_size(name: str, vector: Vector, step: int) -> None:
    stream = raw(vector["bytes"])
    decoder = Decoder(ROLES[name], limits_of(vector))
    events: list[Event] = []
    for at in range(0, len(stream), step):
        for frame in decoder.receive(stream[at : at + step]):
            events += unfold(frame)
        if events and isinstance(events[-1], ProtocolFailed):
            break
    end = "within" if decoder.buffered else "clean"
    if events and isinstance(events[-1], ProtocolFailed):
        end = "broken"
        del events[-1]
    assert events == events_of(vector)
    assert end == vector["end"]


@pytest.mark.parametrize(("name", "vector"), each(*ROLES))
def test_the_strict_reader_reads_the_same_events(name: str, vector: Vector) -> None:
    ends = {"clean": End.CLEAN, "within": End.WITHIN, "broken": End.BROKEN}
    expected = events_of(vector), ends[vector["end"]]
    assert read(raw(vector["bytes"]), ROLES[name], limits_of(vector)) == expected


@pytest.mark.parametrize(("name", "vector"), each(*ROLES))
def test_the_encoder_writes_the_canonical_stream(name: str, vector: Vector) -> None:
    if vector.get("canonical"):
        assert b"".join(map(encode, events_of(vector))) == raw(vector["bytes"])


@pytest.mark.parametrize(("name", "vector"), each("headers"))
def test_header_blocks_are_parsed_or_refused(name: str, vector: Vector) -> None:
    block = raw(vector["bytes"])
    if vector["end"] == "broken":
        with pytest.raises(InvalidHeaderError):
            parse_headers(block)
        assert read_headers(block) is None
        return
    status, description, headers = parse_headers(block)
    assert (status, description) == (word(vector["status"]), word(vector["description"]))
    expected: dict[str, list[str]] = {}
    for key, value in vector["headers"]:
        expected.setdefault(word(key), []).append(word(value))
    assert {key: headers.get_all(key) for key in headers} == expected
    assert list(headers) == list(expected)


@pytest.mark.parametrize(("name", "vector"), each("subjects"))
def test_subjects_are_allowed_and_matched(name: str, vector: Vector) -> None:
    subject = vector["subject"]
    if "pattern" in vector:
        assert subject_matches(vector["pattern"], subject) is vector["matches"]
        return
    for use, wildcards in (("publish", False), ("subscribe", True)):
        if vector[use]:
            assert check_subject(subject, wildcards=wildcards) == subject.encode()
        else:
            with pytest.raises(InvalidSubjectError):
                check_subject(subject, wildcards=wildcards)


@pytest.mark.parametrize(("name", "vector"), each("requests"))
def test_responses_resolve_the_request(name: str, vector: Vector) -> None:
    client = Client(ClientOptions([Server("s1", 4222)]), rng=random.Random(1))
    link = Link(client, Broker())
    client.open(link.now)
    link.pump()
    assert link.session is not None
    link.session.mute = True
    op = client.request("a", b"")
    link.pump()
    asked = [event for event in link.session.received if isinstance(event, (Sub, Pub))]
    assert isinstance(asked[0], Sub)
    assert isinstance(asked[1], Pub)
    assert asked[1].reply is not None
    headers, payload = maybe_raw(vector["headers"]), raw(vector["payload"])
    link.session.say(Msg(asked[1].reply, asked[0].sid, payload, None, headers))
    link.pump()
    assert op.done
    if vector["answer"] == "no_responders":
        assert isinstance(op.error, NoRespondersError)
        return
    assert vector["answer"] == "reply"
    head, body, *_ = op.result()
    assert (body[: head.header_size] or None, body[head.header_size :]) == (headers, payload)


def test_disputed_vectors_give_a_reason() -> None:
    reasons = [
        vector["disputed"]
        for name in (*ROLES, "headers", "subjects", "requests")
        for vector in vectors(name)
        if "disputed" in vector
    ]
    assert len(reasons) >= 10
    assert all(len(reason) > 10 for reason in reasons)


def test_every_kind_of_invalid_stream_has_a_vector() -> None:
    kinds = {vector["kind"] for name in ROLES for vector in vectors(name) if "kind" in vector}
    assert kinds == {kind.name for kind in Invalid}


@pytest.mark.parametrize("name", [*ROLES, "headers", "subjects", "requests"])
def test_no_two_vectors_are_the_same(name: str) -> None:
    found = [json.dumps({**vector, "name": ""}, sort_keys=True) for vector in vectors(name)]
    assert len(set(found)) == len(found)
