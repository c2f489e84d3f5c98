"""The command `dpipe-collector`, also as `python -m collector`."""

import signal
import sys


def main() -> int:
    """Runs the command line."""
    if "run" in sys.argv[1:]:  # until the loop takes them: a reload that comes early must not end the process
        for number in (signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
    from collector.cli import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
