"""Signals that come before anybody handles them."""

import signal
import sys


def ignore_early_signals() -> None:
    """Until the event loop of `run` takes them: a reload or a dump that is asked for early must not end the process."""
    if "run" in sys.argv[1:]:
        for number in (signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
