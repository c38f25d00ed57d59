"""The handshake as functions: what follows INFO, and what CONNECT contains."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from nasq_proto import ClientOptions, Info, InvalidOptionError, NoRespondersError, Server
from nasq_proto.handshake import (
    Next,
    after_info,
    connect_fields,
    credentials_in_url,
    fingerprint,
    no_credentials,
    tls_first,
)

SCHEMES = ("nats", "tls", "ws", "wss")
# What the server's INFO states about TLS: not offered, offered, required.
OFFERS: tuple[dict[str, Any], ...] = (
    {},
    {"tls_available": True},
    {"tls_required": True},
    {"tls_required": True, "tls_available": True},
)


def expected(scheme: str, options: dict[str, bool], offer: dict[str, Any], secure: bool) -> Next:
    """Return what the table at the head of `nasq_proto.handshake` states."""
    if secure or scheme in ("ws", "wss"):
        return Next.SIGN_IN
    if "tls_required" in offer:
        return Next.START_TLS
    wanted = options["tls"] or scheme == "tls"
    if "tls_available" in offer:
        return Next.START_TLS if wanted else Next.SIGN_IN
    return Next.REFUSE if wanted else Next.SIGN_IN


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: "+".join(offer) or "no-tls")
@pytest.mark.parametrize(("tls", "first"), list(product([False, True], repeat=2)))
def test_every_combination_of_options_scheme_and_info(
    scheme: str, offer: dict[str, Any], tls: bool, first: bool
) -> None:
    server = Server("a", 1, scheme=scheme)
    options = ClientOptions([server], tls=tls, tls_first=first)
    for secure in (False, True):
        decided = after_info(options, server, Info(offer), secure=secure)
        assert decided is expected(scheme, {"tls": tls}, offer, secure)


@pytest.mark.parametrize(
    ("scheme", "option", "first"),
    [
        ("nats", False, False),
        ("nats", True, True),
        ("tls", False, False),
        ("tls", True, True),
        ("ws", False, False),
        ("ws", True, False),
        ("wss", False, True),
        ("wss", True, True),
    ],
)
def test_tls_comes_first_where_it_is_asked_for_and_always_under_wss(
    scheme: str, option: bool, first: bool
) -> None:
    server = Server("a", 1, scheme=scheme)
    assert tls_first(ClientOptions([server], tls_first=option), server) is first


def test_no_combination_sends_credentials_in_the_clear_when_tls_is_wanted() -> None:
    for scheme, offer, tls in product(("nats", "tls"), OFFERS, (False, True)):
        server = Server("a", 1, scheme=scheme)
        options = ClientOptions([server], tls=tls)
        decided = after_info(options, server, Info(offer), secure=False)
        if tls or scheme == "tls" or "tls_required" in offer:
            assert decided is not Next.SIGN_IN


@pytest.mark.parametrize(
    ("server", "fields"),
    [
        (Server("a", 1), None),
        (Server("a", 1, user="u", password="p"), {"user": "u", "pass": "p"}),
        (Server("a", 1, user="u"), {"user": "u", "pass": ""}),
        (Server("a", 1, token="t"), {"auth_token": "t"}),
    ],
)
def test_credentials_of_a_url_are_fields_of_connect(
    server: Server, fields: dict[str, str] | None
) -> None:
    assert credentials_in_url(server) == fields


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("secure", [True, False])
def test_connect_tells_the_server_what_this_side_supports(headers: bool, secure: bool) -> None:
    options = ClientOptions([Server("a", 1)], name="me")
    fields = connect_fields(options, Info({"headers": headers}), {"user": "u"}, secure=secure)
    assert fields["headers"] is fields["no_responders"] is headers
    assert fields["tls_required"] is secure
    assert (fields["name"], fields["user"], fields["verbose"]) == ("me", "u", False)
    assert "name" not in connect_fields(ClientOptions([]), Info({}), {}, secure=False)


def test_a_new_signature_is_not_a_new_credential() -> None:
    first = fingerprint({"jwt": "j", "sig": "a", "lang": "python"})
    assert first == fingerprint({"jwt": "j", "sig": "b"})
    assert first != fingerprint({"jwt": "k", "sig": "a"})


def test_the_error_about_credentials_chains_nothing_that_could_contain_a_secret() -> None:
    secret = ValueError("vault is sealed")
    error = no_credentials(Server("a", 1), secret)
    assert isinstance(error, InvalidOptionError)
    assert str(error) == "can't get the credentials for a:1: ValueError: vault is sealed"
    assert error.__cause__ is error.__context__ is None
    # The message of a NASQError is clear without the name of its class.
    own = no_credentials(Server("a", 1), NoRespondersError("x"))
    assert str(own) == "can't get the credentials for a:1: x"
