"""Output `mail` at a real SMTP server: what arrives, how it gets there, and what a server may say."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dpiped.config.load import load_daemon_config
from dpiped.errors import ConfigError
from dpiped.pooled.entry import WORDLESS
from dpiped.pooled.output import MAX_TRIES
from dpiped.testing import until
from dpiped.testing.parts import Parts, parts
from plugins.outputs.mail import MailConfig, MailOutput
from tests.mailbox import PASSWORD, USER, Mailbox, part_of, smtp_server
from tests.pki import Pki

ALARM: dict[str, Any] = {
    "@timestamp": 1_700_000_060_000,
    "alarm": "errors",
    "state": "firing",
    "severity": 20,
    "score": 500,
    "title": "25 errors in area <eu> & more",
    "area": "eu",
    "group": {"area": "eu"},
    "window_start": 1_700_000_000_000,
    "window_end": 1_700_000_060_000,
    "values": {"count": 25, "p95": 1.75},
    "previous": {"count": 3},
    "samples": [{"@timestamp": 1, "message": "<script>alert('x')</script>"}, {"message": "käse 🐈"}],
    "fingerprint": "ab12",
}


def line(**changes: Any) -> bytes:
    """An alarm as one line of a body."""
    return json.dumps({**ALARM, **changes}).encode() + b"\n"


@asynccontextmanager
async def mailing(folder: Path, box: Mailbox, **keys: Any) -> AsyncIterator[tuple[Parts, Any]]:
    """(parts, runner) with a mail output that runs, in clear text unless `keys` say otherwise."""
    config = MailConfig.model_validate(
        {
            "to": ["ops@example.com"],
            "sender": "dpipe@example.com",
            "server": f"127.0.0.1:{box.port}",
            "security": "none",
            "min_gap_secs": 0,
            **keys,
        }
    )
    async with parts(folder) as world:
        runner = world.output(MailOutput, config, retry={"initial_secs": 0.02, "max_secs": 0.02})
        await world.start(runner)
        yield world, runner


async def test_an_alarm_makes_a_mail_in_text_and_html(tmp_path: Path) -> None:
    async with smtp_server() as box, mailing(tmp_path, box, intro="{title} at {group}") as (world, _):
        await world.append(line(), ident="alarm.errors")
        await until(lambda: len(box.mails) == 1)
    mail = box.mails[0]
    assert mail["Subject"] == "[dpipe] 25 errors in area <eu> & more"
    assert (mail["From"], mail["To"]) == ("dpipe@example.com", "ops@example.com")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"].endswith("@example.com>")
    text, html = part_of(mail, "plain"), part_of(mail, "html")
    for piece in ("FIRING 25 errors in area <eu> & more", "severity 20, score 500", "count: 25 (was 3)", "p95: 1.75"):
        assert piece in text
    assert "2023-11-14 22:13:20 UTC to 2023-11-14 22:14:20 UTC" in text
    assert "group: area=eu" in text
    assert "käse 🐈" in text
    assert "<script" not in html
    assert "&lt;script&gt;alert" in html
    assert "25 errors in area &lt;eu&gt; &amp; more at area=eu" in html
    assert html.count("<tr>") == 2


async def test_the_subject_tells_what_goes_on_before_what_is_over(tmp_path: Path) -> None:
    over = line(state="resolved", severity=500)
    bodies = [
        line(),
        over,
        over + line(title="others"),
        b"".join(line(title="low", severity=1) for _ in range(50)) + over,
    ]
    async with smtp_server() as box, mailing(tmp_path, box) as (world, _):
        for number, body in enumerate(bodies, 1):
            await world.append(body)
            await until(lambda n=number: len(box.mails) == n)  # type: ignore[misc]
    assert [mail["Subject"] for mail in box.mails] == [
        "[dpipe] 25 errors in area <eu> & more",
        "[dpipe] resolved: 25 errors in area <eu> & more",
        "[dpipe] others (+1 more)",
        "[dpipe] low (+50 more)",
    ]
    assert "and 1 more, 1 of them resolved: 1 x 25 errors" in box.texts[3]


async def test_any_event_makes_a_mail(tmp_path: Path) -> None:
    bodies = [
        b'{"@timestamp":1700000000000,"message":"disk full","severity":"CRIT","level":3,"path":"/var"}\n',
        b'{"@timestamp":1700000000000}\n',
        b'{"@timestamp":1700000000000,"title":{"a":1},"severity":"no such","samples":7,"values":3,"group":[1]}\n',
        b'{"@timestamp":1700000000000,"message":"","window_start":99999999999999999,"window_end":1}\n',
        b'{"@timestamp":1700000000000,"severity":1e308,"score":-5,"state":{"x":[]},"previous":null}\n',
    ]
    async with smtp_server() as box, mailing(tmp_path, box) as (world, runner):
        for number, body in enumerate(bodies, 1):
            await world.append(body, host="web-7")
            await until(lambda n=number: len(box.mails) == n)  # type: ignore[misc]
        await until(lambda: runner.events == len(bodies))
    assert box.mails[0]["Subject"] == "[dpipe] disk full"
    assert "severity 100" in box.texts[0]
    assert "path: /var" in box.texts[0]
    assert "host: web-7" in box.texts[0]
    assert "severity 10," in box.texts[1]
    assert "severity 10," in box.texts[2]


async def test_no_event_gets_into_a_header_or_steers_what_shows_it(tmp_path: Path) -> None:
    evil = "x\r\nBcc: thief@example.com\r\n\r\n<b>\x1b[2J\u202e\u2028 owned"
    event = line(title=evil, state=evil, group={evil: evil}, values={evil: evil}, samples=[evil], fingerprint=evil)
    async with smtp_server() as box, mailing(tmp_path, box, intro="{title}{state}{group}") as (world, _):
        await world.append(event, host="web-7")
        await until(lambda: len(box.mails) == 1)
    mail, envelope = box.mails[0], box.envelopes[0]
    assert envelope.rcpt_tos == ["ops@example.com"]
    assert mail["Bcc"] is None
    assert mail["Subject"].startswith("[dpipe] x  Bcc: thief@example.com")
    for kind in ("plain", "html"):
        assert not set("\r\x1b\u202e\u2028") & set(part_of(mail, kind).replace("\r\n", "\n"))
        assert "\nBcc" not in part_of(mail, kind)
    assert "<b> " not in part_of(mail, "html").replace("<b>x", "")


async def test_huge_events_make_a_small_mail(tmp_path: Path) -> None:
    huge = {"text": "ö" * 5_000, "deep": [[[["x" * 5_000]]]]}
    event = line(title="t" * 50_000, samples=[huge] * 40, values={f"v{n}" * 500: "y" * 2_000 for n in range(50)})
    async with smtp_server() as box, mailing(tmp_path, box, pool_count=60) as (world, _):
        await world.append(event * 60)
        await until(lambda: len(box.mails) == 1, 40)
    assert len(box.envelopes[0].content or b"") < 1_500_000
    assert "and 10 more of at most the same severity: 10 x ttt" in box.texts[0]


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_it_logs_in_over_an_encrypted_connection(tmp_path: Path, security: Any) -> None:
    pki = Pki(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pki.issue("server"))
    keys = {"security": security, "tls": {"ca": pki.ca}, "user": USER, "password": PASSWORD}
    async with (
        smtp_server(security=security, tls=context, login=True) as box,
        mailing(tmp_path, box, **keys) as (world, _),
    ):
        await world.append(line())
        await until(lambda: len(box.mails) == 1)
    assert box.logins == [USER]


async def test_a_server_of_another_authority_gets_no_password(tmp_path: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(Pki(tmp_path).issue("server"))
    other = Pki(tmp_path, "other")
    keys = {"security": "starttls", "tls": {"ca": other.ca}, "user": USER, "password": PASSWORD}
    async with (
        smtp_server(security="starttls", tls=context, login=True) as box,
        mailing(tmp_path, box, **keys) as (world, runner),
    ):
        await world.append(line())
        await until(lambda: runner.status == "retrying")
        assert "certificate verify failed" in runner.last_error
    assert (box.logins, box.tries) == ([], 0)


async def test_a_server_without_starttls_gets_nothing(tmp_path: Path) -> None:
    keys = {"security": "starttls", "user": USER, "password": PASSWORD}
    async with smtp_server(login=True) as box, mailing(tmp_path, box, **keys) as (world, runner):
        await world.append(line())
        await until(lambda: runner.status == "retrying")
        assert "STARTTLS" in runner.last_error
    assert (box.logins, box.tries) == ([], 0)


async def test_a_wrong_password_is_one_clear_line_and_the_events_wait(tmp_path: Path) -> None:
    keys = {"user": USER, "password": "wrong-password"}
    async with smtp_server(login=True) as box, mailing(tmp_path, box, **keys) as (world, runner):
        await world.append(line())
        await until(lambda: runner.status == "retrying")
        assert runner.last_error.startswith(f"127.0.0.1:{box.port} refuses the login (535 ")
        assert "): check user and password" in runner.last_error
        assert "wrong-password" not in runner.last_error
        assert "\n" not in runner.last_error
        await until(lambda: runner.saved.cursor == 1)
        assert runner.report()["pooled"] == 1
    assert len(box.logins) == 2  # by PLAIN and by LOGIN; the next try is a minute away, or the account may be locked


async def test_a_server_that_is_down_holds_no_pack_and_gets_everything_later(tmp_path: Path) -> None:
    async with smtp_server() as box:
        pass
    async with mailing(tmp_path, box) as (world, runner):
        await world.append(line(title="first"))
        await until(lambda: runner.status == "retrying")
        await world.append(line(title="second"), line(title="third"))
        await until(lambda: runner.saved.cursor == 3)
        async with smtp_server(mailbox=box, port=box.port):
            await until(lambda: len(box.mails) >= 1 and runner.status == "running")
            await until(lambda: runner.report()["pooled"] == 0)
    assert all(sum(title in text for text in box.texts) == 1 for title in ("first", "second", "third"))


async def test_a_server_that_never_answers_is_given_up_and_a_stop_does_not_wait_for_it(tmp_path: Path) -> None:
    silent = await asyncio.start_server(lambda reader, writer: reader.read(), "127.0.0.1", 0)
    box = Mailbox()
    box.port = silent.sockets[0].getsockname()[1]
    async with mailing(tmp_path, box, timeout_secs=0.1) as (world, runner):
        await world.append(line())
        await until(lambda: "no answer after 0.1 s" in runner.last_error or "Timed out" in runner.last_error)
    async with mailing(tmp_path, box, timeout_secs=60) as (world, runner):
        await until(lambda: runner.calling_since is not None)
        await asyncio.wait_for(world.stop(runner), 2)
    silent.close()


async def test_what_a_server_says_decides(tmp_path: Path) -> None:
    async with smtp_server() as box, mailing(tmp_path, box) as (world, runner):
        box.answer = "451 greylisted, come back"
        await world.append(line())
        await until(lambda: box.tries >= 3)
        assert runner.last_error == f"send mail to 127.0.0.1:{box.port}: 451 greylisted, come back"
        box.answer = "250 OK"
        await until(lambda: len(box.mails) == 1 and runner.status == "running")
        assert runner.last_error == ""


def titles(box: Mailbox) -> list[str]:
    """Of all events in all mails."""
    return [found for text in box.texts for found in re.findall(r"^FIRING (.*?)\r?$", text, re.MULTILINE)]


def dropped(world: Parts) -> dict[str, float]:
    """Reason -> how many events."""
    samples = world.telemetry.metrics.dropped.collect()[0].samples
    return {one.labels["reason"]: one.value for one in samples if one.name.endswith("_total")}


async def test_an_event_that_is_refused_for_good_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with smtp_server() as box, mailing(tmp_path, box, pool_count=7) as (world, runner):
        box.spam = "GTUBE"
        await world.append(*(line(title=f"t{n}" + " GTUBE" * (n == 4), severity=n, samples=[]) for n in range(7)))
        await until(lambda: bool(box.tries) and runner.report()["pooled"] == 0)
        assert dropped(world) == {"refused": 1}
        assert (runner.status, runner.last_error) == ("running", "")
        await world.append(b"".join(line(title=f"later {n}") for n in range(7)))
        await until(lambda: "FIRING later 6" in box.texts[-1])
    assert sorted(titles(box)[:7]) == sorted(["t0", "t1", "t2", "t3", "t5", "t6", WORDLESS])
    told = next(text for text in box.texts if WORDLESS in text)
    assert "severity 4," in told
    name = re.search(r"event: (\S+)", told)
    assert name is not None
    details = [vars(record).get("details", {}).get("detail", "") for record in caplog.records]
    assert f"{name[1]}: send mail to 127.0.0.1:{box.port}: 554 5.7.1 this is spam" in details


async def test_samples_that_are_refused_are_left_out(tmp_path: Path) -> None:
    async with smtp_server() as box, mailing(tmp_path, box, pool_count=3) as (world, runner):
        box.spam = "GTUBE"
        await world.append(line(title="a", samples=["GTUBE"]), line(title="b"), line(title="c"))
        await until(lambda: len(box.mails) == 1 and runner.report()["pooled"] == 0)
        assert dropped(world) == {}
    assert sorted(titles(box)) == ["a", "b", "c"]
    assert "samples are left out: a message with them was refused" in box.texts[0]
    assert "samples are left out: a message with them was refused" in part_of(box.mails[0], "html")


async def test_a_mail_that_is_too_large_goes_in_parts(tmp_path: Path) -> None:
    keys = {"pool_count": 30}
    async with smtp_server(most_bytes=12_000) as box, mailing(tmp_path, box, **keys) as (world, runner):
        await world.append(b"".join(line(title=f"t{n:02} " + "x" * 150, severity=n) for n in range(30)))
        await until(lambda: bool(box.mails) and runner.report()["pooled"] == 0)
        assert dropped(world) == {}
    assert [title[:3] for title in titles(box)] == [f"t{n:02}" for n in reversed(range(30))]
    assert len(box.mails) > 1


async def test_a_server_that_refuses_everything_costs_no_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpiped.pooled.output.REFUSED_AGAIN_SECS", 0.05)
    async with smtp_server() as box, mailing(tmp_path, box, pool_count=4) as (world, runner):
        box.answer = "550 5.7.26 this domain sends no mail"
        await world.append(*(line(title=f"t{n}") for n in range(4)))
        await until(lambda: runner.status == "retrying" and box.tries >= 10)
        assert runner.last_error.endswith(
            "550 5.7.26 this domain sends no mail; it refuses any message, also without a word of an event"
        )
        assert (runner.report()["pooled"], dropped(world)) == (4, {})
        box.answer = "250 OK"
        await until(lambda: len(box.mails) == 1 and runner.report()["pooled"] == 0)
    assert sorted(titles(box)) == ["t0", "t1", "t2", "t3"]
    assert "<script>alert" in box.texts[0]


async def test_a_refused_sender_is_no_fault_of_the_mail(tmp_path: Path) -> None:
    async with smtp_server() as box, mailing(tmp_path, box) as (world, runner):
        box.refuses = {"dpipe@example.com"}
        await world.append(line())
        await until(lambda: runner.status == "retrying")
        assert runner.last_error == f"send mail to 127.0.0.1:{box.port}: 550 not from here"
        box.refuses.clear()
        await until(lambda: len(box.mails) == 1)
    assert "<script>alert" in box.texts[0]


async def test_many_that_are_refused_make_no_flood(tmp_path: Path) -> None:
    async with smtp_server() as box, mailing(tmp_path, box, pool_count=60, min_gap_secs=3600) as (world, runner):
        box.spam = "GTUBE"
        await world.append(b"".join(line(title=f"GTUBE {n}", samples=[]) for n in range(60)))
        await until(lambda: bool(box.mails) and runner.calling_since is None)
        assert box.tries == MAX_TRIES
        assert runner.report()["pooled"] == 60 - len(box.mails)
        assert dropped(world) == {"refused": len(box.mails)}


async def test_a_kill_between_the_parts_of_a_message_loses_nothing(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    async with smtp_server() as box:
        box.spam, box.stalls_at = "GTUBE", 5
        async with mailing(before, box, pool_count=4) as (world, runner):
            await world.append(*(line(title=f"t{n}" + " GTUBE" * (n == 0), severity=n) for n in range(4)))
            await until(lambda: box.tries == 5)
            shutil.copytree(before, after)
            assert runner.report()["pooled"] == 2
        known = len(box.mails)
        async with mailing(before, box, pool_count=4) as (_, runner):  # after the stop: what was sent is not sent again
            await until(lambda: runner.report().get("pooled") == 0)
            assert sorted(titles(box)) == [WORDLESS, "t1", "t2", "t3"]
        async with mailing(after, box, pool_count=4) as (world, runner):
            await until(lambda: runner.report().get("pooled") == 0)
            assert dropped(world) == {"refused": 1}
    assert sorted(titles(box)) == sorted(["t1", "t2", "t3", WORDLESS] * 2)
    assert box.mails[known - 1]["Message-ID"] in {mail["Message-ID"] for mail in box.mails[known:]}


async def test_in_quiet_hours_it_is_held_until_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = int(datetime(2026, 1, 10, 23, 0, tzinfo=UTC).timestamp() * 1000)
    monkeypatch.setattr(MailOutput, "now_ms", staticmethod(lambda: now))
    keys = {"suppress_hours": ["22:00-07:00"], "timezone": "Europe/Berlin"}
    async with smtp_server() as box, mailing(tmp_path, box, **keys) as (world, runner):
        await world.append(line(severity=900))
        await until(lambda: runner.saved.cursor == 1)
        assert (runner.report()["pooled"], box.tries) == (1, 0)
        now += 7 * 3_600_000  # 07:00 in Berlin
        await world.append(line(title="the next"))
        await until(lambda: len(box.mails) == 1)
    assert box.mails[0]["Subject"] == "[dpipe] 25 errors in area <eu> & more (+1 more)"
    assert "the next" in box.texts[0]


async def test_one_address_that_is_refused_does_not_keep_the_mail_from_others(tmp_path: Path) -> None:
    both = {"to": ["ops@example.com", "Gone <gone@example.com>"]}
    async with smtp_server() as box, mailing(tmp_path, box, **both) as (world, runner):
        box.refuses = {"gone@example.com"}
        await world.append(line())
        await until(lambda: len(box.mails) == 1 and runner.report()["pooled"] == 0)
        box.refuses.add("ops@example.com")
        await world.append(line(title="again"))
        await until(lambda: runner.status == "retrying")
        assert "550 no such user here" in runner.last_error
    assert box.envelopes[0].rcpt_tos == ["ops@example.com"]


OPS, NIGHT = "ops@example.com", "night@example.com"


def got(box: Mailbox, address: str) -> list[str]:
    """The Message-IDs of what was taken for an address."""
    mails = zip(box.envelopes, box.mails, strict=True)
    return [mail["Message-ID"] for envelope, mail in mails if address in envelope.rcpt_tos]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is owed is tried again at once."""
    monkeypatch.setattr("dpiped.pooled.owed.FIRST_SECS", 0.02)
    monkeypatch.setattr("dpiped.pooled.owed.MOST_SECS", 0.05)


