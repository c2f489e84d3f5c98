"""`dpiped check` tells which filters would not go on with their state, whether a daemon runs or not."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from dpiped.cli import main
from dpiped.config.load import load_daemon_config
from dpiped.engine import Engine
from dpiped.testing import post, request, running, until

CONFIG = (
    '[[project]]\nname = "rs"\n[[input]]\ntype = "http"\nlisten = "127.0.0.1:0"\n'
    '[[output]]\ntype = "discard"\nmatch = ["traffic"]\n'
    '[[filter]]\ntype = "aggregate"\nname = "traffic"\ngroup_by = ["host"]\nmetrics = { hits = { op = "count" } }\n'
)
CHANGED = CONFIG.replace('["host"]', '["uri"]')
SET_ASIDE = (
    '[[filter]] "traffic" (aggregate): keys that shape its state were changed: '
    "the next start or reload sets that aside, and begins it empty"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def config_with(folder: Path, toml: str, admin: str = "127.0.0.1:0", **keys: str) -> Path:
    """A config of the daemon that `running` starts in the folder."""
    lines = "".join(f'{name} = "{value}"\n' for name, value in keys.items())
    file = folder / "new.toml"
    file.write_text(f'[engine]\nadmin = "{admin}"\ndata_dir = "{folder / "dpiped"}"\n{lines}{toml}')
    return file


def check(capsys: pytest.CaptureFixture[str], file: Path) -> tuple[int, list[str], list[str]]:
    """(status, warnings, notes)."""
    capsys.readouterr()
    status = main(["check", str(file)])
    out, err = capsys.readouterr()
    return status, err.splitlines(), [line for line in out.splitlines() if not line.startswith("ok: ")]


async def has_state(engine: Engine) -> None:
    await post(engine, "rs/app", b'{"host":"a","uri":"/"}')
    await until(lambda: engine.runners[0].saved.cursor > 0)


def content(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


async def test_a_stopped_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(capsys, config_with(tmp_path, CONFIG)) == (0, [], [])
    assert not (tmp_path / "dpiped").exists()
    async with running(CONFIG, tmp_path, engine_keys="snapshot_interval_secs = 0.05") as engine:
        await has_state(engine)
    before = content(tmp_path / "dpiped")
    assert check(capsys, config_with(tmp_path, CONFIG)) == (0, [], [])
    file = config_with(tmp_path, CHANGED)
    place = load_daemon_config(file).filters[0].place
    assert check(capsys, file) == (0, [f"warning: {place}: {SET_ASIDE}"], [])
    for same in (
        CHANGED + "disabled = true\n",
        CHANGED.replace('"traffic"\ng', '"other"\ng'),
        CHANGED + '[journal]\ntype = "memory"\n',
    ):
        assert check(capsys, config_with(tmp_path, same))[:1] == (0,)
        assert SET_ASIDE not in "".join(check(capsys, config_with(tmp_path, same))[1])
    assert content(tmp_path / "dpiped") == before


async def test_a_running_daemon_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    admin = f"127.0.0.1:{free_port()}"
    keys = 'snapshot_interval_secs = 0.05\nadmin_token = "geheim-genug-fuer-uns"'
    async with running(CONFIG, tmp_path, admin=admin, engine_keys=keys) as engine:
        await has_state(engine)

        async def found(toml: str, at: str = admin) -> tuple[int, str]:
            file = config_with(tmp_path, toml, at, admin_token="geheim-genug-fuer-uns")
            status, warnings, notes = await asyncio.to_thread(check, capsys, file)
            return status, "\n".join(warnings + notes)

        assert await found(CONFIG) == (0, "")
        status, said = await found(CHANGED)
        assert (status, said.partition(": [[")[2]) == (0, SET_ASIDE.removeprefix("[["))
        not_compared = f"note: the states of filters in {tmp_path / 'dpiped'} were not compared: "
        status, said = await found(CHANGED, at=f"127.0.0.1:{free_port()}")
        assert (status, said.startswith(not_compared + "no answer")) == (0, True)
        status, said = await found(CHANGED, at="127.0.0.1:0")
        assert (status, said.startswith(not_compared + "a daemon runs on it")) == (0, True)
        assert (await request(engine, "/healthz"))[0] == 200
    assert not (tmp_path / "dpiped" / "quarantine").exists()


async def test_the_answer_of_another_daemon_does_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    admin = f"127.0.0.1:{free_port()}"
    async with running(CONFIG, tmp_path, admin=admin, engine_keys="snapshot_interval_secs = 0.05") as engine:
        await has_state(engine)
        (tmp_path / "dpiped" / "lock").write_text(f"{os.getpid() + 1}\n")
        status, warnings, notes = await asyncio.to_thread(check, capsys, config_with(tmp_path, CHANGED, admin))
    assert (status, warnings, len(notes)) == (0, [], 1)
    assert f"another one answers at http://{admin}" in notes[0]


@pytest.mark.parametrize("damage", ["a byte", "many bytes", "CURRENT", "no folder"])
async def test_a_damaged_state_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    async with running(CONFIG, tmp_path, engine_keys="snapshot_interval_secs = 0.05") as engine:
        await has_state(engine)
    state = tmp_path / "dpiped" / "state"
    if damage == "no folder":
        state.rename(tmp_path / "away")
    elif damage == "CURRENT":
        (state / "CURRENT").write_bytes(b"MANIFEST-9\n")
    else:
        step = 7 if damage == "many bytes" else 1 << 30
        for file in [*state.glob("*.log"), *state.glob("*.ldb")]:
            data = bytearray(file.read_bytes())
            for at in range(len(data) // 2, len(data), step):
                data[at] ^= 0xFF
            file.write_bytes(data)
    before = content(tmp_path / "dpiped")
    status, warnings, notes = check(capsys, config_with(tmp_path, CONFIG))
    assert (status, warnings) == (0, [])
    assert len(notes) == (0 if damage == "no folder" else 1)
    assert content(tmp_path / "dpiped") == before
