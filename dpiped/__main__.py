"""The command `dpiped`, also as `python -m dpiped`."""

import os
import sys

from dpiped.signals import ignore_early_signals
from dpiped.standard_streams import open_closed_streams


def main() -> int:
    """Runs the command line."""
    ignore_early_signals()
    open_closed_streams()
    # before numpy comes in: its library for algebra, which nobody needs here, starts a thread for each core
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from dpiped.cli import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
