"""What consumers and producers of Kafka have in common: errors in one line, and the first contact."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dpiped.errors import TemporaryError

_CREDENTIALS = ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM", "ILLEGAL_SASL_STATE")
_STEP_SECS = 1.0
SLOW_SECS = 10.0
"""Until the next try where an operator has to do something."""


class Troubles:
    """What librdkafka reports beside its calls; the last of it, for messages. Called from any thread."""

    def __init__(self) -> None:
        self.last = ""
        self.refused = ""
        """Why the brokers do not take the credentials; empty as long as they may."""
        self.is_down = False
        """No broker answers."""

    def note(self, error: Any) -> None:
        """For `error_cb`."""
        self.last = str(error.str())
        if error.name() in _CREDENTIALS or "_SSL" in error.name():
            self.refused = self.last
        if error.name() == "_ALL_BROKERS_DOWN":
            self.is_down = True

    def over(self) -> None:
        """Something worked."""
        self.last, self.refused, self.is_down = "", "", False


def reason_of(exc: BaseException) -> str:
    """What a KafkaException says, in one line."""
    error: Any = exc.args[0] if exc.args else exc
    text = str(error.str()) if hasattr(error, "str") else str(exc)
    return text.replace("\n", " ")


def name_of(exc: BaseException) -> str:
    """The name of the error in a KafkaException, such as `_TIMED_OUT`; empty if it has none."""
    error: Any = exc.args[0] if exc.args else None
    return str(error.name()) if hasattr(error, "name") else ""


def first_contact(client: Any, poll: Callable[[float], object], troubles: Troubles, shown: str, secs: float) -> Any:
    """The metadata of the cluster. Blocks. Raises TemporaryError that says why nobody answers, or who is refused."""
    deadline = time.monotonic() + secs
    while True:
        try:
            found = client.list_topics(timeout=min(_STEP_SECS, secs))
        except Exception as exc:  # KafkaException; its class cannot be named without the library
            poll(0)
            if troubles.refused:
                text = f"kafka {shown}: the credentials are refused: {troubles.refused}"
                raise TemporaryError(text, SLOW_SECS) from None
            if time.monotonic() >= deadline:
                raise TemporaryError(f"kafka {shown}: no broker answers: {troubles.last or reason_of(exc)}") from None
        else:
            troubles.over()
            return found
