"""Authentication: nkeys, credentials files, expiry, refusals. No secret is ever shown."""

from __future__ import annotations

import itertools
import json
import logging
import secrets
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from nasq import (
    AuthenticationTimeoutError,
    AuthorizationError,
    Closed,
    ConnectFailedError,
    ConnectionClosedError,
    ConnectionLostError,
    Disconnected,
    InvalidOptionError,
    NASQError,
    NASQueue,
    NotConnectedError,
    Reconnected,
    ReconnectPolicy,
)
from nasq.auth import credentials_authenticator
from nasq.server import LocalServer
from nasq_proto import Info, Notice, parse_server
from tests.conftest import Kit
from tests.e2e.jwts import Key, Operator, creds_text

FAST = ReconnectPolicy(delay=0.01, max_delay=0.05)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def operator() -> Operator:
    return Operator()


@pytest.fixture(scope="module")
def jwt_server(operator: Operator) -> Iterator[LocalServer]:
    with LocalServer(config=operator.config, jetstream=False) as server:
        yield server


@pytest.fixture(scope="module")
def key() -> Key:
    return Key()


@pytest.fixture(scope="module")
def nkey_server(key: Key) -> Iterator[LocalServer]:
    config = f"authorization {{ users = [ {{ nkey: {key.public} }} ] }}"
    with LocalServer(config=config, jetstream=False) as server:
        yield server


async def exchange(kit: Kit, **options: Any) -> None:
    """Connect, and send a message that comes back."""
    async with kit.queue(**options) as queue:
        await queue.subscribe_and_queue("a")
        await queue.push("a", "x")
        message = await queue.pop(timeout=10.0)
        assert message is not None
        assert message.text == "x"
        assert queue.last_error is None


async def refused(kit: Kit, **options: Any) -> Exception:
    """Check that the queue does not connect; return the error."""
    queue = kit.queue(**options)
    assert await queue.connect() is False
    assert not queue.is_connected()
    error = queue.last_error
    assert isinstance(error, NASQError)
    with pytest.raises(type(error)):
        async with queue:
            pass
    with pytest.raises((NASQError, ConnectionError)):
        await queue.push("a", "x")
    return error


# ---------------------------------------------------------------------- nkeys


async def test_an_nkey_seed_can_be_given_by_value_by_file_and_by_callable(
    kit: Kit, nkey_server: LocalServer, key: Key, tmp_path: Path
) -> None:
    file = tmp_path / "user.nk"
    file.write_text(f"{key.seed}\n\n")
    sources: list[Any] = [
        key.seed,
        f"{key.seed}\n",
        str(file),
        file,
        lambda: key.seed,
        lambda: file,
        lambda: str(file),
    ]
    for source in sources:
        await exchange(kit, port=nkey_server.port, nkey_seed=source)


async def test_the_wrong_nkey_is_refused(kit: Kit, nkey_server: LocalServer) -> None:
    error = await refused(kit, port=nkey_server.port, nkey_seed=Key().seed)
    assert isinstance(error, AuthorizationError)
    assert isinstance(error, PermissionError)
    assert error.text.lower() == "authorization violation"


async def test_missing_or_other_credentials_are_refused(
    kit: Kit, nkey_server: LocalServer, jwt_server: LocalServer
) -> None:
    for server in (nkey_server, jwt_server):
        for options in ({}, {"user": "u", "password": "p"}, {"token": "t"}):
            error = await refused(kit, port=server.port, **options)
            assert isinstance(error, AuthorizationError)


BAD_SEEDS: list[Callable[[str], str]] = [
    lambda seed: seed[:-3],
    lambda seed: seed[:20],
    lambda seed: "SU" + "A" * 56,
    lambda seed: seed.replace(seed[30], "!"),
    lambda seed: seed.lower(),
    lambda seed: "",
    lambda seed: seed + seed,
    lambda seed: "SUFOO",
    lambda seed: "SU" + "grüß" * 14,
    lambda seed: Key("account").seed,
]


