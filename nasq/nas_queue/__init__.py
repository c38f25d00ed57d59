"""The import name of the system that nasq implements: `from nas_queue import NASQueue`.

Installed as the top-level package `nas_queue`; the build moves this folder there (pyproject.toml).
"""

from nasq import *  # noqa: F403 - a second name for all of it
from nasq import __all__ as __all__
