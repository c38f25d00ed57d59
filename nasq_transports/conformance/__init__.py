"""The checks that every transport has to pass, to run against a transport of your own.

Implement `Harness` for your transport and run every check in `CHECKS`:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_my_transport(check):
        check(MyHarness())

The server is `nasq_proto.testing.Broker`. It listens on the loopback interface, unless your harness
has a network of its own.
"""

from __future__ import annotations

from . import callers, credentials, streams
from .harness import CHECKS, Check, Harness

__all__ = ["CHECKS", "Check", "Harness", "callers", "credentials", "streams"]
