"""INFO: its fields have the right types or it is refused, and no INFO harms a client."""

from __future__ import annotations

import random
from collections.abc import Hashable, Mapping
from typing import Final

from nasq_proto import (
    Client,
    ClientOptions,
    ClientState,
    Info,
    LocalProtocolError,
    RemoteProtocolError,
    Server,
    encode,
)
from nasq_proto.events import _INFO_FIELDS

__all__ = ["ALLOWED", "test_one_input"]

ALLOWED: Final[Mapping[type[Exception], str]] = {
    RemoteProtocolError: "not a JSON object, or a known field has the wrong type",
    LocalProtocolError: "JSON that can be read but not written: infinite (1e999) or too deep",
}


def test_one_input(data: bytes) -> Hashable:
    """Read an INFO, write it again, and let a client receive it."""
    try:
        info = Info.from_json(data)
    except RemoteProtocolError as error:
        _client_receives(data)
        return str(error)[:32]
    for name, default in _INFO_FIELDS.items():
        assert type(getattr(info, name)) is type(default), f"{name} is {getattr(info, name)!r}"
    for urls in (info.connect_urls, info.ws_connect_urls):
        assert type(urls) is list
        assert all(type(url) is str for url in urls)
    assert hash(info) == hash(Info(info.fields))
    try:
        line = encode(info)
    except LocalProtocolError:
        line = b"INFO " + data.replace(b"\n", b" ") + b"\r\n"
    else:
        again = Info.from_json(line[4:-2])
        assert again == info, f"{info!r} was written as {again!r}"
    return info.ldm, info.tls_required, info.tls_available, _client_receives(line[4:-2])


def _client_receives(data: bytes) -> Hashable:
    server = Server("a", 1)
    client = Client(ClientOptions([server]), rng=random.Random(1))
    opened = client.open(0.0)
    client.next_action()
    client.transport_opened(1, 0.0)
    client.receive_data(1, b"INFO " + data + b"\r\n", 0.0)
    client.receive_data(1, b"PONG\r\n", 0.0)
    if client.state is ClientState.CONNECTED:
        client.receive_data(1, b"INFO " + data + b"\r\n", 0.0)
        client.receive_data(1, b"PONG\r\n", 0.0)
    state = client.state
    client.close()
    assert opened.done
    return state