@pytest.mark.parametrize("make", BAD_SEEDS)
async def test_an_invalid_seed_is_refused_without_showing_it(
    kit: Kit, nkey_server: LocalServer, key: Key, make: Callable[[str], str], tmp_path: Path
) -> None:
    bad = make(key.seed)
    file = tmp_path / "bad.nk"
    file.write_text(bad, encoding="utf-8")
    with pytest.raises(InvalidOptionError) as caught:
        kit.queue(port=nkey_server.port, nkey_seed=bad)
    errors: list[Exception] = [
        caught.value,
        await refused(kit, port=nkey_server.port, nkey_seed=lambda: bad),
        await refused(kit, port=nkey_server.port, nkey_seed=file),
    ]
    for error in errors:
        assert isinstance(error, InvalidOptionError)
        assert "invalid seed" in str(error)
        for text in (str(error), repr(error), "".join(traceback.format_exception(error))):
            assert len(bad) < 10 or bad[2:] not in text
            assert key.seed[5:] not in text
    assert str(file) in str(errors[-1])


@pytest.mark.parametrize("source", [b"seed", 7, ["x"]])
def test_a_source_of_the_wrong_type_raises_type_error(source: Any) -> None:
    for option in ("nkey_seed", "credentials"):
        with pytest.raises(TypeError, match=f"{option} must be a str, a path or a callable"):
            NASQueue(**{option: source})


def test_credentials_given_as_text_are_checked_at_once(operator: Operator) -> None:
    good = operator.creds()
    NASQueue(credentials=good)
    for text in (
        "",
        "\n",
        good.replace("BEGIN NATS", "BEGIN"),
        good.replace("\nSU", "\nSUA"),
        creds_text("jwt", Key("account").seed),
    ):
        with pytest.raises(InvalidOptionError, match="credentials: ") as caught:
            NASQueue(credentials=text)
        assert good[40:80] not in str(caught.value)


async def test_a_missing_or_unreadable_file_is_named_in_the_error(
    kit: Kit, nkey_server: LocalServer, jwt_server: LocalServer, tmp_path: Path
) -> None:
    garbled = tmp_path / "garbled"
    garbled.write_bytes(b"\xff\xfe\x00" + bytes(range(256)) * 10)
    empty = tmp_path / "empty"
    empty.touch()
    for path in (tmp_path / "nowhere", tmp_path, garbled, empty):
        for given in (path, str(path)):
            for option, port in (("nkey_seed", nkey_server.port), ("credentials", jwt_server.port)):
                error = await refused(kit, port=port, **{option: given})
                assert isinstance(error, InvalidOptionError)
                assert f"{option} file {str(path)!r}" in str(error)
                assert str(error).startswith(f"can't get the credentials for 127.0.0.1:{port}: ")


async def test_a_file_may_be_created_after_the_queue(
    kit: Kit,
    nkey_server: LocalServer,
    jwt_server: LocalServer,
    key: Key,
    operator: Operator,
    tmp_path: Path,
) -> None:
    for option, port, text in (
        ("nkey_seed", nkey_server.port, key.seed),
        ("credentials", jwt_server.port, operator.creds()),
    ):
        file = tmp_path / f"later.{option[:4]}"
        queue = kit.queue(port=port, **{option: str(file)})
        assert await queue.connect() is False
        assert f"file {str(file)!r}: No such file" in str(queue.last_error)
        file.write_text(text)
        assert await queue.connect() is True
        await queue.disconnect()


def test_a_file_name_that_may_be_a_secret_is_not_shown() -> None:
    secret = "s" + secrets.token_hex(12)
    authenticate = credentials_authenticator(secret)
    with pytest.raises(InvalidOptionError, match="the name is not shown") as caught:
        authenticate(Info({"nonce": "x"}))
    assert secret[:10] not in str(caught.value)


async def test_an_nkey_is_refused_when_the_server_sends_no_nonce(kit: Kit, key: Key) -> None:
    assert isinstance(kit.server, LocalServer)
    error = await refused(kit, nkey_seed=key.seed)
    assert isinstance(error, InvalidOptionError)
    assert "nonce" in str(error)


def test_an_nkey_seed_together_with_credentials_is_refused(key: Key) -> None:
    with pytest.raises(InvalidOptionError, match="not both"):
        NASQueue(nkey_seed=key.seed, credentials="a.creds")


# ---------------------------------------------------------------------- credentials files


