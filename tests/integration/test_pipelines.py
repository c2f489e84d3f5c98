"""The pipelines of etc/pipelines run as they stand, with other ports and folders: what goes in comes out where it
should.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from dpiped.config.load import load_daemon_config
from dpiped.engine import Engine
from dpiped.testing import address_of, ask, post, running, until
from tests.mailbox import smtp_server
from tests.servers.data_api_stub import DataApiStub
from tests.servers.elastic_stub import ElasticStub
from tests.servers.kafka_stub import kafka_stub, make_topic, produce, read_all
from tests.servers.s3_stub import S3Stub

ROOT = Path(__file__).resolve().parents[2] / "etc/pipelines"
SALT = "a-salt-of-many-letters"
INFO = '"_log_info":{"uid":%d,"snsid":"s%d","level":12,"uri":"/shop","elapsed":0.25}'


def adapted(name: str, folder: Path) -> str:
    """A pipeline without its `[engine]`, with folders below `folder` and any port."""
    text = re.sub(r"\[engine\]\n(?:.+\n)+", "", (ROOT / name).read_text("utf-8"))
    text = text.replace("/var/lib/dpipe", str(folder)).replace("/var/log", str(folder / "log"))
    return re.sub(r'listen = "127\.0\.0\.1:\d+"', 'listen = "127.0.0.1:0"', text)


def als(kind: str, events: Iterable[str], area: str = "us") -> bytes:
    now = int(time.time() * 1000)
    return b"".join(f":{kind},{area},{now},{{{event}}}\n".encode() for event in events)


def report(engine: Engine, name: str) -> dict[str, Any]:
    return next(line for line in engine.report() if line["name"] == name)


@pytest.fixture(autouse=True)
def salt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPIPE_SALT", SALT)


async def test_the_game(tmp_path: Path) -> None:
    async with ElasticStub().running() as stub, smtp_server() as box:
        text = adapted("game.toml", tmp_path).replace("http://127.0.0.1:9200", stub.url)
        text = text.replace("127.0.0.1:25", f"127.0.0.1:{box.port}").replace("min_gap_secs = 300", "min_gap_secs = 0")
        text = text.replace('suppress_hours = ["02:00-06:00"]\n', "")
        async with running(text, tmp_path) as engine:
            sent = [
                als("pv", (INFO % (n, n) + ',"uri":"/shop?a=1"' for n in range(5))),
                als("dau", (f'"uid":{n % 3}' for n in range(6))),
                als("payment", [f'"action":"buy","uid":1,"data":{{"amount":1000,"currency":"EUR"}},{INFO % (1, 1)}']),
                als(
                    "error",
                    (f'"class":"E","message":"user {n} not found in \\"x{n}\\"",{INFO % (n, n)}' for n in range(25)),
                ),
                als("session", [f'"action":"login",{INFO % (1, 1)}']),
                als("click", [f'"action":"click","snsid":"s1",{INFO % (1, 1)}']),
                als("user", [f'"action":"snapshot",{INFO % (1, 1)}']),
                als("levelup", [f'"action":"levelup",{INFO % (1, 1)}']),
                als(
                    "mongo_slow",
                    ['"table":"users","method":"find","ms":120', '"table":"users","method":"find","ms":80'],
                ),
                als("memcache_to", ['"key":"k"']),
                als("slowresponse", [INFO % (1, 1)]),
                als("mongo_err", (f'"message":"no primary {n}"' for n in range(6))),
                als("phperror", ['"host":"web-1","msg":"undefined index 7"']),
                als("kernal", ['"host":"web-1","msg":"Log statistics; dropped=\'program(/usr/bin/x)=7\'"']),
            ]
            for body in sent:
                status, told = await post(engine, "rs/rs", body, name="collectors")
                assert (status, told["rejected"]) == (200, 0), body
            await until(lambda: "6 errors of MongoDB in a minute" in " ".join(box.texts))
            assert "syslog-ng dropped 7" in " ".join(box.texts)
            await until(lambda: all(not runner.reader.behind for runner in engine.runners))
            status, funnel = await ask(engine, "/api/funnel?table=players&steps=login,levelup&within=1d&by=_area")
            assert status == 200, funnel
        month = time.strftime("fun_rs_%Y_%m", time.gmtime())
        stored = list(stub.documents[month].values())
    (payment,) = (one for one in stored if "data" in one)
    assert payment["data"]["amount_usd"] == 1080
    assert payment["_log_info"]["level_rg"] == "10-20"
    errors = {one["message_norm"] for one in stored if "message_norm" in one}
    assert "user ? not found in ?" in errors
    assert all(one["_log_info"]["snsid"] != "s1" for one in stored if one.get("action") == "login")
    assert [step["users"] for step in funnel["groups"][0]["steps"]] == [1, 1]
    lines = sum(body.count(b"\n") for body in sent)
    kept = [gzip.decompress(file.read_bytes()) for file in (tmp_path / "archive").rglob("*.gz")]
    assert b"".join(kept).count(b"\n") == lines
    assert len(kept) == 14  # a file for each ident


async def test_nginx_to_elasticsearch(tmp_path: Path) -> None:
    logs = tmp_path / "log/nginx"
    logs.mkdir(parents=True)
    async with ElasticStub().running() as stub:
        text = adapted("nginx-elasticsearch.toml", tmp_path).replace("http://127.0.0.1:9200", stub.url)
        (logs / "access.log").touch()
        (logs / "error.log").touch()
        async with running(text, tmp_path) as engine:
            stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
            access = f'10.0.0.7 - - [{stamp}] "GET /a HTTP/1.1" 200 17 "-" "curl/8"\n'
            with (logs / "access.log").open("a") as file:
                file.write(access * 3)
            stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.gmtime())
            with (logs / "error.log").open("a") as file:
                file.write(f"{stamp} [error] 17#17: *1 open() failed, client: 10.0.0.7\n")
            await until(lambda: stub.count == 4)
            await until(lambda: report(engine, "requests")["events"] == 3)
    day = time.strftime("%Y.%m.%d", time.gmtime())
    assert {name: len(events) for name, events in stub.documents.items()} == {
        f"logs-nginx.access-{day}": 3,
        f"logs-nginx.error-{day}": 1,
    }
    first = next(iter(stub.documents[f"logs-nginx.access-{day}"].values()))
    assert first["status"] == 200


async def test_agent_to_centre_to_archive(tmp_path: Path) -> None:
    """The agent's part, a collector, is a process of its own in tests/e2e; here its POST is made by hand."""
    async with running(adapted("tiers/archive.toml", tmp_path), tmp_path, name="archive") as archive:
        centre_text = adapted("tiers/centre.toml", tmp_path).replace("127.0.0.1:9801", address_of(archive, "http"))
        async with running(centre_text, tmp_path, name="centre") as centre:
            lines = b"".join(b'{"n":%d}\n' % n for n in range(500))
            assert (await post(centre, "shop/app.cart", lines))[0] == 200
            await until(lambda: report(archive, "file")["events"] >= 500)
    (file,) = (tmp_path / "kept/shop/app.cart").glob("*.zst")
    data = zstandard.ZstdDecompressor().stream_reader(file.read_bytes(), read_across_frames=True).read()
    assert [json.loads(line)["n"] for line in data.splitlines()] == list(range(500))


