"""In the programs of the documentation, localhost:4222 is the server of the test run.

Python imports this module at its start, because `tests.docs.programs` puts this folder on
PYTHONPATH. So a program runs exactly as its reader would run it.
"""

from __future__ import annotations

import os
import socket
from typing import Any

PORT = 4222

_resolve = socket.getaddrinfo


def _resolve_here(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
    if host in ("localhost", b"localhost", "127.0.0.1") and port == PORT:
        host, port = "127.0.0.1", int(os.environ["NASQ_DOCS_PORT"])
    return _resolve(host, port, *args, **kwargs)


socket.getaddrinfo = _resolve_here
