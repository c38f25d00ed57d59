"""Signing in and TLS, with options and with variables, and the advice after a refusal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nasq.cli.target import Target
from nasq.server import LocalServer
from tests.e2e.certificates import Certificates
from tests.e2e.jwts import Key, Operator, creds_text

from .running import nasq

PUSHED = "pushed 1 message to default.a\n"


@pytest.fixture(scope="module")
def user_server() -> Iterator[LocalServer]:
    with LocalServer(config="authorization { user: ann, password: secret }") as server:
        yield server


@pytest.fixture(scope="module")
def token_server() -> Iterator[LocalServer]:
    with LocalServer(config='authorization { token: "t0ken" }') as server:
        yield server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_server(certificates: Certificates) -> Iterator[LocalServer]:
    with LocalServer(config=certificates.config()) as server:
        yield server


class TestUserAndToken:
    def test_by_options(self, user_server: LocalServer, token_server: LocalServer) -> None:
        url = user_server.url
        assert nasq(
            "push", "a", "x", "-s", url, "--user", "ann", "--password", "secret"
        ).stderr == (PUSHED)
        assert nasq("push", "a", "x", "-s", token_server.url, "--token", "t0ken").stderr == PUSHED

    def test_by_variables(
        self,
        user_server: LocalServer,
        token_server: LocalServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("NATS_URL", user_server.url)
        monkeypatch.setenv("NATS_USER", "ann")
        monkeypatch.setenv("NATS_PASSWORD", "secret")
        assert nasq("push", "a", "x").stderr == PUSHED
        # Options win over variables, even if they name another way to sign in.
        assert nasq("push", "a", "x", "-s", token_server.url, "--token", "t0ken").returncode == 0
        assert nasq("push", "a", "x", "--token", "t0ken").returncode == 1

    def test_credentials_in_the_url_win(
        self, user_server: LocalServer, token_server: LocalServer
    ) -> None:
        url = token_server.url.replace("nats://", "nats://t0ken@")
        assert nasq("push", "a", "x", "-s", url).returncode == 0
        assert nasq("push", "a", "x", "-s", url, "--token", "wrong").returncode == 0
        url = user_server.url.replace("nats://", "nats://ann:secret@")
        wrong = ["--user", "wrong", "--password", "wrong"]
        assert nasq("push", "a", "x", "-s", url, *wrong).returncode == 0

    @pytest.mark.parametrize("options", [[], ["--token", "wrong"]])
    def test_a_refusal_says_what_to_do(self, options: list[str], token_server: LocalServer) -> None:
        done = nasq("push", "a", "x", "-s", token_server.url, *options)
        assert done.returncode == 1
        address = f"127.0.0.1:{token_server.port}"
        assert done.stderr == (
            f"nasq: {address} requires other credentials (Authorization Violation): sign in with "
            "--user and --password, --token, --creds or --nkey, or in the URL: --server "
            "nats://user:password@host:4222 or --server nats://TOKEN@host:4222\n"
        )

    @pytest.mark.parametrize("command", ["demo", "bench"])
    def test_commands_that_can_start_a_server(self, command: str, user_server: LocalServer) -> None:
        sign_in = ["--user", "ann", "--password", "secret"]
        few = ["-m", "5"] + (["-r", "5"] if command == "bench" else [])
        assert nasq(command, "-s", user_server.url, *few, *sign_in).returncode == 0
        done = nasq(command, "-s", user_server.url, *few)
        assert done.returncode == 1
        assert "requires other credentials" in done.stderr

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["--user", "a"], "--user needs --password; for a token there is --token"),
            (["--password", "a"], "--password needs --user"),
            (["--token", "a", "--user", "b"], "use only one of --user and --token"),
            (["--creds", "/nope.creds"], "'--creds': /nope.creds: No such file or directory"),
            (["--nkey", "SUNOPE"], "'--nkey': neither a user's nkey seed"),
            (["--tls-key", __file__], "--tls-key needs --tls-cert"),
            (["--tls-ca", "/nope"], "'--tls-ca': File '/nope' does not exist"),
            (["--tls-ca", __file__], f"--tls-ca {__file__}: can't read a certificate"),
            (
                ["--tls-cert", __file__],
                f"--tls-cert {__file__}: can't use the certificate and private key",
            ),
            (["--creds", __file__], "contain no 'NATS USER JWT' block"),
        ],
    )
    def test_invalid_options_are_refused_before_connecting(
        self, options: list[str], says: str
    ) -> None:
        done = nasq("push", "a", "x", *options)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert says in done.stderr
        assert "SUNOPE" not in done.stderr

    def test_no_secret_is_in_a_repr(self) -> None:
        target = Target({"servers": ("nats://h",), "namespace": "n", "password": "secret"})
        assert "secret" not in repr(target)


class TestKeys:
    def test_creds(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        operator, key, path = Operator(), Key(), tmp_path / "user.creds"
        path.write_text(creds_text(operator.user_jwt(key), key.seed))
        with LocalServer(config=operator.config, jetstream=False) as server:
            assert nasq("push", "a", "x", "-s", server.url, "--creds", str(path)).stderr == PUSHED
            monkeypatch.setenv("NATS_CREDS", str(path))
            assert nasq("push", "a", "x", "-s", server.url).returncode == 0

    def test_nkey(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        key, path = Key(), tmp_path / "user.nk"
        path.write_text(key.seed + "\n")
        config = f"authorization {{ users = [ {{ nkey: {key.public} }} ] }}"
        with LocalServer(config=config, jetstream=False) as server:
            for value in (key.seed, str(path)):
                done = nasq("push", "a", "x", "-s", server.url, "--nkey", value)
                assert done.stderr == PUSHED
            monkeypatch.setenv("NATS_NKEY", str(path))
            assert nasq("push", "a", "x", "-s", server.url).returncode == 0

    def test_without_the_package(self, tmp_path: Path) -> None:
        path = tmp_path / "user.nk"
        path.write_text(Key().seed)
        code = "import sys, importlib.util as util; find = util.find_spec\n"
        code += "util.find_spec = lambda name: None if name == 'nkeys' else find(name)\n"
        code += f"from nasq.cli import run; sys.exit(run(['push', 'a', '--nkey', {str(path)!r}]))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 2
        assert "python -m pip install 'nasq[nkeys]'" in done.stderr


class TestTLS:
    def test_a_ca(
        self, tls_server: LocalServer, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = str(certificates.folder / "ca.pem")
        done = nasq("push", "a", "x", "-s", tls_server.url, "--tls-ca", path)
        assert (done.returncode, done.stderr) == (0, PUSHED)
        monkeypatch.setenv("NATS_CA", path)
        assert nasq("push", "a", "x", "-s", tls_server.url).returncode == 0

    def test_an_unknown_ca_says_how_to_trust_it(self, tls_server: LocalServer) -> None:
        done = nasq("push", "a", "x", "-s", tls_server.url)
        assert done.returncode == 1
        assert "its certificate was refused: " in done.stderr
        assert done.stderr.endswith(": trust the authority that signed it with --tls-ca FILE\n")

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("wrong-host", "use the server name that is in its certificate"),
            ("expired", "needs a new certificate"),
        ],
    )
    def test_a_bad_certificate(self, name: str, hint: str, certificates: Certificates) -> None:
        with LocalServer(config=certificates.config(name)) as server:
            ca = str(certificates.folder / "ca.pem")
            done = nasq("push", "a", "x", "-s", server.url, "--tls-ca", ca)
        assert done.returncode == 1
        assert hint in done.stderr

    def test_insecure(self, tls_server: LocalServer) -> None:
        done = nasq("push", "a", "x", "-s", tls_server.url, "--insecure")
        assert done.returncode == 0
        assert (
            done.stderr
            == f"warning: the server's certificate is not checked (--insecure)\n{PUSHED}"
        )

    def test_a_client_certificate(self, certificates: Certificates) -> None:
        folder = certificates.folder
        with LocalServer(config=certificates.config(verify=True)) as server:
            options = ["-s", server.url, "--tls-ca", str(folder / "ca.pem")]
            done = nasq("push", "a", "x", *options)
            assert done.returncode == 1
            assert "present a certificate that the server trusts: --tls-cert FILE" in done.stderr
            cert, key = str(folder / "client.pem"), str(folder / "client.key")
            done = nasq("push", "a", "x", *options, "--tls-cert", cert, "--tls-key", key)
            assert (done.returncode, done.stderr) == (0, PUSHED)

    def test_tls_first(self, certificates: Certificates) -> None:
        with LocalServer(config=certificates.config(more="handshake_first: true")) as server:
            options = ["-s", server.url, "--tls-ca", str(certificates.folder / "ca.pem")]
            assert nasq("push", "a", "x", *options, "--tls-first").returncode == 0

    def test_a_server_without_tls(self, server: LocalServer) -> None:
        done = nasq("push", "a", "x", "-s", server.url, "--tls")
        assert done.returncode == 1
        assert "does not offer it" in done.stderr
        assert "omit --tls" in done.stderr


@pytest.mark.parametrize("command", [["push", "a", "x"], ["watch"]])
def test_an_address_without_a_server(command: list[str], nowhere: str) -> None:
    done = nasq(*command)
    assert done.returncode == 1
    assert done.stderr == (
        f"nasq: no server is listening on {nowhere}: start one with `nasq serve`, "
        "or name another with --server\n"
    )


def test_an_unknown_host() -> None:
    done = nasq("push", "a", "x", "-s", "nats://no.invalid")
    assert done.returncode == 1
    assert done.stderr.startswith("nasq: no connection to no.invalid:4222: ")
    assert done.stderr.endswith(": name another server with --server\n")
    assert done.stderr.count("--server") == 1


def test_websocket_without_its_package(server: LocalServer) -> None:
    url = server.url.replace("nats://", "ws://")
    code = "import sys; sys.modules['wsproto'] = None\n"
    code += f"from nasq.cli import run; sys.exit(run(['push', 'a', 'x', '-s', {url!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "nasq: ws:// and wss:// need the package wsproto: python -m pip install 'nasq[websocket]'\n"
    )
