"""In which order the addresses of a host are tried, and how long each is tried alone (RFC 8305)."""

from __future__ import annotations

import socket
from itertools import chain, zip_longest
from typing import Any, Final

__all__ = ["HEAD_START", "AddressInfo", "interleaved", "numeric"]

# What `socket.getaddrinfo` gives for one address.
AddressInfo = tuple[Any, ...]

# Seconds that one address is given before the next is tried beside it.
HEAD_START: Final = 0.25


def numeric(host: str, port: int) -> list[AddressInfo] | None:
    """What `host` stands for if it is an address already; None: it is a name to be resolved."""
    try:
        flags = socket.AI_NUMERICHOST
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags))
    except socket.gaierror:
        return None


def interleaved(infos: list[AddressInfo]) -> list[AddressInfo]:
    """The addresses of the first family and of the others in turn, the order kept in each."""
    first = [info for info in infos if info[0] == infos[0][0]]
    others = [info for info in infos if info[0] != infos[0][0]]
    pairs = chain.from_iterable(zip_longest(first, others))
    return [info for info in pairs if info is not None]