async def test_credentials_can_be_given_by_path_and_by_callable(
    kit: Kit, jwt_server: LocalServer, operator: Operator, tmp_path: Path
) -> None:
    text = operator.creds()
    file = tmp_path / "user.creds"
    file.write_text(text)
    windows = tmp_path / "windows.creds"
    windows.write_bytes(text.replace("\n", "\r\n").encode())

    async def fetched() -> str:
        return text

    async def found() -> Path:
        return file

    sources: list[Any] = [
        fetched,
        found,
        file,
        str(file),
        lambda: file,
        lambda: str(file),
        lambda: text,
        lambda: text.strip(),
        windows,
    ]
    for source in sources:
        await exchange(kit, port=jwt_server.port, credentials=source)


async def test_credentials_that_the_server_rejects_are_an_authorization_error(
    kit: Kit, jwt_server: LocalServer, operator: Operator
) -> None:
    user, other = Key(), Key()
    texts = [
        Operator().creds(),  # for an account that the server does not know
        operator.creds(expires_in=-10),
        creds_text(operator.user_jwt(user), other.seed),  # signed with another key
        creds_text(operator.user_jwt(user, issuer=other), user.seed),
        creds_text(operator.user_jwt(user)[:-10], user.seed),
    ]
    for text in texts:
        error = await refused(kit, port=jwt_server.port, credentials=lambda text=text: text)
        assert isinstance(error, AuthorizationError)
        assert str(error)


async def test_an_invalid_credentials_file_is_refused_without_showing_it(
    kit: Kit, jwt_server: LocalServer, operator: Operator
) -> None:
    user = Key()
    jwt = operator.user_jwt(user)
    good = creds_text(jwt, user.seed)
    lines = good.splitlines()
    for text, words in (
        ("", "NATS USER JWT"),
        (good.replace("BEGIN NATS USER JWT", "BEGIN SOMETHING"), "NATS USER JWT"),
        (good.replace("BEGIN USER NKEY SEED", "BEGIN SOMETHING"), "USER NKEY SEED"),
        ("\n".join(lines[:6]), "USER NKEY SEED"),
        (creds_text(jwt, "SUAGARBAGE"), "invalid seed"),
        (creds_text(jwt, ""), "invalid seed"),
        ("-----BEGIN nothing", "NATS USER JWT"),
    ):
        error = await refused(kit, port=jwt_server.port, credentials=lambda text=text: text)
        assert isinstance(error, InvalidOptionError)
        assert words in str(error)
        assert user.seed not in str(error)
        assert jwt[-20:] not in str(error)


async def test_credentials_are_read_again_for_each_connection(
    kit: Kit, operator: Operator, tmp_path: Path
) -> None:
    file = tmp_path / "user.creds"
    file.write_text(operator.creds())
    calls: list[int] = []

    def source() -> Path:
        calls.append(1)
        return file

    with LocalServer(config=operator.config, jetstream=False) as server:
        async with kit.queue(port=server.port, credentials=source) as queue:
            for n in range(1, 4):
                assert len(calls) == n
                file.write_text(operator.creds())
                server.restart()
                await kit.until(lambda n=n: queue.stats().reconnects == n)  # type: ignore[misc]
            await queue.flush()


# ---------------------------------------------------------------------- expiry


async def test_expired_credentials_are_replaced_by_fresh_ones(
    kit: Kit, jwt_server: LocalServer, operator: Operator, tmp_path: Path
) -> None:
    file = tmp_path / "user.creds"
    file.write_text(operator.creds(expires_in=2))
    lifetimes: list[int | None] = [None, 2]

    def source_of_text() -> str:
        return operator.creds(expires_in=lifetimes.pop() if lifetimes else None)

    for source in (file, source_of_text):
        events: list[Notice] = []
        queue = kit.queue(port=jwt_server.port, credentials=source, on_event=events.append)
        async with queue:
            await queue.subscribe_and_queue("a")
            file.write_text(operator.creds())
            await queue.push("a", "before")
            await queue.flush()
            await kit.until(lambda queue=queue: queue.stats().reconnects == 1)  # type: ignore[misc]
            assert await queue.wait_connected(10.0)
            await queue.push("a", "after")
            await queue.flush()
            assert [m.text for m in await queue.pop_many(10)] == ["before", "after"]
            lost = [event for event in events if isinstance(event, Disconnected)]
            assert len(lost) == 1
            assert isinstance(lost[0].error, AuthorizationError)
            assert lost[0].error.text == "User Authentication Expired"
            assert lost[0].reconnecting
            assert any(isinstance(event, Reconnected) for event in events)


