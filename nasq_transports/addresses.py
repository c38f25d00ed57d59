"""The order in which the addresses of a host are tried (RFC 8305), and why all failed."""

from __future__ import annotations

import os
import socket
from itertools import chain, zip_longest
from typing import Any, Final

__all__ = ["HEAD_START", "AddressInfo", "connect_error", "interleaved", "numeric"]

# One item of the list that `socket.getaddrinfo` returns.
AddressInfo = tuple[Any, ...]

# Seconds before the next address is tried beside those that have not answered yet.
HEAD_START: Final = 0.25


def numeric(host: str, port: int) -> list[AddressInfo] | None:
    """Return the address infos of an IP address, or None if `host` is a name."""
    try:
        flags = socket.AI_NUMERICHOST
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags))
    except socket.gaierror:
        return None


def interleaved(infos: list[AddressInfo]) -> list[AddressInfo]:
    """Alternate between the first address family and the others, keeping the order in each."""
    first = [info for info in infos if info[0] == infos[0][0]]
    others = [info for info in infos if info[0] != infos[0][0]]
    pairs = chain.from_iterable(zip_longest(first, others))
    return [info for info in pairs if info is not None]


def connect_error(error: Exception) -> OSError:
    """Return the reason why a stream could not be opened, worded the same on every framework."""
    if isinstance(error.__cause__, ExceptionGroup):  # trio: one error for each address it tried
        error = error.__cause__.exceptions[0]
    if not isinstance(error, OSError):  # a name that cannot be encoded (UnicodeError)
        reason = OSError(str(error) or repr(error))
        reason.__cause__ = error
        return reason
    if error.errno is not None and error.errno > 0:
        return OSError(error.errno, os.strerror(error.errno))
    return error
