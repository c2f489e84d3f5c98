"""What consumers and producers of Kafka have in common: errors in one line, and the first contact."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dpiped.errors import TemporaryError
from dpiped.kafka.config import KafkaConfig
from dpiped.kafka.refusal import advice_on, without_times

_CREDENTIALS = ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM", "ILLEGAL_SASL_STATE")
_STEP_SECS = 1.0
SLOW_SECS = 10.0
"""Until the next try where an operator has to do something."""


class Troubles:
    """What librdkafka reports beside its calls; the last of it, for messages. `note` is called from any thread."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self.last = ""
        self.is_down = False
        """No broker answers."""
        self._refused = ""

    def note(self, error: Any) -> None:
        """For `error_cb`."""
        if error.name() == "_ALL_BROKERS_DOWN":
            self.is_down = True
            return
        self.last = without_times(str(error.str()))
        if error.name() in _CREDENTIALS or "_SSL" in error.name() or "SSL alert" in self.last:
            self._refused = self.last

    def over(self) -> None:
        """Something worked."""
        self.last, self._refused, self.is_down = "", "", False

    @property
    def refused(self) -> bool:
        """No broker answers, and one has turned us away: an operator has to do something."""
        return self.is_down and bool(self._refused)

    def refusal(self) -> TemporaryError:
        """Why we are turned away, in one line. Blocks for seconds."""
        text = advice_on(self._refused, self._config) or self._refused
        return TemporaryError(f"kafka {text}", SLOW_SECS)

    def silence(self, reason: str) -> TemporaryError:
        """Nobody answers; `reason` if librdkafka told no better one. Blocks for seconds."""
        text = advice_on(self.last, self._config) if self.is_down else ""
        if text:
            return TemporaryError(f"kafka {text}", SLOW_SECS)
        return TemporaryError(f"kafka {self._config.shown}: no broker answers: {self.last or reason}")


def reason_of(exc: BaseException) -> str:
    """What a KafkaException says, in one line."""
    error: Any = exc.args[0] if exc.args else exc
    text = str(error.str()) if hasattr(error, "str") else str(exc)
    return text.replace("\n", " ")


def name_of(exc: BaseException) -> str:
    """The name of the error in a KafkaException, such as `_TIMED_OUT`; empty if it has none."""
    error: Any = exc.args[0] if exc.args else None
    return str(error.name()) if hasattr(error, "name") else ""


def first_contact(client: Any, poll: Callable[[float], object], troubles: Troubles, secs: float) -> Any:
    """The metadata of the cluster. Blocks. Raises TemporaryError that says why nobody answers, or who is refused."""
    deadline = time.monotonic() + secs
    while True:
        try:
            found = client.list_topics(timeout=min(_STEP_SECS, secs))
        except Exception as exc:  # KafkaException; its class cannot be named without the library
            poll(0)
            if troubles.refused:
                raise troubles.refusal() from None
            if time.monotonic() >= deadline:
                raise troubles.silence(reason_of(exc)) from None
        else:
            troubles.over()
            return found
