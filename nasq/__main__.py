"""Run the command line as `python -m nasq`."""

from __future__ import annotations

import sys

from nasq.cli import main

if __name__ == "__main__":
    sys.exit(main())
