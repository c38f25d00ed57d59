"""TLS on every transport: certificates are checked, and there is no fallback to plaintext."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from nasq import NASQError, RemoteProtocolError, TLSError
from nasq.server import LocalServer
from tests.conftest import Kit
from tests.e2e.certificates import Certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_server(certificates: Certificates) -> Iterator[LocalServer]:
    with LocalServer(config=certificates.config()) as server:
        yield server


async def exchange(kit: Kit, **options: object) -> None:
    """Send messages of several sizes and receive them."""
    async with kit.queue(**options) as queue:
        await queue.subscribe_and_queue("a")
        for size in (0, 1, 100_000, 1_000_000):
            await queue.push("a", b"x" * size)
            message = await queue.pop(timeout=10.0)
            assert message is not None
            assert len(message.message) == size


async def test_tls_is_used_when_the_server_requires_it(
    kit: Kit, tls_server: LocalServer, certificates: Certificates
) -> None:
    await exchange(kit, port=tls_server.port, tls=certificates.context())


async def test_a_tls_url_works_by_name_and_by_address(
    kit: Kit, tls_server: LocalServer, certificates: Certificates
) -> None:
    for host in ("localhost", "127.0.0.1"):
        url = f"tls://{host}:{tls_server.port}"
        await exchange(kit, servers=[url], tls=certificates.context())


async def test_the_handshake_can_come_before_info(kit: Kit, certificates: Certificates) -> None:
    with LocalServer(config=certificates.config(more="handshake_first: true")) as server:
        await exchange(kit, port=server.port, tls=certificates.context(), tls_handshake_first=True)


async def test_a_client_certificate_is_sent(kit: Kit, certificates: Certificates) -> None:
    with LocalServer(config=certificates.config(verify=True)) as server:
        await exchange(kit, port=server.port, tls=certificates.context("client"))
        for client in (None, "wrong-client"):
            queue = kit.queue(
                port=server.port, tls=certificates.context(client), user="u", password="p"
            )
            assert await queue.connect() is False
            assert isinstance(queue.last_error, (TLSError, ConnectionError))
            expected = str(queue.last_error).lower().replace("_", " ")
            assert "certificate required" in expected or "unknown ca" in expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("expired", "expired"),
        ("wrong-host", "mismatch"),
        ("wrong-ca", "self-signed|unable to get local issuer"),
    ],
)
async def test_an_invalid_certificate_is_refused(
    kit: Kit, certificates: Certificates, name: str, expected: str
) -> None:
    with LocalServer(config=certificates.config(name)) as server:
        queue = kit.queue(
            port=server.port, tls=certificates.context(), user="planted", password="secret"
        )
        assert await queue.connect() is False
        with pytest.raises(TLSError, match=expected):
            async with queue:
                pass
        assert isinstance(queue.last_error, ConnectionError)


async def test_a_certificate_unknown_to_the_system_is_refused(
    kit: Kit, tls_server: LocalServer
) -> None:
    for options in ({"tls": True}, {}):
        queue = kit.queue(port=tls_server.port, **options)
        assert await queue.connect() is False
        assert isinstance(queue.last_error, TLSError)


async def test_a_server_without_tls_is_refused_when_tls_is_required(
    kit: Kit, certificates: Certificates
) -> None:
    for options in (
        {"port": kit.server.port, "tls": certificates.context()},
        {"servers": [f"tls://127.0.0.1:{kit.server.port}"]},
    ):
        queue = kit.queue(**options)
        assert await queue.connect() is False
        assert isinstance(queue.last_error, TLSError)
        assert "does not offer it" in str(queue.last_error)


async def test_reconnecting_never_falls_back_to_plaintext(
    kit: Kit, certificates: Certificates
) -> None:
    with LocalServer(config=certificates.config()) as server:
        port = server.port
        queue = kit.queue(port=port, tls=certificates.context(), user="planted", password="secret")
        await queue.connect()
    with LocalServer(port=port):
        await kit.until(lambda: isinstance(queue.last_error, TLSError))
        assert not queue.is_connected()
    with LocalServer(port=port, config=certificates.config()):
        assert await queue.wait_connected(10.0)
        await queue.flush()
        await queue.disconnect()


class Listener:
    """A plain TCP server that sends a greeting and records what it receives."""

    def __init__(self, greeting: bytes, context: ssl.SSLContext | None = None) -> None:
        self.received = b""
        self._greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Listener:
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
                    sock.sendall(self._greeting)
                    while data := sock.recv(65536):
                        self.received += data
                except OSError:
                    pass


async def test_plaintext_between_info_and_the_handshake_is_refused(kit: Kit) -> None:
    greeting = b'INFO {"tls_required":true,"headers":true}\r\nMSG a 1 2\r\nhi\r\n'
    with Listener(greeting) as listener:
        queue = kit.queue(port=listener.port, user="planted", password="secret")
        assert await queue.connect() is False
        assert isinstance(queue.last_error, RemoteProtocolError)
        assert "after INFO" in str(queue.last_error)
    assert b"secret" not in listener.received


async def test_silence_instead_of_a_handshake_is_a_typed_error(kit: Kit) -> None:
    with Listener(b'INFO {"tls_required":true}\r\n') as listener:
        queue = kit.queue(port=listener.port, connect_timeout=1.0, user="u", password="secret")
        assert await queue.connect() is False
        assert isinstance(queue.last_error, NASQError)
        assert "TLS" in str(queue.last_error)
    assert b"secret" not in listener.received
    assert listener.received[:1] == b"\x16", "the client did not send a ClientHello first"
