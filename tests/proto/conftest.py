"""Settings that all tests of nasq_proto share."""

from __future__ import annotations

from hypothesis import settings

# Slow examples must not fail a test.
settings.register_profile("codec", deadline=None, print_blob=True)
settings.load_profile("codec")
