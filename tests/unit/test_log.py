"""Log lines: one for each record, readable by people and programs, without secrets."""

from __future__ import annotations

import io
import json
import logging
import re

import pytest

from dpiped.hidden import hide
from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import EventsDropped
from dpiped.telemetry.log import setup_logging


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_text(stream: io.StringIO) -> None:
    setup_logging(stream=stream)
    Telemetry().emit(EventsDropped(plugin="mail", amount=3, reason='too "long"\nand more'))
    line = stream.getvalue()
    time, _, rest = line.partition(" ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
    assert rest == 'WARNING events dropped plugin=mail amount=3 reason="too \\"long\\"\\nand more"\n'


def test_json(stream: io.StringIO) -> None:
    setup_logging(log_format="json", stream=stream)
    Telemetry().emit(EventsDropped(plugin="mail", amount=3, reason="too\nlong"))
    assert stream.getvalue().count("\n") == 1
    record = json.loads(stream.getvalue())
    assert record.pop("time").endswith("Z")
    details = {"plugin": "mail", "amount": 3, "reason": "too\nlong"}
    assert record == {"level": "warning", "text": "events dropped", **details}


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_secrets_are_hidden(stream: io.StringIO, log_format: str) -> None:
    setup_logging(log_format=log_format, stream=stream)  # type: ignore[arg-type]
    hide({"geheim5", "x"})
    Telemetry().say("refused by http://u:geheim5@host", detail="token geheim5 x")
    assert "geheim5" not in stream.getvalue()
    assert stream.getvalue().count("***") == 2


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_text_steers_the_terminal(stream: io.StringIO, log_format: str) -> None:
    """Log lines quote what strangers sent."""
    setup_logging(log_format=log_format, stream=stream)  # type: ignore[arg-type]
    evil = "a\x1b[2J\x07\x9b31m\x7f\u202egnp\r\nERROR forged\u2028\x85"
    Telemetry().say(evil, plugin=evil, detail="\x9b31m")
    line = stream.getvalue().removesuffix("\n")
    assert not any(ord(char) < 32 or 126 < ord(char) < 160 or char in "\u2028\u2029\u202e" for char in line)
    if log_format == "json":
        assert json.loads(line)["text"] == evil


def test_levels(stream: io.StringIO) -> None:
    setup_logging("warning", stream=stream)
    telemetry = Telemetry()
    telemetry.say("quiet")
    telemetry.say("loud", level=logging.ERROR)
    logging.getLogger("library").info("chatter")
    logging.getLogger("library").warning("trouble %d", 5)
    first, second = stream.getvalue().splitlines()
    assert first.endswith(" ERROR loud")
    assert second.endswith(" WARNING trouble 5 logger=library")


@pytest.mark.parametrize("tracebacks", [False, True])
def test_exceptions_stay_on_one_line(stream: io.StringIO, tracebacks: bool) -> None:
    setup_logging(stream=stream, tracebacks=tracebacks)
    try:
        int("line\nbreak")
    except ValueError:
        logging.getLogger("dpipe").exception("it failed")
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert r"line\\nbreak" in line
    assert ("Traceback" in line) is tracebacks


@pytest.mark.parametrize(("no_color", "colored"), [("", True), ("1", False)])
def test_colours_only_where_wanted(monkeypatch: pytest.MonkeyPatch, no_color: str, colored: bool) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    terminal = Terminal()
    setup_logging(stream=terminal)
    Telemetry().say("x", level=logging.ERROR)
    assert ("\x1b[31m" in terminal.getvalue()) is colored


def test_setting_up_twice_writes_once(stream: io.StringIO) -> None:
    setup_logging(stream=io.StringIO())
    setup_logging(stream=stream)
    Telemetry().say("x")
    assert stream.getvalue().count("\n") == 1