async def test_credentials_that_stay_expired_close_the_queue_and_end_every_wait(
    kit: Kit, jwt_server: LocalServer, operator: Operator, tmp_path: Path
) -> None:
    file = tmp_path / "user.creds"
    file.write_text(operator.creds(expires_in=2))
    events: list[Notice] = []
    queue = kit.queue(
        port=jwt_server.port, credentials=file, reconnect=FAST, on_event=events.append
    )
    other = kit.queue(port=jwt_server.port, credentials=operator.creds)
    await other.connect()
    await other.subscribe_and_queue("silent")
    await queue.connect()
    await queue.subscribe_and_queue("a")
    ended: list[str] = []

    async def pop() -> object:
        with pytest.raises(ConnectionClosedError) as caught:
            await queue.pop(timeout=60.0)
        assert isinstance(caught.value.__cause__, AuthorizationError)
        ended.append("pop")
        return None

    async def iterate() -> object:
        with pytest.raises(ConnectionClosedError):
            await anext(aiter(queue))
        ended.append("iteration")
        return None

    async def request() -> object:
        with pytest.raises(ConnectionError):
            await queue.request("silent", "x", timeout=60.0)
        ended.append("request")
        return None

    async def wait_connected() -> object:
        # The server may accept the credentials again in the second in which they expire.
        while await queue.wait_connected(60.0):
            await kit.sleep(0.01)
        ended.append("wait_connected")
        return None

    async def flush() -> object:
        async def flush_forever() -> None:
            while True:
                with suppress(ConnectionLostError):
                    await queue.flush(timeout=60.0)
                await kit.sleep(0.01)

        with pytest.raises(ConnectionError, match=r"(?i)authorization violation|closed"):
            await flush_forever()
        ended.append("flush")
        return None

    await kit.gather(pop, iterate, request, wait_connected, flush)
    assert len(ended) == 5
    await other.disconnect()
    assert isinstance(queue.last_error, AuthorizationError)
    await kit.until(lambda: any(isinstance(event, Closed) for event in events))
    closed = next(event for event in events if isinstance(event, Closed))
    assert isinstance(closed.error, AuthorizationError)
    with pytest.raises(ConnectionError, match=queue.last_error.text):
        await queue.push("a", "x")
    with pytest.raises((ConnectionError, AuthorizationError)):
        await queue.subscribe_and_queue("b")
    # The queue can connect again, with the credentials that the file then contains.
    file.write_text(operator.creds())
    assert await queue.connect() is True
    await queue.flush()
    await queue.disconnect()


async def test_the_client_gives_up_after_two_refusals_of_the_same_password(
    kit: Kit,
) -> None:
    asked: list[int] = []

    def password() -> str:
        asked.append(1)
        return "old"

    def config(password: str) -> str:
        return f"authorization {{ user: u, password: {password} }}"

    with LocalServer(config=config("old"), jetstream=False) as server:
        queue = kit.queue(port=server.port, user="u", password=password, reconnect=FAST)
        await queue.connect()
        server.reload(config("new"))
        with pytest.raises(ConnectionClosedError):
            await queue.pop(timeout=30.0)
        assert isinstance(queue.last_error, AuthorizationError)
        assert await queue.wait_connected(0.01) is False
        assert len(asked) == 3, "the client gives up after the second refusal in a row"
        await queue.disconnect()


async def test_a_password_may_be_refreshed_after_several_refusals(kit: Kit) -> None:
    """Two different stale passwords are refused, then the fresh one is accepted."""
    passwords = ["old", "old", "stale", "stale, too", "stale", "new"]
    asked: list[str] = []
    events: list[Notice] = []

    def password() -> str:
        asked.append(passwords[min(len(asked), len(passwords) - 1)])
        return asked[-1]

    def config(password: str) -> str:
        return f"authorization {{ user: u, password: {password} }}"

    with LocalServer(config=config("old"), jetstream=False) as server:
        async with kit.queue(
            port=server.port, user="u", password=password, reconnect=FAST, on_event=events.append
        ) as queue:
            server.reload(config("new"))
            await kit.until(lambda: queue.stats().reconnects == 1)
            await queue.flush()
            assert asked == ["old", *passwords[1:]]
    assert not [event for event in events if isinstance(event, Closed) and event.error]


