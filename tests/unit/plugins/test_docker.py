"""Input `docker`: lines that Docker cut are joined, over restarts, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpiped.testing import events_in, running, until

ID = "0123456789abcdef" * 4


def line(text: str, stream: str = "stdout") -> str:
    return json.dumps({"log": text, "stream": stream, "time": "2026-01-02T03:04:05.123456789Z"}) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "containers" / ID
    folder.mkdir(parents=True)
    about = {"Name": "/web", "Config": {"Image": "nginx:1"}}
    (folder / "config.v2.json").write_text(json.dumps(about), encoding="utf-8")
    return folder / f"{ID}-json.log"


def config(tmp_path: Path) -> str:
    return (
        f'[[project]]\nname = "rs"\n[[input]]\ntype = "docker"\npaths = ["{tmp_path}/containers/*/*-json.log"]\n'
        f'[[output]]\ntype = "file"\npath = "{tmp_path}/out.ndjson"\n'
    )


async def read(tmp_path: Path, count: int) -> list[dict[str, Any]]:
    async with running(config(tmp_path), tmp_path) as engine:
        await until(lambda: len(events_in(tmp_path / "out.ndjson")) + engine.inputs[0].intake.rejected >= count)
        return events_in(tmp_path / "out.ndjson")


async def test_a_line_with_its_container(tmp_path: Path, log: Path) -> None:
    log.write_text(line("GET /\n") + line("oops\r\n", "stderr"), encoding="utf-8")
    first, second = await read(tmp_path, 2)
    assert first == {
        "@timestamp": 1767323045123,
        "message": "GET /",
        "stream": "stdout",
        "container": "web",
        "container_id": ID[:12],
        "image": "nginx:1",
        "_host": first["_host"],
        "_source": str(log),
    }
    assert (second["message"], second["stream"]) == ("oops", "stderr")


async def test_what_docker_cut_is_joined_for_each_stream(tmp_path: Path, log: Path) -> None:
    log.write_text(line("a" * 16384) + line("x", "stderr") + line("b\n") + line("y\n", "stderr"), encoding="utf-8")
    found = await read(tmp_path, 2)
    assert [event["message"] for event in found] == ["a" * 16384 + "b", "xy"]


async def test_the_beginning_of_a_line_outlives_a_restart(tmp_path: Path, log: Path) -> None:
    log.write_text(line("one\n") + line("be"), encoding="utf-8")
    async with running(config(tmp_path), tmp_path) as engine:
        await until(lambda: engine.inputs[0].report().get("unfinished_lines") == 1)
        await until(lambda: len(events_in(tmp_path / "out.ndjson")) == 1)
    with log.open("a", encoding="utf-8") as out:
        out.write(line("gin\n") + line("three\n"))
    found = await read(tmp_path, 3)
    assert [event["message"] for event in found] == ["one", "begin", "three"]


async def test_a_line_that_was_cut_goes_on_in_the_file_after_rotation(tmp_path: Path, log: Path) -> None:
    log.write_text(line("one\n") + line("be"), encoding="utf-8")
    async with running(config(tmp_path), tmp_path) as engine:
        await until(lambda: engine.inputs[0].report().get("unfinished_lines") == 1)
        log.rename(f"{log}.1")
        log.write_text(line("gin\n") + line("\n"), encoding="utf-8")
        await until(lambda: len(events_in(tmp_path / "out.ndjson")) == 3)
    assert [event["message"] for event in events_in(tmp_path / "out.ndjson")] == ["one", "begin", ""]


@pytest.mark.parametrize("more", ["", "g"])
@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_line_that_was_cut_goes_on_after_rotations_while_nothing_ran(
    tmp_path: Path, log: Path, more: str, times: int
) -> None:
    log.write_text(line("one\n") + line("be") + line("E", "stderr"), encoding="utf-8")
    async with running(config(tmp_path), tmp_path) as engine:
        await until(lambda: len(events_in(tmp_path / "out.ndjson")) == 1)
        await until(lambda: engine.inputs[0].report().get("unfinished_lines") == 1)
    if more:
        with log.open("a", encoding="utf-8") as out:
            out.write(line(more))
    for number in range(times):
        for old in range(number, 0, -1):
            Path(f"{log}.{old}").rename(f"{log}.{old + 1}")
        log.rename(f"{log}.1")
        log.write_text(line(f"{number}"), encoding="utf-8")
    with log.open("a", encoding="utf-8") as out:
        out.write(line("gin\n") + line("rr\n", "stderr") + line("two\n"))
    found = await read(tmp_path, 4)
    middle = more + "".join(map(str, range(times)))
    assert [event["message"] for event in found] == ["one", f"be{middle}gin", "Err", "two"]


async def test_what_is_no_line_of_docker_is_rejected(tmp_path: Path, log: Path) -> None:
    log.write_text(line("one\n") + "no json\n" + line("two\n"), encoding="utf-8")
    found = await read(tmp_path, 3)
    assert [event["message"] for event in found] == ["one", "two"]
