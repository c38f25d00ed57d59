"""The package `nas_queue`, for programs that contain `from nas_queue import NASQueue`.

The build installs this folder as a top-level package (see pyproject.toml).
"""

from nasq import *  # noqa: F403 - all names of nasq
from nasq import __all__ as __all__