async def test_an_expired_jwt_may_be_refreshed_after_several_refusals(
    kit: Kit, jwt_server: LocalServer, operator: Operator
) -> None:
    """The callable is called for each attempt. A different JWT counts as different credentials."""
    asked: list[int] = []

    def source() -> str:
        asked.append(1)
        if len(asked) == 1:
            return operator.creds(expires_in=2)
        return operator.creds(expires_in=-10 if len(asked) < 5 else None)

    async with kit.queue(port=jwt_server.port, credentials=source, reconnect=FAST) as queue:
        await kit.until(lambda: queue.stats().reconnects == 1)
        await queue.flush()
        assert len(asked) == 5


async def test_refused_credentials_can_be_retried_without_limit(kit: Kit) -> None:
    asked: list[int] = []

    def password() -> str:
        asked.append(1)
        return "old" if len(asked) < 10 else "new"

    def config(password: str) -> str:
        return f"authorization {{ user: u, password: {password} }}"

    policy = FAST._replace(give_up_on_auth=False)
    with LocalServer(config=config("old"), jetstream=False) as server:
        async with kit.queue(
            port=server.port, user="u", password=password, reconnect=policy
        ) as queue:
            server.reload(config("new"))
            await kit.until(lambda: queue.stats().reconnects == 1)
            await queue.flush()
            assert len(asked) == 10


async def test_authentication_timeouts_are_retried(kit: Kit) -> None:
    """The server times out three times in a row, which does not mean that the password is wrong."""
    monitor = free_port()
    calls = itertools.count()
    errors: list[Exception | None] = []

    def timeouts() -> int:
        with urlopen(f"http://127.0.0.1:{monitor}/connz?state=closed") as answer:
            closed = json.load(answer)["connections"]
        return sum(one["reason"] == "Authentication Timeout" for one in closed)

    def password() -> str:
        # A thread of the blocking queue may still be in here when the next attempt calls it.
        call = next(calls)
        if 0 < call < 4:
            errors.append(queue.last_error)
            end = time.monotonic() + 20.0
            while timeouts() < call:
                assert time.monotonic() < end
                time.sleep(0.01)
        return "p"

    config = f'authorization {{ user: u, password: p, timeout: 0.3 }}\nhttp: "127.0.0.1:{monitor}"'
    with LocalServer(config=config, jetstream=False) as server:
        queue = kit.queue(port=server.port, user="u", password=password, reconnect=FAST)
        async with queue:
            server.restart()
            await kit.until(lambda: queue.stats().reconnects == 1, seconds=60.0)
            await queue.flush()
            assert next(calls) == 5
            assert [type(error) for error in errors[1:]] == [AuthenticationTimeoutError] * 2


async def test_an_error_names_the_server_and_what_to_check(kit: Kit) -> None:
    with LocalServer(config="authorization { token: t }", jetstream=False) as server:
        error = await refused(kit, host="127.0.0.1", port=server.port, token="wrong")
        assert isinstance(error, AuthorizationError)
        assert (error.text, error.address) == (
            "Authorization Violation",
            f"127.0.0.1:{server.port}",
        )
        assert str(error) == (
            f"the server 127.0.0.1:{server.port} said: Authorization Violation "
            "(check the user, password, token, credentials or nkey seed)"
        )


# ---------------------------------------------------------------------- what fits into CONNECT


async def test_the_longest_name_leaves_room_for_credentials(
    kit: Kit, jwt_server: LocalServer, operator: Operator
) -> None:
    for name in ("n" * 256, "ü" * 128, "\N{GRINNING FACE}" * 64, '"' * 256):
        await exchange(kit, port=jwt_server.port, credentials=operator.creds, name=name)


async def test_the_error_for_a_too_long_token_says_what_to_do(kit: Kit) -> None:
    token = "t" * 4096
    for more, fits in (("", False), ("max_control_line: 8192", True)):
        config = f"authorization {{ token: {token} }}\n{more}"
        with LocalServer(config=config, jetstream=False) as server:
            if fits:
                await exchange(kit, port=server.port, token=token)
            else:
                error = await refused(kit, port=server.port, token=token)
                assert "maximum control line exceeded" in str(error)
                assert "raise max_control_line on the server" in str(error)


