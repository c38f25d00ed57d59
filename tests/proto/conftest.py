"""What all tests of the codec share."""

from __future__ import annotations

from hypothesis import settings

# A timing must never decide a test.
settings.register_profile("codec", deadline=None, print_blob=True)
settings.load_profile("codec")
