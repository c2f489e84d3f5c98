"""The command `dpipe-collector`, also as `python -m collector`."""

import sys

from dpiped.signals import ignore_early_signals


def main() -> int:
    """Runs the command line."""
    ignore_early_signals()
    from collector.cli import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
