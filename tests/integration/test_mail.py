"""Mails in a whole engine: a dead server holds nobody up, and pools outlive stops and reloads."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dpiped.reload import reload_file
from dpiped.testing import events_in, post, running, until
from tests.mailbox import smtp_server

HTTP = '[[input]]\ntype = "http"\nlisten = "127.0.0.1:0"\nkeep_old = true\n'


def mail(port: int, keys: str = "") -> str:
    where = f'to = ["ops@example.com"]\nsender = "dpipe@example.com"\nserver = "127.0.0.1:{port}"\nsecurity = "none"\n'
    return f'{HTTP}[[output]]\ntype = "mail"\n{where}min_gap_secs = 0\n{keys}\n'


def body(*numbers: int) -> bytes:
    return b"".join(b'{"@timestamp":1700000000000,"message":"event %d.","n":%d}\n' % (n, n) for n in numbers)


async def test_a_silent_mail_server_holds_up_nobody(tmp_path: Path) -> None:
    silent = await asyncio.start_server(lambda reader, writer: reader.read(), "127.0.0.1", 0)
    archive = f'[[output]]\ntype = "file"\npath = "{tmp_path}/out.ndjson"\n'
    async with running(mail(silent.sockets[0].getsockname()[1]) + archive, tmp_path) as engine:
        await post(engine, "default/app", body(0))
        mailing = next(runner for runner in engine.runners if runner.name == "mail")
        await until(lambda: mailing.calling_since is not None)
        for number in range(1, 20):
            status, _ = await post(engine, "default/app", body(number))
            assert status == 200
        await until(lambda: len(events_in(tmp_path / "out.ndjson")) == 20)
        assert mailing.calling_since is not None
    silent.close()


async def test_a_pool_goes_on_after_a_stop_and_with_other_keys(tmp_path: Path) -> None:
    async with smtp_server() as box:
        async with running(mail(box.port, "pool_count = 10"), tmp_path) as engine:
            await post(engine, "default/app", body(1, 2))
            await until(lambda: engine.runners[0].report()["pooled"] == 2)
        assert box.mails == []
        async with running(mail(box.port, "pool_count = 10"), tmp_path) as engine:
            assert engine.config_path is not None
            await until(lambda: engine.runners[0].report().get("pooled") == 2)
            text = engine.config_path.read_text()
            engine.config_path.write_text(text.replace("pool_count = 10", "pool_count = 3"))
            await reload_file(engine)
            await post(engine, "default/app", body(3))
            await until(lambda: len(box.mails) == 1)
    assert all(f"event {number}." in box.texts[0] for number in (1, 2, 3))


async def test_a_stop_says_what_some_have_not_got(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with smtp_server() as box:
        box.busy = {"night@example.com"}
        config = mail(box.port).replace('to = ["ops@example.com"]', 'to = ["ops@example.com", "night@example.com"]')
        async with running('[journal]\ntype = "memory"\n' + config, tmp_path) as engine:
            await post(engine, "default/app", body(1, 2))
            await until(lambda: engine.runners[0].report().get("owed") == 1)
    details = [vars(record).get("details", {}) for record in caplog.records]
    assert [(one["amount"], one["reason"]) for one in details if "amount" in one] == [
        (2, "stopped_with_memory_journal")
    ]


async def test_with_a_journal_in_memory_a_stop_counts_what_it_loses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = '[journal]\ntype = "memory"\n' + mail(1, "pool_count = 10")
    async with running(config, tmp_path) as engine:
        await post(engine, "default/app", body(1, 2))
        await until(lambda: engine.runners[0].report().get("pooled") == 2)
    details = [vars(record).get("details", {}) for record in caplog.records]
    assert [(one["amount"], one["reason"]) for one in details if "amount" in one] == [
        (2, "stopped_with_memory_journal")
    ]
