"""An operator, an account and users as NATS JWTs (version 2), new for each test run."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from typing import Any

import nacl.signing
import nkeys  # type: ignore[import-untyped]  # it has no stubs

__all__ = ["Key", "Operator", "creds_text"]


class Key:
    """An nkey pair. `kind` is "user", "account" or "operator"."""

    def __init__(self, kind: str = "user") -> None:
        raw = os.urandom(32)
        prefix = getattr(nkeys, f"PREFIX_BYTE_{kind.upper()}")
        self.seed: str = nkeys.encode_seed(raw, prefix).decode()
        self.public: str = nkeys.from_seed(bytearray(self.seed.encode())).public_key.decode()
        self._signing = nacl.signing.SigningKey(raw)

    def jwt(self, subject: str, kind: str, nats: dict[str, Any], **claims: Any) -> str:
        """Return a JWT about `subject`, issued by this key."""
        body = {
            "iat": int(time.time()),
            "iss": self.public,
            "name": kind,
            "sub": subject,
            "nats": {**nats, "type": kind, "version": 2},
            **claims,
        }
        digest = hashlib.sha256(_json(body)).digest()
        body["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
        signed = f"{_b64(_json({'typ': 'JWT', 'alg': 'ed25519-nkey'}))}.{_b64(_json(body))}"
        return f"{signed}.{_b64(self._signing.sign(signed.encode()).signature)}"


class Operator:
    """An operator with one account; `config` is for a server that trusts it."""

    def __init__(self) -> None:
        self.key = Key("operator")
        self.account = Key("account")

    @property
    def config(self) -> str:
        """Lines of a nats-server configuration."""
        unlimited = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn"), -1)
        about = {"limits": {**unlimited, "leaf": -1, "wildcards": True}}
        account = self.key.jwt(self.account.public, "account", about)
        operator = self.key.jwt(self.key.public, "operator", {})
        return (
            f"operator: {operator}\nresolver: MEMORY\n"
            f"resolver_preload: {{ {self.account.public}: {account} }}\n"
        )

    def user_jwt(
        self, user: Key, *, expires_in: int | None = None, issuer: Key | None = None
    ) -> str:
        """Return a JWT that lets `user` sign in, for `expires_in` seconds."""
        claims = {} if expires_in is None else {"exp": int(time.time()) + expires_in}
        limits = {"subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}}
        return (issuer or self.account).jwt(user.public, "user", limits, **claims)

    def creds(self, *, expires_in: int | None = None) -> str:
        """The text of a credentials file for a new user."""
        user = Key()
        return creds_text(self.user_jwt(user, expires_in=expires_in), user.seed)


def creds_text(jwt: str, seed: str) -> str:
    """Return a credentials file as `nsc generate creds` writes it."""
    return f"""-----BEGIN NATS USER JWT-----
{jwt}
------END NATS USER JWT------

************************* IMPORTANT *************************
NKEY Seed printed below can be used to sign and prove identity.
NKEYs are sensitive and should be treated as secrets.

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------

*************************************************************
"""


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
