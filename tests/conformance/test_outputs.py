"""One behaviour for every output: what is written is what came, in order, whole; it closes whatever happened.

A new output fails here until it has a case: a function NAME_case.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from dpiped import registry
from dpiped.leveldb import LevelDb, is_reserved
from dpiped.plugin import Output, PluginContext
from dpiped.telemetry import Telemetry
from dpiped.testing import address_of, events_in, running, until
from dpiped.testing.parts import Parts, parts
from tests.leaks import assert_leaves_nothing
from tests.mailbox import smtp_server
from tests.servers.data_api_stub import DataApiStub
from tests.servers.elastic_stub import ElasticStub
from tests.servers.hdfs_stub import HdfsStub
from tests.servers.kafka_stub import kafka_stub, make_topic, read_all
from tests.servers.s3_stub import S3Stub

Events = list[dict[str, Any]]
BODIES = [
    b'{"@timestamp":1700000000000,"n":0}\n',
    '{"@timestamp":1700000000001,"n":1,"t":"käse \\u2028 二 \\ud83d\\udc08 🐈","k":{"":[1.5,null,true,{}]}}\n'.encode(),
    b"".join(b'{"@timestamp":1700000000002,"n":%d}\n' % n for n in range(2, 300)),
    b'{"@timestamp":1700000000003,"n":300,"_source":"own"}\n{"@timestamp":1700000000003,"n":301}\n',
]
SENT = [json.loads(line) for body in BODIES for line in body.splitlines()]


class Case(NamedTuple):
    """A config for an output whose store is there, and how to see what arrived."""

    config: dict[str, Any]
    arrived: Callable[[], Events] | None
    """None: nothing is kept, or what arrives is a text for people."""


@asynccontextmanager
async def file_case(folder: Path, capture: Any) -> AsyncIterator[Case]:
    yield Case({"path": str(folder / "out.ndjson")}, lambda: events_in(folder / "out.ndjson"))


@asynccontextmanager
async def console_case(folder: Path, capture: Any) -> AsyncIterator[Case]:
    printed = bytearray()

    def arrived() -> Events:
        printed.extend(capture.readouterr().out)
        return [json.loads(line) for line in bytes(printed).splitlines()]

    yield Case({"color": False}, arrived)


@asynccontextmanager
async def discard_case(folder: Path, capture: Any) -> AsyncIterator[Case]:
    yield Case({}, None)


@asynccontextmanager
async def http_case(folder: Path, capture: Any) -> AsyncIterator[Case]:
    got: Events = []

    async def take(request: web.Request) -> web.Response:
        got.extend(json.loads(line) for line in (await request.read()).splitlines())
        return web.Response()

    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Case({"url": f"http://127.0.0.1:{runner.addresses[0][1]}/"}, lambda: list(got))
    finally:
        await runner.cleanup()


@asynccontextmanager
async def dpipe_case(folder: Path, capture: Any) -> AsyncIterator[Case]:
    out = folder / "centre.ndjson"
    config = (
        '[[project]]\nname = "rs"\n[[input]]\ntype = "http"\nlisten = "127.0.0.1:0"\n'
        f'[[output]]\ntype = "file"\npath = "{out}"\n'
    )
    async with running(config, folder, name="centre") as engine:
        yield Case({"endpoints": [f"http://{address_of(engine, 'http')}"]}, lambda: events_in(out))


@asynccontextmanager
async def elasticsearch_case(folder: Path, capture: Any) -> AsyncIterator[Case]:
    async with ElasticStub().running() as stub:
        config = {"hosts": [stub.url], "index": "logs", "max_requests": 1}
        yield Case(config, lambda: [_ours(one) for known in stub.documents.values() for one in known.values()])


def _ours(event: dict[str, Any]) -> dict[str, Any]:
    """With `_source` under the name that we give it."""
    return {"_source" if name == "_file" else name: value for name, value in event.items()}


@asynccontextmanager
async def kafka_case(folder: Path, capture: Any) -> AsyncIterator[Case]:
    with kafka_stub() as address:
        make_topic(address, "dpipe-cursors")
        make_topic(address, "logs")

        def arrived() -> Events:
            return [json.loads(message.value()) for message in read_all(address, "logs")]

        yield Case({"brokers": [address], "topic": "logs", "key": "absent", "properties": ONE_PARTITION}, arrived)


ONE_PARTITION: dict[str, str] = {"partitioner": "consistent"}
"""Where messages without a key go to the same partition, so that they keep their order."""


@asynccontextmanager
async def mail_case(folder: Path, capture: Any) -> AsyncIterator[Case]:
    async with smtp_server() as box:
        server = f"127.0.0.1:{box.port}"
        yield Case({"to": ["a@b.c"], "sender": "a@b.c", "server": server, "security": "none", "min_gap_secs": 0}, None)


@asynccontextmanager
async def notify_case(folder: Path, capture: Any) -> AsyncIterator[Case]:
    async with http_case(folder, capture) as case:
        url = case.config["url"].replace("http://", "json://")
        yield Case({"url": url, "min_gap_secs": 0}, None)


@asynccontextmanager
async def s3_case(folder: Path, capture: Any) -> AsyncIterator[Case]:
    async with S3Stub().running() as stub:
        yield Case(stub.config(prefix="logs", max_uploads=1), stub.events)


@asynccontextmanager
async def hdfs_case(folder: Path, capture: Any) -> AsyncIterator[Case]:
    async with HdfsStub().running() as stub:
        yield Case({"namenodes": stub.urls, "path": "/logs", "max_uploads": 1}, stub.events)


@asynccontextmanager
async def redshift_case(folder: Path, capture: Any) -> AsyncIterator[Case]:
    async with S3Stub().running() as bucket, DataApiStub(bucket).running() as api:
        database = {"workgroup": "logs", "endpoint_url": api.url}
        given = bucket.config(prefix="logs", max_uploads=1, table="events", database=database)
        yield Case(given, lambda: list(api.events))


@asynccontextmanager
async def behavior_case(folder: Path, capture: Any) -> AsyncIterator[Case]:
    yield Case({"table": "t", "uid": "n:int", "action": "t"}, None)


@asynccontextmanager
async def leveldb_case(folder: Path, capture: Any) -> AsyncIterator[Case]:
    def arrived() -> Events:
        copy = Path(tempfile.mkdtemp(dir=folder))  # its output has it open
        shutil.copytree(folder / "store", copy, dirs_exist_ok=True)
        store = LevelDb(copy)
        found = [json.loads(value) for key, value in store.scan(b"") if not is_reserved(key)]
        store.close()
        return found

    yield Case({"path": str(folder / "store"), "key": "{_id}"}, arrived)


CASES = {name.removesuffix("_case"): case for name, case in list(globals().items()) if name.endswith("_case")}
ALL = sorted(name for kind, name in registry.all_types() if kind == "output")


@pytest.fixture
def cases(name: str) -> Any:
    assert name in CASES, f"output {name!r} has no case in {__file__}"
    return CASES[name]


def runner_of(world: Parts, name: str, config: dict[str, Any], **options: Any) -> Any:
    plugin_class: Any = registry.get("output", name)
    return world.output(plugin_class, plugin_class.config_class(**config), type=name, **options)


def build(name: str, config: dict[str, Any], folder: Path) -> Output[Any]:
    plugin_class: Any = registry.get("output", name)
    context = PluginContext(name=name, telemetry=Telemetry(), data_dir=folder, lane="l.1")
    plugin = plugin_class(plugin_class.config_class(**config), context)
    assert isinstance(plugin, Output)
    return plugin


@pytest.mark.parametrize("name", ALL)
async def test_what_arrives_is_what_was_sent_in_order(name: str, cases: Any, tmp_path: Path, capfdbinary: Any) -> None:
    async with cases(tmp_path, capfdbinary) as case, parts(tmp_path) as world:
        runner = runner_of(world, name, case.config)
        await world.append(*BODIES)
        await world.start(runner)
        await until(lambda: runner.saved.cursor == len(BODIES))
        assert runner.events == len(SENT)
        if case.arrived is not None:
            await until(lambda: len(case.arrived()) >= len(SENT))
            assert case.arrived() == SENT


@pytest.mark.parametrize("name", ALL)
async def test_host_and_source_are_written_once(name: str, cases: Any, tmp_path: Path, capfdbinary: Any) -> None:
    async with cases(tmp_path, capfdbinary) as case, parts(tmp_path) as world:
        runner = runner_of(world, name, case.config)
        await world.append(BODIES[3], host="web-7", source="/x.log")
        await world.start(runner)
        await until(lambda: runner.saved.cursor == 1)
        if case.arrived is not None:
            await until(lambda: len(case.arrived()) == 2)
            assert [(event["_host"], event["_source"]) for event in case.arrived()] == [
                ("web-7", "own"),
                ("web-7", "/x.log"),
            ]


@pytest.mark.parametrize("name", ALL)
async def test_only_what_where_wants_arrives(name: str, cases: Any, tmp_path: Path, capfdbinary: Any) -> None:
    async with cases(tmp_path, capfdbinary) as case, parts(tmp_path) as world:
        runner = runner_of(world, name, case.config, where="n == 1 or n == 250")
        await world.append(*BODIES)
        await world.start(runner)
        await until(lambda: runner.saved.cursor == len(BODIES))
        assert runner.events == 2
        if case.arrived is not None:
            await until(lambda: len(case.arrived()) == 2)
            assert case.arrived() == [SENT[1], SENT[250]]


@pytest.mark.parametrize("name", ALL)
async def test_it_can_be_opened_and_closed_again_and_again(
    name: str, cases: Any, tmp_path: Path, capfdbinary: Any
) -> None:
    async with cases(tmp_path, capfdbinary) as case:

        async def once() -> None:
            plugin = build(name, case.config, tmp_path)
            await plugin.open(None)
            await plugin.flush()
            again = plugin.saved()
            await plugin.close()
            plugin = build(name, case.config, tmp_path)
            await plugin.open(again)
            await plugin.close()

        await assert_leaves_nothing(once)


@pytest.mark.parametrize("name", ALL)
async def test_it_closes_without_having_been_opened(name: str, cases: Any, tmp_path: Path, capfdbinary: Any) -> None:
    async with cases(tmp_path, capfdbinary) as case:
        await build(name, case.config, tmp_path).close()


@pytest.mark.parametrize("name", ALL)
async def test_it_stops_within_a_second(name: str, cases: Any, tmp_path: Path, capfdbinary: Any) -> None:
    async with cases(tmp_path, capfdbinary) as case, parts(tmp_path) as world:
        runner = runner_of(world, name, case.config)
        await world.start(runner)
        await world.append(*BODIES)
        await asyncio.wait_for(world.stop(runner), 1)
        assert runner.status == "stopped"
