"""What `console` prints never steers the terminal and is the same JSON; severities have colours, may blink and ring."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpiped.testing import running, until

EVIL = "a\x1b[2J\x1b]0;owned\x07\x9b31m\x7f\u202egnp.exe\r\nERROR forged\u2028b"
OWN = ("\x1b[36m", "\x1b[2m", "\x1b[0m", "\x1b[1;31m", "\x1b[5m")


async def printed(folder: Path, capture: pytest.CaptureFixture[bytes], keys: str, *events: dict[str, Any]) -> str:
    """What the events look like."""
    body = b"".join(json.dumps(event, ensure_ascii=False).encode() + b"\n" for event in events)
    (folder / "in.ndjson").write_bytes(body)
    read = f'[[input]]\ntype = "tail"\ncodec = "json"\nfollow = false\npaths = ["{folder}/in.ndjson"]\n'
    async with running(f'{read}[[output]]\ntype = "console"\n{keys}\n', folder) as engine:
        await until(lambda: engine.runners[0].events == len(events))
    return capture.readouterr().out.decode()


@pytest.mark.parametrize(
    "keys",
    ["color = false", "color = true", "color = true\nblink_severity = 1", 'fields = ["m", "n"]', "pretty = true", ""],
)
async def test_control_characters_are_escaped(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], keys: str
) -> None:
    event = {"m": EVIL, EVIL: 1, "severity": 100, "state": EVIL, "title": EVIL}
    shown = await printed(tmp_path, capfdbinary, keys, event)
    for escape in OWN:
        shown = shown.replace(escape, "")
    assert "owned" in shown
    assert not any((ord(c) < 32 and c != "\n") or 126 < ord(c) < 160 or c in "\u2028\u202e" for c in shown)
    if "color = true" not in keys:
        assert json.loads(shown)["m"] == EVIL


@pytest.mark.parametrize(
    ("event", "color"),
    [
        ({"severity": 100}, "\x1b[1;31m"),
        ({"severity": "emerg"}, "\x1b[1;31m"),
        ({"severity": "ERROR"}, "\x1b[31m"),
        ({"severity": 10.5}, "\x1b[33m"),
        ({"severity": 9.9}, ""),
        ({"severity": True}, ""),
        ({"severity": "7"}, ""),
        ({"severity": 500, "state": "resolved"}, "\x1b[32m"),
    ],
)
async def test_severities_have_colours(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], event: dict[str, Any], color: str
) -> None:
    shown = await printed(tmp_path, capfdbinary, "color = true", {"m": "hot", **event})
    assert f"\x1b[2mm=\x1b[0m{color}hot" in shown
    assert "\x1b[5m" not in shown
    assert "\a" not in shown


async def test_the_worst_blink_and_the_bell_rings_once(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    keys = 'blink_severity = 100\nbell_severity = 200\nseverity_field = "log.level"'
    events = [{"m": "a", "log": {"level": "crit"}}, {"m": "b", "log.level": "alert"}, {"m": "c", "log": {"level": 300}}]
    loud = await printed(tmp_path, capfdbinary, f"color = true\n{keys}", *events, {"m": "d", "log": {"level": "err"}})
    assert loud.count("\a") == 1
    assert [f"\x1b[5m{letter}" in loud for letter in "abcd"] == [True, True, True, False]
    (tmp_path / "b").mkdir()
    quiet = await printed(tmp_path / "b", capfdbinary, keys, *events)
    assert not {"\a", "\x1b"} & set(quiet)
