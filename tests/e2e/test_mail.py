"""Mails of a real daemon, that is killed between the arrival of an event and the mail: it comes, at least once."""

from __future__ import annotations

import asyncio
import json
import random
import re
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from dpiped.testing import until
from tests.mailbox import Mailbox, smtp_server

from .conftest import Daemon, Program

WAIT_SECS = 40.0


def daemon(folder: Path, programs: list[Program], box: Mailbox, keys: str = "", name: str = "dpiped") -> Daemon:
    table = f"""
[[output]]
type = "mail"
to = ["ops@example.com"]
sender = "dpipe@example.com"
server = "127.0.0.1:{box.port}"
security = "none"
{keys}
"""
    made = Daemon(folder, table, name=name)
    programs.append(made)
    return made


def post(made: Daemon, *numbers: int) -> None:
    body = b"".join(json.dumps({"message": f"event {n}."}).encode() + b"\n" for n in numbers)
    urllib.request.urlopen(f"{made.url}/ingest/rs/app", data=body, timeout=10).close()


def told(box: Mailbox) -> set[int]:
    """The numbers of all events that a mail tells; no mail tells one twice."""
    found = [re.findall(r"^event (\d+)\.\s*$", text, re.MULTILINE) for text in box.texts]
    assert all(len(numbers) == len(set(numbers)) for numbers in found)
    return {int(number) for numbers in found for number in numbers}


async def test_an_event_makes_a_mail(tmp_path: Path, programs: list[Program]) -> None:
    async with smtp_server() as box:
        made = daemon(tmp_path, programs, box)
        await asyncio.to_thread(made.start)
        await asyncio.to_thread(post, made, 1)
        await until(lambda: len(box.mails) == 1)
        assert box.mails[0]["Subject"] == "[dpipe] event 1."
        assert await asyncio.to_thread(made.stop) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "mails"),
    [("writing:1", 1), ("delivered:1", 1), ("flushed:1", 1), ("flushed:2", 2), ("flushed:3", 1)],
)
async def test_a_kill_at_any_step_costs_no_mail(
    tmp_path: Path, programs: list[Program], point: str, mails: int
) -> None:
    """`flushed:1` is before the pool is saved, `flushed:2` between the server's answer and the next save."""
    async with smtp_server() as box:
        first = daemon(tmp_path, programs, box, "min_gap_secs = 0")
        first._environ["DPIPE_CRASH"] = f"output.{point}"
        await asyncio.to_thread(first.start)
        with suppress(OSError):  # it may end before it answers, but it reads an event only when that is stored
            await asyncio.to_thread(post, first, 1)
        await until(lambda: not first.running, WAIT_SECS)
        assert first.status == -9
        del first._environ["DPIPE_CRASH"]
        await asyncio.to_thread(first.start)
        await until(lambda: len(box.mails) == mails, WAIT_SECS)
        await asyncio.to_thread(post, first, 2)
        await until(lambda: told(box) == {1, 2}, WAIT_SECS)
    assert len(box.mails) == mails + 1
    assert len({mail["Message-ID"] for mail in box.mails}) == 2  # a mail that came twice is known by it


@pytest.mark.slow
async def test_kills_at_random_moments_cost_no_mail(tmp_path: Path, programs: list[Program]) -> None:
    chance, accepted, number = random.Random(7), set(), 0
    async with smtp_server() as box:
        made = daemon(tmp_path, programs, box, "pool_count = 4\npool_secs = 1.5\nmin_gap_secs = 0.05")
        for _ in range(8):
            await asyncio.to_thread(made.start)
            killing = asyncio.create_task(_kill_later(made, chance.uniform(0.05, 0.8)))
            while not killing.done():
                number += 1
                try:
                    await asyncio.to_thread(post, made, number)
                    accepted.add(number)
                except OSError:
                    break
                await asyncio.sleep(0.02)
            await killing
        await asyncio.to_thread(made.start)
        await until(lambda: accepted <= told(box), WAIT_SECS)
    assert len(accepted) > 20


async def _kill_later(made: Daemon, secs: float) -> None:
    await asyncio.sleep(secs)
    made.kill()
