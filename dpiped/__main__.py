"""The command `dpiped`, also as `python -m dpiped`."""

import os
import signal
import sys


def main() -> int:
    """Runs the command line."""
    if "run" in sys.argv[1:]:  # until the loop takes them: a reload that comes early must not end the process
        for number in (signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
    # before numpy comes in: its library for algebra, which nobody needs here, starts a thread for each core
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from dpiped.cli import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