async def test_syslog_to_s3_and_redshift(tmp_path: Path) -> None:
    async with S3Stub().running() as bucket, DataApiStub(bucket).running() as api:
        text = adapted("syslog-s3-redshift.toml", tmp_path).replace("max_secs = 300", "max_secs = 0.2")
        keys = "".join(f"{name} = {json.dumps(value)}\n" for name, value in bucket.config().items() if name != "bucket")
        text = text.replace('bucket = "company-logs"\n', f'bucket = "bucket"\n{keys}')
        text = text.replace('workgroup = "logs"\n', f'workgroup = "logs"\nendpoint_url = "{api.url}"\n')
        async with running(text, tmp_path) as engine:
            host, _, port = address_of(engine, "tcp").rpartition(":")
            _, writer = await asyncio.open_connection(host, int(port))
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            for number in range(10):  # every other is an error
                writer.write(f"<{11 if number % 2 else 14}>1 {stamp} web-1 app - - - m{number}\n".encode())
            await writer.drain()
            writer.close()
            await until(lambda: report(engine, "bucket")["events"] == 10)
            await until(lambda: len(api.events) == 5)
    raw = [key for key in bucket.objects if key.startswith("raw/net/syslog/dt=")]
    assert raw
    assert all(key.endswith(".ndjson.zst") for key in raw)
    assert [event["message"] for event in api.events] == ["m1", "m3", "m5", "m7", "m9"]


async def test_kafka_to_kafka_with_a_window(tmp_path: Path) -> None:
    with kafka_stub() as brokers:
        for topic in ("orders", "orders-checked", "orders-per-country", "dpipe-cursors"):
            await asyncio.to_thread(make_topic, brokers, topic)
        now = int(time.time() * 1000)
        orders = [
            json.dumps({"@timestamp": now - 600_000, "buyer": f"b{n % 3}", "country": "de", "cents": n}).encode()
            for n in range(6)
        ]
        orders.append(json.dumps({"@timestamp": now, "buyer": "b9", "country": "fr", "cents": 5}).encode())
        await asyncio.to_thread(produce, brokers, "orders", orders)
        text = adapted("kafka-window-kafka.toml", tmp_path).replace("127.0.0.1:9092", brokers)
        async with running(text, tmp_path) as engine:
            await until(lambda: report(engine, "checked")["events"] == 6)  # one costs nothing
            await until(lambda: report(engine, "statistics")["events"] == 1)
            await until(lambda: not any(runner.reader.behind for runner in engine.runners))
        checked = await asyncio.to_thread(read_all, brokers, "orders-checked")
        (window,) = await asyncio.to_thread(read_all, brokers, "orders-per-country")
    assert sorted(json.loads(message.value())["cents"] for message in checked) == [1, 2, 3, 4, 5, 5]
    counted = json.loads(window.value())
    assert (counted["country"], counted["orders"], counted["buyers"], counted["cents"]) == ("de", 6, 3, 15)


async def test_archive_to_elasticsearch(tmp_path: Path) -> None:
    """It ends by itself: batch mode."""
    folder = tmp_path / "log/archive/2014"
    folder.mkdir(parents=True)
    lines = [f':pv,us,{1_389_225_600 + n},{{"n":{n}}}\n'.encode() for n in range(500)]
    (folder / "a.als.gz").write_bytes(gzip.compress(b"".join(lines[:300])))
    (folder / "b.als").write_bytes(b"".join(lines[300:]))
    (folder / "c.tmp").write_bytes(b"not wanted")
    async with ElasticStub().running() as stub:
        text = adapted("archive-elasticsearch.toml", tmp_path).replace("http://127.0.0.1:9200", stub.url)
        file = tmp_path / "history.toml"
        file.write_text(f'[engine]\nadmin = "127.0.0.1:0"\ndata_dir = "{tmp_path}/data"\n{text}')
        await Engine(load_daemon_config(file)).run()
    (events,) = stub.documents.values()
    assert list(stub.documents) == ["history-rs.pv-2014.01"]
    assert sorted(event["n"] for event in events.values()) == list(range(500))