async def test_an_address_that_is_refused_for_now_gets_the_same_mail_later(
    tmp_path: Path, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with smtp_server() as box, mailing(tmp_path, box, to=[OPS, f"Night <{NIGHT}>"]) as (world, runner):
        box.busy = {NIGHT}
        for number in (1, 2):
            await world.append(line(title=f"t{number}"))
            await until(lambda n=number: len(box.mails) == n)  # type: ignore[misc]
        assert [envelope.rcpt_tos for envelope in box.envelopes] == [[OPS], [OPS]]
        await until(lambda: (runner.report()["pooled"], runner.report()["owed"]) == (0, 2))
        assert (runner.status, runner.last_error) == ("running", "")
        box.busy.clear()
        await until(lambda: runner.report()["owed"] == 0)
        assert dropped(world) == {}
    assert sorted(got(box, NIGHT)) == sorted(got(box, OPS))
    assert [envelope.rcpt_tos for envelope in box.envelopes] == [[OPS], [OPS], [NIGHT], [NIGHT]]
    assert box.envelopes[0].content in [envelope.content for envelope in box.envelopes[2:]]
    assert f"{NIGHT}: 450 come back later" in {vars(one).get("details", {}).get("error") for one in caplog.records}


async def test_what_is_owed_outlives_a_stop_a_kill_and_a_dead_server(tmp_path: Path, quick: None) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    keys = {"to": [OPS, NIGHT]}
    async with smtp_server() as box:
        box.busy = {NIGHT}
        async with mailing(before, box, **keys) as (world, runner):
            await world.append(line())
            await until(lambda: NIGHT.encode() in (runner.saved.plugin or b""))
            shutil.copytree(before, after)
    for number, folder in enumerate((before, after), 1):
        async with mailing(folder, box, **keys) as (world, runner):
            await until(lambda: runner.status == "retrying")
            async with smtp_server(mailbox=box, port=box.port):
                box.busy.clear()
                await until(lambda: runner.report()["owed"] == 0 and runner.status == "running")
            assert dropped(world) == {}
        assert got(box, NIGHT) == got(box, OPS) * number


async def test_what_is_owed_is_given_up_after_a_day(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with smtp_server() as box, mailing(tmp_path, box, to=[OPS, NIGHT]) as (world, runner):
        box.busy = {NIGHT}
        await world.append(line() + line(title="another"))
        await until(lambda: runner.report()["owed"] == 1)
        now = MailOutput.now_ms() + 24 * 3_600_000
        monkeypatch.setattr(MailOutput, "now_ms", staticmethod(lambda: now))
        await until(lambda: runner.report()["owed"] == 0)
        assert dropped(world) == {"refused_address": 2}
        assert got(box, NIGHT) == []
    details = [vars(record).get("details", {}).get("detail", "") for record in caplog.records]
    assert f"{NIGHT}: 450 come back later" in details


async def test_what_is_owed_to_an_address_that_is_no_more_is_told(
    tmp_path: Path, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with smtp_server() as box, mailing(tmp_path, box, to=[OPS, NIGHT]) as (world, runner):
        box.busy = {NIGHT}
        await world.append(line())
        await until(lambda: runner.report()["owed"] == 1)
        box.refuses, box.busy = {NIGHT}, set()
        await until(lambda: runner.report()["owed"] == 0)
        assert runner.status == "running"
    details = [vars(record).get("details", {}).get("detail", "") for record in caplog.records]
    assert f"{NIGHT}: 550 no such user here" in details


async def test_what_is_owed_and_refused_for_good_holds_up_nothing(tmp_path: Path, quick: None) -> None:
    async with smtp_server() as box, mailing(tmp_path, box, to=[OPS, NIGHT]) as (world, runner):
        box.busy = {NIGHT}
        await world.append(line(title="a GTUBE"))
        await until(lambda: runner.report()["owed"] == 1)
        box.spam, box.busy = "GTUBE", set()
        await until(lambda: runner.report()["owed"] == 0)
        assert (runner.status, dropped(world)) == ("running", {"refused_address": 1})


async def test_who_is_taken_out_of_the_config_gets_nothing_more(tmp_path: Path) -> None:
    async with smtp_server() as box:
        box.busy = {NIGHT}
        async with mailing(tmp_path, box, to=[OPS, NIGHT]) as (world, runner):
            await world.append(line())
            await until(lambda: runner.report()["owed"] == 1)
        async with mailing(tmp_path, box, to=[OPS]) as (world, runner):
            await until(lambda: runner.report().get("owed") == 0)
            assert dropped(world) == {"refused_address": 1}


async def test_sendmail_gets_the_mail_and_its_errors_are_told(tmp_path: Path) -> None:
    program, kept = tmp_path / "sendmail", tmp_path / "kept"
    program.write_text(
        f'#!/bin/sh\necho "$@" > {kept}.args\ncat > {kept}\ntest -e {tmp_path}/ok || {{ echo no room >&2; exit 75; }}\n'
    )
    program.chmod(0o755)
    keys = {"server": None, "sendmail": str(program)}
    async with mailing(tmp_path, Mailbox(), **keys) as (world, runner):
        await world.append(line())
        await until(lambda: runner.status == "retrying")
        assert runner.last_error == f"{program} ended with 75: no room"
        (tmp_path / "ok").touch()
        await until(lambda: runner.report()["pooled"] == 0)
    assert "Subject: [dpipe] 25 errors" in kept.read_text()
    assert Path(f"{kept}.args").read_text() == "-i -f dpipe@example.com -- ops@example.com\n"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('to = ["a@b, c@d"]', "expected one mail address in ASCII"),
        ('to = ["a@b.c\\nBcc: x@y.z"]', "expected one mail address in ASCII"),
        ("to = []", '"to"'),
        ('user = "robot"', "user and password belong together"),
        ('subject = "{title.__class__}"', "unknown field {title.__class__}"),
        ('subject = "{title"', "a brace is not closed"),
        ('suppress_hours = ["22-7", "7-22"]', "they cover the whole day"),
        ('suppress_hours = ["25-7"]', "expected hours such as"),
        ('timezone = "Mars/Olympus"', "expected a time zone such as Europe/Berlin"),
        ('server = "smtp.example.com"', "expected HOST:PORT"),
    ],
)
def test_mistakes_in_the_config_are_found(tmp_path: Path, keys: str, said: str) -> None:
    name = keys.partition(" ")[0]
    lines = ['to = ["ops@example.com"]', 'sender = "dpipe@example.com"', 'server = "h:25"']
    table = "\n".join(
        ["[[output]]", 'type = "mail"', keys, *(text for text in lines if not text.startswith(f"{name} "))]
    )
    (tmp_path / "c.toml").write_text(f'[[input]]\ntype = "demo"\n{table}\n')
    with pytest.raises(ConfigError) as caught:
        load_daemon_config(tmp_path / "c.toml", {})
    assert len(caught.value.problems) == 1
    assert said in caught.value.problems[0]


def test_a_password_in_clear_text_is_warned_of(tmp_path: Path) -> None:
    table = '[[output]]\ntype = "mail"\nto = ["a@b.c"]\nsender = "a@b.c"\nuser = "u"\npassword = "hush-hush"\n'
    (tmp_path / "c.toml").write_text(f'[[input]]\ntype = "demo"\n{table}server = "10.0.0.9:25"\nsecurity = "none"\n')
    warnings = load_daemon_config(tmp_path / "c.toml", {}).warnings
    assert [warning.partition("mail): ")[2] for warning in warnings] == [
        'key "security" = "none": the credentials travel in clear text: use "tls"'
    ]
