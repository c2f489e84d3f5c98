"""Output `notify` at real services of this machine: what arrives, what a refusal says, and that no URL is shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dpiped.config.load import load_daemon_config
from dpiped.errors import ConfigError
from dpiped.telemetry.log import setup_logging
from dpiped.testing import until
from dpiped.testing.parts import Parts, parts
from plugins.outputs.notify import NotifyConfig, NotifyOutput
from tests.mailbox import smtp_server

SECRET = "s3cr3t-T0ken-of-the-hook"


class Hook:
    """A web hook; `status` is what it answers, `gate` holds answers back."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.status = 200
        self.gate = asyncio.Event()
        self.gate.set()
        self.url = ""

    async def answer(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        self.paths.append(request.path)
        await self.gate.wait()
        if self.status == 200:
            self.got.append(json.loads(body))
        return web.Response(status=self.status, text=f"no: {request.path}")


@asynccontextmanager
async def hooking() -> AsyncIterator[Hook]:
    hook = Hook()
    runner = web.ServerRunner(web.Server(hook.answer, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook.url = f"json://127.0.0.1:{runner.addresses[0][1]}/{SECRET}"
    yield hook
    hook.gate.set()
    await runner.cleanup()


@asynccontextmanager
async def notifying(folder: Path, url: str, **keys: Any) -> AsyncIterator[tuple[Parts, Any]]:
    """(parts, runner) with a notify output that runs."""
    config = NotifyConfig.model_validate({"url": url, "min_gap_secs": 0, **keys})
    async with parts(folder) as world:
        runner = world.output(NotifyOutput, config, retry={"initial_secs": 0.02, "max_secs": 0.02})
        await world.start(runner)
        yield world, runner


def line(**changes: Any) -> bytes:
    event = {"@timestamp": 1_700_000_000_000, "title": "25 <b>errors</b> & more", "state": "firing", "severity": 60}
    return json.dumps({**event, **changes}).encode() + b"\n"


@pytest.mark.parametrize(
    ("event", "kind", "over"),
    [
        ({}, "failure", ""),
        ({"severity": 20}, "warning", ""),
        ({"severity": "info"}, "info", ""),
        ({"state": "resolved"}, "success", "resolved: "),
    ],
)
async def test_a_message_arrives(tmp_path: Path, event: dict[str, Any], kind: str, over: str) -> None:
    async with hooking() as hook, notifying(tmp_path, hook.url) as (world, runner):
        await world.append(line(**event), ident="alarm.errors")
        await until(lambda: len(hook.got) == 1 and runner.report()["pooled"] == 0)
        assert runner.report()["service"] == "json"
    assert hook.paths == [f"/{SECRET}"]
    assert (hook.got[0]["title"], hook.got[0]["type"]) == (f"[dpipe] {over}25 <b>errors</b> & more", kind)
    assert "25 <b>errors</b> & more" in hook.got[0]["message"]
    assert "ident: alarm.errors" in hook.got[0]["message"]


async def test_a_message_is_a_success_only_if_all_is_resolved(tmp_path: Path) -> None:
    over = line(title="disk full", state="resolved", severity=500)
    async with hooking() as hook, notifying(tmp_path, hook.url, pool_count=2) as (world, _):
        await world.append(over + line(title="db down"))
        await until(lambda: len(hook.got) == 1)
        await world.append(over + line(state="resolved"))
        await until(lambda: len(hook.got) == 2)
    assert [(one["title"], one["type"]) for one in hook.got] == [
        ("[dpipe] db down (+1 more)", "failure"),
        ("[dpipe] resolved: disk full (+1 more)", "success"),
    ]


async def test_a_message_is_for_a_phone(tmp_path: Path) -> None:
    async with hooking() as hook, notifying(tmp_path, hook.url, pool_count=100) as (world, _):
        await world.append(b"".join(line(title=f"t{n} " + "x" * 5_000, samples=["y" * 5_000] * 9) for n in range(100)))
        await until(lambda: len(hook.got) == 1)
    assert "and 90 more of at most the same severity" in hook.got[0]["message"]
    assert len(hook.got[0]["message"]) < 32_769  # what Apprise's own limit of this service is


@pytest.mark.parametrize(("status", "said"), [(500, "json: the service answered 500"), (403, "check the credentials")])
async def test_a_refusal_says_the_status_and_nothing_that_is_secret(
    tmp_path: Path, status: int, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    setup_logging("debug")
    async with hooking() as hook, notifying(tmp_path, hook.url) as (world, runner):
        hook.status = status
        await world.append(line())
        await until(lambda: runner.status == "retrying")
        await until(lambda: runner.saved.cursor == 1)
        assert said in runner.last_error
        assert SECRET not in json.dumps(runner.report())
        if status == 500:
            hook.status = 200
            await until(lambda: len(hook.got) == 1 and runner.status == "running")
    shown = "".join(capfd.readouterr())
    assert f"the service answered {status}" in shown
    assert SECRET not in shown


async def test_a_service_that_is_down_gets_everything_later(tmp_path: Path) -> None:
    async with hooking() as hook:
        pass
    async with notifying(tmp_path, hook.url) as (world, runner):
        await world.append(line())
        await until(lambda: runner.status == "retrying")
        assert runner.last_error == "json: the service could not be reached"
        await until(lambda: runner.saved.cursor == 1)
        assert runner.report()["pooled"] == 1


async def test_a_service_that_does_not_answer_holds_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wanted = {"json: no answer after 0.1 s", "json: the last try has still no answer"}
    async with hooking() as hook, notifying(tmp_path, hook.url, timeout_secs=0.1) as (world, runner):
        hook.gate.clear()
        await world.append(line())
        await until(lambda: wanted <= {vars(record).get("details", {}).get("error") for record in caplog.records})
        await until(lambda: runner.saved.cursor == 1)
        assert hook.paths == [f"/{SECRET}"]
        await asyncio.wait_for(world.stop(runner), 2)


async def test_mail_by_apprise(tmp_path: Path) -> None:
    async with smtp_server() as box:
        url = f"mailto://127.0.0.1:{box.port}?mode=insecure&from=dpipe@example.com&to=ops@example.com"
        async with notifying(tmp_path, url) as (world, _):
            await world.append(line())
            await until(lambda: len(box.mails) == 1)
    assert box.mails[0]["Subject"] == "[dpipe] 25 <b>errors</b> & more"
    assert b"<b>errors" not in (box.envelopes[0].content or b"").partition(b"text/html")[2]


@pytest.mark.parametrize("url", [f"nosuch://{SECRET}/x", f"tgram://{SECRET}", f"{SECRET}", f"pagerduty://{SECRET}"])
def test_a_wrong_url_is_told_without_it(tmp_path: Path, url: str) -> None:
    (tmp_path / "c.toml").write_text(f'[[input]]\ntype = "demo"\n[[output]]\ntype = "notify"\nurl = "{url}"\n')
    with pytest.raises(ConfigError) as caught:
        load_daemon_config(tmp_path / "c.toml", {})
    assert len(caught.value.problems) == 1
    assert 'notify): key "url"' in caught.value.problems[0]
    assert SECRET not in caught.value.problems[0]
