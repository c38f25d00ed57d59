"""The command line `nasq`. It needs click and rich, which `nasq[cli]` installs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; None: those of the process.

    Returns:
        The exit status: 0 fine, 1 it went wrong, 2 wrong usage or something isn't installed, 128
        and its number when a signal ended it.
    """
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        print(
            f"nasq: the command line needs {' and '.join(missing)}: "
            "python -m pip install 'nasq[cli]'",
            file=sys.stderr,
        )
        return 2
    from .app import run  # not before it is known that click is there

    return run(sys.argv[1:] if argv is None else list(argv))