async def test_a_callable_that_raises_is_called_again(kit: Kit) -> None:
    """For example a vault that is down. Each failure counts as a failed connect attempt."""
    state = {"broken": False, "asked": 0}

    def password() -> str:
        state["asked"] += 1
        if state["broken"]:
            raise RuntimeError("the vault is sealed")
        return "pw"

    config = "authorization { user: u, password: pw }"
    with LocalServer(config=config, jetstream=False) as server:
        async with kit.queue(
            port=server.port, user="u", password=password, reconnect=FAST
        ) as queue:
            state["broken"] = True
            server.restart()
            await kit.until(lambda: state["asked"] > 4)
            assert not queue.is_connected()
            assert isinstance(queue.last_error, InvalidOptionError)
            assert "RuntimeError" in str(queue.last_error)
            state["broken"] = False
            assert await queue.wait_connected(10.0)
            await queue.flush()


@pytest.mark.parametrize("value", [b"bytes", 7, ["x"]])
async def test_a_callable_that_does_not_return_a_str_is_refused(kit: Kit, value: Any) -> None:
    for option in ("user", "password", "token"):
        error = await refused(kit, **{option: lambda: value})
        assert isinstance(error, InvalidOptionError)
        assert type(value).__name__ in str(error)


# ---------------------------------------------------------------------- planted secrets


class Evidence:
    """Collects all texts in which a secret could become visible."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, *things: object) -> None:
        for thing in things:
            self.texts += [repr(thing), str(thing), f"{thing}"]
            if isinstance(thing, BaseException):
                self._add_chain(thing, set())

    def _add_chain(self, error: BaseException, seen: set[int]) -> None:
        if id(error) in seen:
            return
        seen.add(id(error))
        self.texts += [repr(error), str(error), repr(error.args), repr(vars(error))]
        self.texts += traceback.format_exception(error)
        linked: list[object] = [error.__cause__, error.__context__]
        linked += error.exceptions if isinstance(error, BaseExceptionGroup) else []
        linked += [e for _, e in error.reasons] if isinstance(error, ConnectFailedError) else []
        for other in linked:
            if isinstance(other, BaseException):
                self._add_chain(other, seen)

    def add_queue(self, queue: NASQueue) -> None:
        facade: Any = getattr(queue, "blocking", queue)
        self.add(facade)
        inner: Any = getattr(facade, "_queue", facade)
        client = inner._session.client
        self.add(
            inner, client, client._options, client._connector.pool, *client._connector.pool.servers
        )
        self.add(client.server, vars(inner), vars(client), inner.stats(), inner._session.transport)
        self.add(*(t.name for t in threading.enumerate()))

    def leaks(self, planted: dict[str, str]) -> list[str]:
        """Return the names of the secrets that appear with ten or more consecutive characters."""
        text = "\0".join(self.texts)
        return [
            name
            for name, secret in planted.items()
            if any(secret[i : i + 10] in text for i in range(len(secret) - 9))
        ]


class Echo:
    """A server that sends INFO and then echoes its input, so every password comes back."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Echo:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                sock.settimeout(2.0)
                try:
                    sock.sendall(b'INFO {"headers":true,"nonce":"abc"}\r\n')
                    while data := sock.recv(65536):
                        sock.sendall(data)
                except OSError:
                    pass


def test_evidence_finds_a_leak() -> None:
    secret = secrets.token_hex(12)
    try:
        try:
            raise ValueError(f"bad password {secret[:11]}")
        except ValueError as error:
            raise RuntimeError("harmless") from error
    except RuntimeError as error:
        evidence = Evidence()
        evidence.add(error)
    assert evidence.leaks({"it": secret, "other": secrets.token_hex(12)}) == ["it"]


