"""What `console` prints never steers the terminal, and is the same JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dpiped.testing import running, until

EVIL = "a\x1b[2J\x1b]0;owned\x07\x9b31m\x7f\u202egnp.exe\r\nERROR forged\u2028b"


@pytest.mark.parametrize("keys", ["color = false", "color = true", 'fields = ["m", "n"]', "pretty = true", ""])
async def test_control_characters_are_escaped(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], keys: str
) -> None:
    (tmp_path / "in.ndjson").write_bytes(json.dumps({"m": EVIL, EVIL: 1}, ensure_ascii=False).encode() + b"\n")
    read = f'[[input]]\ntype = "tail"\ncodec = "json"\nfollow = false\npaths = ["{tmp_path}/in.ndjson"]\n'
    async with running(f'{read}[[output]]\ntype = "console"\n{keys}\n', tmp_path) as engine:
        await until(lambda: engine.runners[0].events == 1)
    shown = capfdbinary.readouterr().out.decode()
    for colour in ("\x1b[36m", "\x1b[2m", "\x1b[0m"):
        shown = shown.replace(colour, "")
    assert "owned" in shown
    assert not any((ord(c) < 32 and c != "\n") or 126 < ord(c) < 160 or c in "\u2028\u202e" for c in shown)
    if "color = true" not in keys:
        assert json.loads(shown)["m"] == EVIL
