"""The error classes, and which of them a server's -ERR text leads to."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasq_proto import errors
from nasq_proto.errors import (
    AuthenticationTimeoutError,
    AuthorizationError,
    ConnectFailedError,
    ConnectionLimitError,
    ConnectionLostError,
    NASQError,
    PermissionsViolationError,
    ServerError,
    StaleConnectionError,
    SubscriptionLimitError,
    SubscriptionRefusedError,
    TLSRequiredError,
    server_error,
)

CLASSES: list[type[NASQError]] = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, NASQError)
]

# ---------------------------------------------------------------------- the tree


def test_the_public_names_are_the_error_classes_and_server_error() -> None:
    names = {name for name in errors.__all__ if name != "server_error"}
    assert names == {cls.__name__ for cls in CLASSES}


def test_the_docstring_of_the_module_names_every_class() -> None:
    assert errors.__doc__ is not None
    assert [cls.__name__ for cls in CLASSES if cls.__name__ not in errors.__doc__] == []


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("InvalidSubjectError", ValueError),
        ("InvalidHeaderError", ValueError),
        ("InvalidOptionError", ValueError),
        ("InvalidPayloadError", ValueError),
        ("PayloadTooLargeError", ValueError),
        ("UsageError", RuntimeError),
        ("MissingDependencyError", ImportError),
        ("OperationTimeoutError", TimeoutError),
        ("BufferFullError", ConnectionError),
        ("NotConnectedError", ConnectionError),
        ("ConnectionClosedError", ConnectionError),
        ("ConnectionLostError", ConnectionError),
        ("StaleConnectionError", ConnectionError),
        ("ConnectFailedError", ConnectionError),
        ("AuthorizationError", PermissionError),
        ("PermissionsViolationError", PermissionError),
    ],
)
def test_an_error_inherits_from_a_built_in_class(name: str, builtin: type[Exception]) -> None:
    assert issubclass(getattr(errors, name), builtin)


def test_local_and_remote_protocol_errors_are_unrelated_classes() -> None:
    assert not issubclass(errors.LocalProtocolError, errors.RemoteProtocolError)
    assert not issubclass(errors.RemoteProtocolError, errors.LocalProtocolError)


def test_a_stale_connection_error_is_a_connection_lost_error() -> None:
    assert issubclass(StaleConnectionError, ConnectionLostError)


PLAIN = [
    cls
    for cls in CLASSES
    if cls not in (ConnectFailedError, PermissionsViolationError)
    and not issubclass(cls, ServerError)
]
INSTANCES: list[NASQError] = [
    *(cls("why") for cls in PLAIN),
    ConnectFailedError([("a:1", ValueError("x")), ("b:2", NASQError("y"))]),
    server_error("Stale Connection"),
    server_error("Invalid Subject"),
    server_error("Authorization Violation"),
    server_error("Authorization Violation", "a:4222"),
    server_error('Permissions Violation for Publish to "a"', "a:4222"),
    ServerError("Something", closes=True),
    ServerError("Something", closes=True, address="a:4222", hint="do something"),
    server_error('Permissions Violation for Subscription to "a" using queue "q" (sid "7")'),
]


@pytest.mark.parametrize("error", INSTANCES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, lambda error: pickle.loads(pickle.dumps(error))],
    ids=["copy", "pickle"],
)
def test_an_error_can_be_copied_and_pickled(error: NASQError, duplicate: Any) -> None:
    other = duplicate(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert {k: repr(v) for k, v in vars(other).items()} == {
        k: repr(v) for k, v in vars(error).items()
    }


def test_connect_failed_error_names_the_reason_for_each_server() -> None:
    error = ConnectFailedError([("a:1", ValueError("refused")), ("b:2", ValueError("no route"))])
    assert "(a:1: refused; b:2: no route)" in str(error)


def test_connect_failed_error_shows_a_limited_number_of_servers() -> None:
    refused = server_error("Authorization Violation", "a:1")
    error = ConnectFailedError(
        [("a:1", refused), *((f"s{n}:1", ValueError("x")) for n in range(99))]
    )
    assert f"({refused}; s0:1: x; " in str(error)
    assert "s6:1: x; and 92 more)" in str(error)
    assert len(error.reasons) == 100


# ---------------------------------------------------------------------- the text of -ERR

# From nats-server, server/errors.go: text, class, and whether the server closes the connection.
TABLE: list[tuple[str, type[ServerError], bool]] = [
    ("Unknown Protocol Operation", ServerError, True),
    ("maximum control line exceeded", ServerError, True),
    ("Maximum Payload Violation", ServerError, True),
    ("Authorization Violation", AuthorizationError, True),
    ("Authentication Timeout", AuthenticationTimeoutError, True),
    ("User Authentication Expired", AuthorizationError, True),
    ("User Authentication Revoked", AuthorizationError, True),
    ("Account Authentication Expired", AuthorizationError, True),
    ("maximum connections exceeded", ConnectionLimitError, True),
    ("maximum account active connections exceeded", ConnectionLimitError, True),
    (
        "Connection throttling is active. Please try again later.",
        ConnectionLimitError,
        True,
    ),
    ("Secure Connection - TLS Required", TLSRequiredError, True),
    ("Stale Connection", ServerError, True),
    ("invalid client protocol", ServerError, True),
    ("no responders requires headers support", ServerError, True),
    ("attempted to connect to route port", ServerError, True),
    ("maximum subscriptions exceeded", SubscriptionLimitError, False),
    ("Invalid Subject", SubscriptionRefusedError, False),
    ("Invalid Publish Subject", ServerError, False),
    ('Permissions Violation for Publish to "x"', PermissionsViolationError, False),
    ('Permissions Violation for Subscription to "x"', PermissionsViolationError, False),
    ('Permissions Violation for Publish with Reply of "x"', PermissionsViolationError, False),
    ("Some Unknown Error", ServerError, False),
    ("Permissions Violation for Some Unknown Operation", ServerError, False),
    ("", ServerError, False),
]


@pytest.mark.parametrize(("text", "cls", "closes"), TABLE)
@pytest.mark.parametrize("case", [str, str.lower, str.upper], ids=["as sent", "lower", "upper"])
def test_the_text_decides_the_class_in_any_case(
    text: str, cls: type[ServerError], closes: bool, case: Any
) -> None:
    assert type(server_error(case(text))) is cls


@pytest.mark.parametrize(("text", "cls", "closes"), TABLE)
@pytest.mark.parametrize("case", [str, str.lower, str.upper], ids=["as sent", "lower", "upper"])
def test_closes_tells_whether_the_server_closes_the_connection(
    text: str, cls: type[ServerError], closes: bool, case: Any
) -> None:
    assert server_error(case(text)).closes is closes


@pytest.mark.parametrize(("text", "cls", "closes"), TABLE)
def test_an_error_keeps_the_servers_text(text: str, cls: type[ServerError], closes: bool) -> None:
    error = server_error(text)
    assert error.text == text
    assert str(error).partition(" (")[0] == f"the server said: {text}".partition(" (")[0]


def test_a_text_is_recognised_by_its_beginning() -> None:
    assert server_error("Maximum Payload Violation: 2 vs 1").closes


def violation(text: str) -> PermissionsViolationError:
    error = server_error(text)
    assert isinstance(error, PermissionsViolationError)
    return error


@pytest.mark.parametrize(
    ("text", "operation"),
    [
        ('Permissions Violation for Publish to "x"', "publish"),
        ('Permissions Violation for Subscription to "x"', "subscribe"),
        ('Permissions Violation for Publish with Reply of "x"', "reply"),
        ('PERMISSIONS VIOLATION FOR PUBLISH WITH REPLY OF "x"', "reply"),
    ],
)
def test_a_violation_has_its_operation(text: str, operation: str) -> None:
    assert violation(text).operation == operation


@pytest.mark.parametrize(
    ("words", "queue_group", "sid"),
    [
        ('"a.b"', None, None),
        ('"a.b" using queue "q"', "q", None),
        ('"a.b" (sid "7")', None, "7"),
        ('"a.b" using queue "q" (sid "7")', "q", "7"),
        ('"a.b" USING QUEUE "q" (SID "7")', "q", "7"),
        ('"a.b" using queue "sid " (sid "7")', "sid ", "7"),
        ('"a.b" using queue "(sid \\"8\\")"', '(sid "8")', None),
        ('"a.b" using queue "" (sid "7")', "", "7"),
    ],
)
def test_a_violation_has_its_subject_queue_group_and_sid(
    words: str, queue_group: str | None, sid: str | None
) -> None:
    error = violation(f"Permissions Violation for Subscription to {words}")
    assert (error.subject, error.queue_group, error.sid) == ("a.b", queue_group, sid)


@pytest.mark.parametrize(
    ("quoted", "subject"),
    [
        (r'"a"', "a"),
        (r'""', ""),
        (r'"a\"b"', 'a"b'),
        (r'"a\\b"', "a\\b"),
        (r'"a\\"', "a\\"),
        (r'"a\\\"b"', 'a\\"b'),
        (r'"using queue "', "using queue "),
        (r'"grüß"', "grüß"),
        (r'"\a\b\f\v"', "\a\b\f\v"),
        (r'"\x00\x1f\x7f"', "\x00\x1f\x7f"),
        (r'"a\u200bb"', "a\u200bb"),
        (r'"\U000e0001"', "\U000e0001"),
        (r'"\xff\xfe"', "\udcff\udcfe"),
        (r'"\\x41"', "\\x41"),
        (r'"a', "a"),
        ('"', ""),
        ('"a\\', "a"),
        ("a.b", "a.b"),
        ("", ""),
    ],
)
def test_a_subject_in_go_quotes_is_read(quoted: str, subject: str) -> None:
    assert violation(f"Permissions Violation for Publish to {quoted}").subject == subject


def test_a_subject_that_a_real_server_quoted_is_read() -> None:
    # nats-server 2.15.1, denied: PUB closed.a"\<zero width space><byte ff>
    text = 'Permissions Violation for Publish to "closed.a\\"\\\\\\u200b\\xff"'
    assert violation(text).subject == 'closed.a"\\\u200b\udcff'


@given(subject=st.text(), group=st.none() | st.text(), sid=st.none() | st.text())
def test_any_quoted_names_are_read_back(subject: str, group: str | None, sid: str | None) -> None:
    text = f"Permissions Violation for Subscription to {go_quote(subject)}"
    if group is not None:
        text += f" using queue {go_quote(group)}"
    if sid is not None:
        text += f" (sid {go_quote(sid)})"
    error = violation(text)
    assert (error.subject, error.queue_group, error.sid) == (subject, group, sid)


def go_quote(text: str) -> str:
    """Quote as Go's %q does, for text without surrogates."""
    # JSON quotes in the same way, except characters outside the BMP, which Go leaves unchanged.
    return json.dumps(text, ensure_ascii=False)


@given(text=st.text(max_size=40).map('permissions violation for subscription to "'.__add__))
def test_any_violation_text_makes_an_error(text: str) -> None:
    assert server_error(text).text == text


@pytest.mark.parametrize(("text", "cls", "closes"), TABLE)
def test_an_error_names_the_server_that_sent_it(
    text: str, cls: type[ServerError], closes: bool
) -> None:
    error = server_error(text, "a.example:4222")
    assert error.address == "a.example:4222"
    assert error.text == text
    assert str(error).startswith(f"the server a.example:4222 said: {text}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Authorization Violation", "check the user, password, token, credentials or nkey seed"),
        ("Authentication Timeout", "overloaded"),
        ("User Authentication Expired", "renew the credentials"),
        ("Secure Connection - TLS Required", "tls=True"),
        ("maximum control line exceeded", "max_control_line"),
    ],
)
def test_an_error_says_what_to_do(text: str, words: str) -> None:
    assert words in str(server_error(text))


def test_an_authentication_timeout_is_not_an_authorization_error() -> None:
    error = server_error("Authentication Timeout")
    assert not isinstance(error, (AuthorizationError, PermissionError, TimeoutError))
