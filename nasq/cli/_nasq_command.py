"""Where the command `nasq` starts: it makes Ctrl-C quiet before it loads anything of nasq."""

from __future__ import annotations

import signal
import sys

__all__ = ["main"]


def main() -> int:
    """Run one command with the arguments of the process, and return the exit status."""
    # A KeyboardInterrupt in an import would be a traceback, and there is nothing to clean up
    # yet: the signal's own action ends the process. A command that runs has its own handler.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from nasq.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
