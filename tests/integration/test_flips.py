"""A flipped bit anywhere in a data_dir: the daemon starts, delivers nothing wrong, and counts what it cannot read."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from dpiped.deadletter import Letter
from dpiped.engine import Engine
from dpiped.testing import post, running, until
from dpiped.watchdog import Hang
from tests.faults.flips import FLIPS, flip, fresh_copy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
AT = 1_700_000_000_000
PACKS, EVENTS = 40, 4
CONFIG = """
[journal]
max_bytes = "1MiB"
[[project]]
name = "rs"
show_error = false
[[input]]
type = "http"
listen = "127.0.0.1:0"
keep_old = true
[[filter]]
type = "aggregate"
name = "traffic"
ident = "stats"
match = ["app"]
window_secs = 1
lateness_secs = 0
idle_secs = 100000
max_ahead_secs = 1e9
[filter.metrics]
hits = { op = "count" }
[[output]]
type = "file"
name = "archive"
match = ["app"]
path = "out/archive.ndjson"
metadata = false
[[output]]
type = "file"
name = "late"
match = ["app"]
path = "late/late.ndjson"
metadata = false
[[output]]
type = "file"
name = "stats"
match = ["stats"]
path = "out/stats.ndjson"
metadata = false
"""


def body(pack: int, chance: random.Random) -> bytes:
    return b"".join(
        b'{"@timestamp":%d,"id":"%d-%d","x":"%s"}\n'
        % (AT + pack * 400, pack, n, chance.randbytes(4_000).hex().encode())
        for n in range(EVENTS)
    )


async def fill(folder: Path, bodies: list[bytes]) -> None:
    """A data_dir as a busy daemon leaves it: `late` has got nothing, and holds the journal."""
    (folder / "late").write_bytes(b"")  # a file where the output wants a folder
    async with running(CONFIG, folder) as engine:
        for one in bodies:
            assert (await post(engine, "rs/app", one))[0] == 200
            await post(engine, "rs/app", b"no json\n")
        archive = folder / "out" / "archive.ndjson"
        await until(lambda: archive.exists() and archive.read_bytes() == b"".join(bodies))
    (folder / "late").unlink()
    hang = Hang("traffic", 3, 2)
    hang.check = hang.checked()
    (folder / "dpiped" / "hang.json").write_bytes(msgspec.json.encode(hang))
    assert len(list((folder / "dpiped" / "journal").glob("*.seg"))) > 2


def idle(engine: Engine) -> bool:
    return not any(runner.reader.behind for runner in engine.runners)


def lost_packs(engine: Engine, place: str) -> float:
    return engine.telemetry.metrics.registry.get_sample_value("dpipe_lost_packs_total", {"place": place}) or 0.0


def check(engine: Engine, folder: Path, bodies: list[bytes], letters: list[Letter], what: str) -> None:
    sent = b"".join(bodies).splitlines()
    late = (folder / "late" / "late.ndjson").read_bytes().splitlines()
    archive = Counter((folder / "out" / "archive.ndjson").read_bytes().splitlines())
    assert not Counter(late) - Counter(sent), f"{what}: something wrong or double was delivered"
    missing = {json.loads(line)["id"].split("-")[0] for line in set(sent) - set(late)}
    allowed = 1 if what.startswith("journal") else 0
    assert len(missing) <= allowed, f"{what}: undamaged packs are missing: {missing}"
    assert lost_packs(engine, "journal") >= len(missing), f"{what}: a loss was not counted"
    assert set(archive) == set(sent), f"{what}: what was delivered before has changed"
    if not engine.telemetry.losses:
        assert max(archive.values()) == 1, f"{what}: doubled, and nothing was said"
    with (folder / "out" / "stats.ndjson").open() as file:
        windows = Counter(json.loads(line)["window_start"] for line in file)
    if not engine.telemetry.losses:
        assert max(windows.values()) == 1, f"{what}: a window came twice"
    assert {letter.raw for letter in letters} <= {b"no json"}, f"{what}: a wrong dead letter"
    least = PACKS - what.startswith("deadletter/.log")  # the last record may look as if a crash had cut it off
    assert len(letters) >= least or lost_packs(engine, "deadletter"), f"{what}: lost dead letters were not counted"


async def test_a_flipped_bit_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = int(os.environ.get("DPIPE_FLIP_SEED", random.randrange(10**6)))
    print("DPIPE_FLIP_SEED =", seed)
    chance = random.Random(seed)
    bodies = [body(pack, chance) for pack in range(PACKS)]
    whole = tmp_path / "whole"
    whole.mkdir()
    monkeypatch.chdir(whole)
    await fill(whole, bodies)
    said: Counter[str] = Counter()
    for _ in range(FLIPS):
        folder = fresh_copy(whole, tmp_path / "copy")
        monkeypatch.chdir(folder)
        what = flip(folder / "dpiped", chance)
        try:
            async with running(CONFIG, folder) as engine:
                await until(lambda: idle(engine))
                letters = list(engine.around.deadletters.scan())
        except Exception as exc:
            raise AssertionError(f"{what}: {exc!r}") from exc
        said[f"{what.split(':')[0]}: {'told' if engine.telemetry.losses else 'harmless'}"] += 1
        check(engine, folder, bodies, letters, what)
    print(*sorted(said.items()), sep="\n")
