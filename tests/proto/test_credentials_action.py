"""`NeedCredentials`: the transport calls the user's functions, and the core never does."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import pytest

from nasq_proto import (
    Client,
    ClientOptions,
    InvalidOptionError,
    NeedCredentials,
    OpenTransport,
    OperationTimeoutError,
    ReconnectPolicy,
    Server,
    UsageError,
)

INFO = b'INFO {"headers":true,"nonce":"n"}\r\n'


def new_client(**options: Any) -> Client:
    return Client(ClientOptions([Server("a", 1)], **options), rng=random.Random(1))


def until_credentials(client: Client) -> NeedCredentials:
    """Connect up to the point where the client needs credentials."""
    client.open(0.0)
    action = client.next_action()
    assert isinstance(action, OpenTransport)
    client.transport_opened(1, 0.0)
    client.receive_data(1, INFO, 0.0)
    need = client.next_action()
    assert isinstance(need, NeedCredentials)
    return need


def test_connect_is_sent_once_and_only_after_credentials_are_given() -> None:
    called: list[str] = []

    def password() -> str:
        called.append("password")
        return "p"

    client = new_client(user="u", password=password)
    need = until_credentials(client)
    assert not called
    assert client.data_to_send() == b""
    fields = need.read_now()
    assert fields == {"user": "u", "pass": "p"}
    client.credentials_given(need.attempt, fields, 1.0)
    sent = client.data_to_send()
    assert b'"pass":"p"' in sent
    assert sent.endswith(b"PING\r\n")
    client.credentials_given(need.attempt, fields, 1.0)
    assert client.data_to_send() == b""


def test_fixed_credentials_need_no_action() -> None:
    client = new_client(user="u", password="p")
    client.open(0.0)
    client.next_action()
    client.transport_opened(1, 0.0)
    client.receive_data(1, INFO, 0.0)
    assert client.next_action() is None
    assert b'"user":"u"' in client.data_to_send()


def test_awaitable_credentials_are_awaited() -> None:
    async def token() -> str:
        await _Pause()
        return "t"

    async def authenticator(info: object) -> dict[str, str]:
        await _Pause()
        return {"nkey": "k"}

    need = until_credentials(new_client(token=token, authenticator=authenticator))
    reading = need.read()
    reading.send(None)
    reading.send(None)
    with pytest.raises(StopIteration) as stop:
        reading.send(None)
    assert stop.value.value == {"auth_token": "t", "nkey": "k"}


def test_a_callable_that_exits_is_an_error_of_the_credentials() -> None:
    need = until_credentials(new_client(token=lambda: sys.exit(3)))
    with pytest.raises(RuntimeError, match=r"called sys\.exit: SystemExit\(3\)"):
        need.read_now()


class _Pause:
    def __await__(self) -> Any:
        yield


def test_a_coroutine_function_that_does_not_suspend_can_be_read_at_once() -> None:
    async def token() -> str:
        return "t"

    async def authenticator(info: object) -> dict[str, str]:
        return {"nkey": "k"}

    need = until_credentials(new_client(token=token, authenticator=authenticator))
    assert need.read_now() == {"auth_token": "t", "nkey": "k"}


def test_a_coroutine_function_that_suspends_can_not_be_read_at_once() -> None:
    async def token() -> str:
        await _Pause()
        return "t"

    need = until_credentials(new_client(token=token))
    with pytest.raises(UsageError, match="plain function"):
        need.read_now()


@pytest.mark.parametrize(
    ("secret", "expected"),
    [(lambda: 5, "expected str for 'auth_token', not int"), (lambda: b"t", "not bytes")],
)
def test_credentials_of_the_wrong_type_fail_the_attempt(
    secret: Callable[[], Any], expected: str
) -> None:
    client = new_client(token=secret, reconnect=ReconnectPolicy())
    need = until_credentials(client)
    with pytest.raises(InvalidOptionError, match=expected) as caught:
        need.read_now()
    client.credentials_failed(need.attempt, caught.value, 0.0)
    assert isinstance(client.last_error, InvalidOptionError)
    assert expected in str(client.last_error)


def test_fixed_credentials_of_the_wrong_type_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="token must be a str or a callable"):
        new_client(token=5)


def test_credentials_that_are_never_given_time_out_the_attempt() -> None:
    client = new_client(token=lambda: "t", connect_timeout=2.0)
    need = until_credentials(client)
    client.handle_timeout(2.0)
    assert isinstance(client.last_error, OperationTimeoutError)
    assert "waiting for the credentials" in str(client.last_error)
    # The attempt is over, so late credentials have no effect.
    client.credentials_given(need.attempt, {"auth_token": "t"}, 3.0)
    client.credentials_failed(need.attempt, OSError(), 3.0)
    assert client.data_to_send() == b""
    assert isinstance(client.last_error, OperationTimeoutError)
