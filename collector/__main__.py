"""The command `dpipe-collector`, also as `python -m collector`."""

import sys

from dpiped.signals import ignore_early_signals
from dpiped.standard_streams import open_closed_streams


def main() -> int:
    """Runs the command line."""
    ignore_early_signals()
    open_closed_streams()
    from collector.cli import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
