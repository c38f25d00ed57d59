"""The import name of the system that nasq implements: `from nas_queue import NASQueue`.

Installed as the top-level module `nas_queue`.
"""

from nasq import *  # noqa: F403 - a second name for all of it
from nasq import __all__ as __all__
