"""A plain WSGI application.

gunicorn --workers 2 --threads 4 wsgi_app:application
"""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from wsgi_queue import get_queue


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    subject = environ["PATH_INFO"].strip("/").replace("/", ".")  # /orders/new: orders.new
    reply = get_queue().request(subject, {"pid": os.getpid()}, timeout=5.0)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"pid": os.getpid(), "reply": reply.text}).encode()]
