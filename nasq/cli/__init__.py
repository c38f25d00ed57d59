"""The command line `nasq`. It needs click and rich, which `nasq[cli]` installs.

Importing it does not load the library: a help page, a completion or a usage error does not need it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

__all__ = ["main", "run"]


def main() -> int:
    """Run one command with the arguments of the process, and return its exit status."""
    # A KeyboardInterrupt during an import would print a traceback, and there is nothing to clean
    # up yet, so Ctrl-C ends the process. A command sets its own handler when it runs.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return run(sys.argv[1:])


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: the arguments, without the name of the program.

    Returns:
        The exit status: 0 for success, 1 for failure, 2 for wrong usage or a missing package, and
        128 plus the number of the signal that ended the command.
    """
    from importlib.util import find_spec

    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        print(
            f"nasq: the command line needs {' and '.join(missing)}: "
            "python -m pip install 'nasq[cli]'",
            file=sys.stderr,
        )
        return 2
    from .app import run_command

    return run_command(list(arguments))