async def test_no_planted_secret_appears_anywhere(
    kit: Kit, operator: Operator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="nasq")
    evidence = Evidence()
    planted: dict[str, str] = {}
    events: list[Notice] = []

    def plant(name: str, secret: str | None = None) -> str:
        assert name not in planted
        planted[name] = secret or "s" + secrets.token_hex(12)
        return planted[name]

    async def attempt(connects: bool, **options: Any) -> None:
        options.setdefault("connect_timeout", 2.0)
        try:
            queue = kit.queue(reconnect=FAST, on_event=events.append, **options)
        except (NASQError, TypeError) as error:
            evidence.add(error)
            return
        evidence.add_queue(queue)
        connected = False
        try:
            async with queue:
                connected = True
                evidence.add_queue(queue)
                await queue.subscribe_and_queue("a")
                await queue.push("a", "x")
                evidence.add(await queue.pop(timeout=10.0))
                evidence.add_queue(queue)
        except (NASQError, OSError) as error:
            evidence.add(error)
        assert connected is connects, queue.last_error
        evidence.add(queue.last_error)
        evidence.add_queue(queue)
        try:
            await queue.push("a", "x")
        except NASQError as error:
            evidence.add(error)

    password, token = plant("password"), plant("token")
    key, account = Key(), Key("account")
    seed = plant("seed", key.seed)
    user = Key()
    jwt, user_seed = plant("jwt", operator.user_jwt(user)), plant("seed in creds", user.seed)
    creds = tmp_path / "user.creds"
    creds.write_text(creds_text(jwt, user_seed))
    seed_file = tmp_path / "user.nk"
    seed_file.write_text(seed)
    users = f'users = [ {{ user: u, password: "{password}" }}, {{ nkey: {key.public} }} ]'

    with (
        LocalServer(config=f"authorization {{ {users} }}", jetstream=False) as by_user,
        LocalServer(config=f'authorization {{ token: "{token}" }}', jetstream=False) as by_token,
        LocalServer(config=operator.config, jetstream=False) as by_jwt,
        Echo() as echo,
    ):
        at = f"127.0.0.1:{by_user.port}"
        # Options that connect.
        await attempt(True, port=by_user.port, user="u", password=password)
        await attempt(True, port=by_user.port, user=lambda: "u", password=lambda: password)
        await attempt(True, servers=[f"nats://u:{password}@{at}"])
        await attempt(True, port=by_token.port, token=token)
        await attempt(True, port=by_token.port, token=lambda: token)
        await attempt(True, servers=[f"nats://{token}@127.0.0.1:{by_token.port}"])
        for source in (seed, seed_file, lambda: seed):
            await attempt(True, port=by_user.port, nkey_seed=source)
        for credentials in (creds, str(creds), lambda: creds.read_text()):
            await attempt(True, port=by_jwt.port, credentials=credentials)

        # Options that are refused.
        wrong = plant("wrong password")
        await attempt(False, port=by_user.port, user="u", password=wrong)
        await attempt(False, port=by_user.port, user="u", password=lambda: plant("wrong, asked"))
        await attempt(False, servers=[f"nats://u:{plant('wrong in URL')}@{at}"])
        odd = plant("percent-encoded", "päss/wörd@:" + secrets.token_hex(8))
        await attempt(False, servers=[f"nats://u:{quote(odd, safe='')}@{at}"])
        await attempt(False, port=by_token.port, token=plant("wrong token"))
        await attempt(False, port=by_token.port, token=lambda: plant("wrong token, asked"))
        url = f"nats://{plant('wrong token in URL')}@127.0.0.1:{by_token.port}"
        await attempt(False, servers=[url])
        await attempt(False, port=by_user.port, nkey_seed=plant("wrong seed", Key().seed))
        await attempt(False, port=by_user.port, nkey_seed=plant("account's seed", account.seed))
        await attempt(False, port=by_user.port, nkey_seed=plant("cut seed", Key().seed[:-5]))
        typo = plant("seed with a typing error", "X" + Key().seed[1:])
        await attempt(False, port=by_user.port, nkey_seed=typo)
        bad = tmp_path / "bad.nk"
        bad.write_text(plant("garbage in a seed file"))
        await attempt(False, port=by_user.port, nkey_seed=bad)
        alien, alien_key = Operator(), Key()
        alien_jwt = plant("alien jwt", alien.user_jwt(alien_key))
        alien_creds = creds_text(alien_jwt, plant("alien seed", alien_key.seed))
        await attempt(False, port=by_jwt.port, credentials=lambda: alien_creds)
        for name, text in (
            ("jwt without a seed", "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT---"),
            ("seed without a jwt", "-----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED"),
            ("neither", "-----BEGIN {}"),
            ("text for a path", "{}"),
        ):
            content = text.format(plant(name))
            await attempt(False, port=by_jwt.port, credentials=lambda content=content: content)
        bad_creds = creds_text(plant("bad jwt"), plant("bad seed in creds"))
        await attempt(False, port=by_jwt.port, credentials=lambda: bad_creds)
        binary = tmp_path / "binary.creds"
        binary.write_bytes(b"\xff" + plant("secret in binary").encode() + b"\xfe")
        await attempt(False, port=by_jwt.port, credentials=binary)

        # Callables that raise, or return something else. The text of the exception that a callable
        # raises is shown, but not the text of its cause.
        def chained() -> str:
            try:
                raise ValueError(plant("in the cause of an error"))
            except ValueError as error:
                raise RuntimeError("the vault is sealed") from error

        await attempt(False, port=by_user.port, user="u", password=chained)
        await attempt(False, port=by_user.port, token=lambda: plant("as bytes").encode())
        await attempt(False, port=by_user.port, credentials=lambda: [plant("in a list")])

        # A server that echoes its input.
        await attempt(False, port=echo.port, user="u", password=plant("echoed password"))
        await attempt(False, port=echo.port, token=plant("echoed token"))
        echoed = plant("echoed jwt", operator.user_jwt(user))
        echoed_creds = creds_text(echoed, user_seed)
        await attempt(False, port=echo.port, credentials=lambda: echoed_creds)

        # A connection that breaks, after which the credentials are refused.
        later = plant("changed later")

        def config(password: str) -> str:
            return f'authorization {{ user: u, password: "{password}" }}'

        with LocalServer(config=config(later), jetstream=False) as server:
            queue = kit.queue(
                port=server.port, user="u", password=later, reconnect=FAST, on_event=events.append
            )
            await queue.connect()
            server.reload(config("another"))
            with pytest.raises(ConnectionClosedError):
                await queue.pop(timeout=30.0)
            evidence.add(queue.last_error)
            evidence.add_queue(queue)

    # No server is listening.
    await attempt(False, servers=[f"nats://u:{plant('nobody there')}@{at}"])
    await attempt(
        False, servers=[f"nats://u:{plant('two')}@{at}", f"nats://{plant('three')}@{at}1"]
    )
    # URLs that can't be parsed.
    for number, url in enumerate(
        (
            "nats://u:{}@",
            "nats://u:{}@host:port",
            "nats://u:{}@[::1",
            "http://u:{}@host",
            "nats:/u:{}@host",
            "u:{}@host:99999",
            "nats://u:{}/x@host",
            "nats://u:%ff{}@host",
            "nats://{}@",
            "nats://u:{}",
            "nats://u:a@{}@ho st",
        )
    ):
        bad_url = url.format(plant(f"URL {number}"))
        await attempt(False, servers=[bad_url])
        try:
            evidence.add(parse_server(bad_url))
        except NASQError as error:
            evidence.add(error)
    # A URL given as the host.
    await attempt(False, host=f"nats://u:{plant('URL as host')}@127.0.0.1")
    await attempt(False, host=f"u:{plant('host with userinfo')}@127.0.0.1")

    await kit.until(lambda: any(isinstance(event, Closed) for event in events))
    evidence.add(*events)
    evidence.add(*(event.error for event in events if isinstance(event, Disconnected | Closed)))
    for record in caplog.records:
        evidence.add(record.getMessage(), record.args, record.__dict__)
        if record.exc_info and record.exc_info[1]:
            evidence.add(record.exc_info[1])
    evidence.add(caplog.text)
    assert any(record.name == "nasq" for record in caplog.records), "nasq logged nothing"
    assert len(planted) > 40
    assert evidence.leaks(planted) == []


def test_an_unconnected_queue_shows_no_secret() -> None:
    secret = secrets.token_hex(12)
    evidence = Evidence()
    queue = NASQueue(user="u", password=secret, token=secret, credentials=secret)
    evidence.add_queue(queue)
    with pytest.raises(NotConnectedError) as caught:
        queue._session.client.flush()
    evidence.add(caught.value)
    assert evidence.leaks({"it": secret}) == []
