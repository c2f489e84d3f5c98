"""Output `elasticsearch` against a stub that answers as the server does; the real one is in tests/integration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dpiped.batch import Batch
from dpiped.elastic import ElasticsearchConfig
from dpiped.errors import RejectedError, TemporaryError
from dpiped.plugin import PluginContext
from dpiped.telemetry import Telemetry
from dpiped.testing import body_of, view_of
from dpiped.view import PackView
from plugins.outputs.elasticsearch import ElasticsearchOutput
from tests.servers.elastic_stub import ElasticStub

DAY_MS = 86_400_000
AT = 19_700 * DAY_MS
"""2023-12-09."""


@pytest.fixture
async def stub() -> AsyncIterator[ElasticStub]:
    async with ElasticStub().running() as stub:
        yield stub


class Use:
    """An output at the stub."""

    def __init__(self, stub: ElasticStub, **options: Any) -> None:
        given = {"hosts": [stub.url], "index": "logs", "setup": {"enabled": False}, **options}
        config = ElasticsearchConfig.model_validate({name: one for name, one in given.items() if one is not None})
        self.telemetry = Telemetry()
        context = PluginContext(name="es", telemetry=self.telemetry, index_prefix=lambda project: f"{project}pre")
        self.plugin = ElasticsearchOutput(config, context)

    async def __aenter__(self) -> Use:
        await self.plugin.open(None)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.plugin.close()

    def batch(self, *packs: list[dict[str, Any]] | int, metadata: bool = False, generation: int = 1) -> Batch:
        """Each pack: its events, or how many."""
        views = []
        for offset, given in enumerate(packs):
            events = [{"n": n} for n in range(given)] if isinstance(given, int) else given
            views.append(self._view(offset, [{"@timestamp": AT, **event} for event in events]))
        return Batch(views, metadata, generation=generation, metadata_names=self.plugin.metadata_names)

    def _view(self, offset: int, events: list[dict[str, Any]]) -> PackView:
        place = {"epoch": "00ff", "offset": offset, "project": "rs", "ident": "rs.web"}
        return view_of(body_of(events), self.plugin.fields(), host="h1", source="/var/log/x", **place)


async def test_events_are_stored_under_the_place_in_the_journal(stub: ElasticStub) -> None:
    async with Use(stub) as use:
        await use.plugin.write(use.batch(2, 1))
    assert list(stub.documents["logs"]) == [
        "00ff-000000000000-0000",
        "00ff-000000000000-0001",
        "00ff-000000000001-0000",
    ]
    assert stub.documents["logs"]["00ff-000000000000-0001"] == {"@timestamp": AT, "n": 1}


async def test_a_repeat_stores_nothing_and_is_counted(stub: ElasticStub) -> None:
    async with Use(stub) as use:
        await use.plugin.write(use.batch(3))
        await use.plugin.write(use.batch(3))
        assert use.telemetry.metrics.noted.labels("es", "stored_before")._value.get() == 3
        await use.plugin.write(use.batch(3, generation=2))  # a replay that an operator asked for is no repeat
    assert stub.count == 6


async def test_an_answer_that_was_lost(stub: ElasticStub) -> None:
    stub.answers = ["lost", "lost"]
    async with Use(stub) as use:
        batch = use.batch(5)
        with pytest.raises(TemporaryError, match="disconnected"):
            await use.plugin.write(batch)
        await use.plugin.write(batch)
        assert use.telemetry.metrics.noted.labels("es", "stored_before")._value.get() == 5
    assert stub.count == 5


@pytest.mark.parametrize(
    ("index", "events", "expected"),
    [
        ("logs-%Y.%m.%d", [{"@timestamp": AT}, {"@timestamp": AT + DAY_MS}], ["logs-2023.12.09", "logs-2023.12.10"]),
        ("{prefix}-{ident}-%Y", [{}], ["rspre-rs.web-2023"]),
        (
            "logs-{host}-{area}",
            [{"area": "DE"}, {"area": None}, {"area": "a/../*b"}],
            ["logs-h1-a_..__b", "logs-h1-de", "logs-h1-none"],
        ),
        ("@ym", [{}], ["fun_rspre_2023_12"]),
        ("@ymw", [{}], ["fun_rspre_2023_w49"]),
        ("@ymd", [{}], ["fun_rspre_2023_12_09"]),
        ("shop@ym", [{}], ["fun_shop_2023_12"]),
        ("logs-{a.b}", [{"a": {"b": 7}}, {"a": [1]}], ["logs-7", "logs-none"]),
    ],
)
async def test_names_of_indexes(
    stub: ElasticStub, index: str, events: list[dict[str, Any]], expected: list[str]
) -> None:
    async with Use(stub, index=index) as use:
        await use.plugin.write(use.batch(events))
    assert sorted(stub.documents) == expected


async def test_our_metadata_has_names_that_the_server_takes(stub: ElasticStub) -> None:
    async with Use(stub) as use:
        events = [{"n": 1}, {"_source": "own", "deep": {"_source": 1}}, {"_source": "both", "_file": "f"}]
        await use.plugin.write(use.batch(events, metadata=True))
    one, two, three = stub.documents["logs"].values()
    assert one == {"@timestamp": AT, "n": 1, "_host": "h1", "_file": "/var/log/x"}
    assert two == {"@timestamp": AT, "_file": "own", "deep": {"_source": 1}, "_host": "h1"}
    assert three == {"@timestamp": AT, "_source": "both", "_file": "f", "_host": "h1"}


async def test_what_can_never_be_stored_goes_with_the_reason_of_the_server(stub: ElasticStub) -> None:
    stub.item = lambda identity, event: (400, "document_parsing_exception") if event["n"] == 2 else None
    async with Use(stub) as use:
        with pytest.raises(RejectedError) as caught:
            await use.plugin.write(use.batch(2, 3))
    assert caught.value.reasons == {4: "document_parsing_exception: as the test wants it"}
    assert stub.count == 4


async def test_only_what_was_not_stored_is_sent_again(stub: ElasticStub) -> None:
    full = {1, 3}
    stub.item = lambda identity, event: (429, "es_rejected_execution_exception") if event["n"] in full else None
    async with Use(stub) as use:
        batch = use.batch(5)
        with pytest.raises(TemporaryError, match="no room for 2 events: es_rejected"):
            await use.plugin.write(batch)
        full = {3}
        with pytest.raises(TemporaryError, match="no room for 1 events"):
            await use.plugin.write(batch)
        full = set()
        await use.plugin.write(batch)
    assert stub.count == 5
    assert stub.bodies[0] > stub.bodies[1] > stub.bodies[2]


@pytest.mark.parametrize("kind", ["index_not_found_exception", "cluster_block_exception", "index_closed_exception"])
async def test_what_an_operator_has_to_mend_waits_long(stub: ElasticStub, kind: str) -> None:
    stub.item = lambda identity, event: (403, kind)
    async with Use(stub) as use:
        with pytest.raises(TemporaryError, match=kind) as caught:
            await use.plugin.write(use.batch(2))
    assert caught.value.retry_after_secs == 30


@pytest.mark.parametrize(("status", "secs"), [(429, None), (503, None), (401, 30), (400, 30), (406, 30)])
async def test_a_whole_request_that_is_refused_comes_again(stub: ElasticStub, status: int, secs: float | None) -> None:
    stub.answers = [status]
    async with Use(stub) as use:
        batch = use.batch(2)
        with pytest.raises(TemporaryError, match=f"answered {status}: as the test wants it") as caught:
            await use.plugin.write(batch)
        assert caught.value.retry_after_secs == secs
        await use.plugin.write(batch)
    assert stub.count == 2


async def test_what_is_too_large_is_halved_and_one_event_is_refused(stub: ElasticStub) -> None:
    stub.most_bytes = 1_000
    async with Use(stub) as use:
        events = [{"n": n} for n in range(100)] + [{"n": 100, "t": "x" * 2_000}]
        with pytest.raises(RejectedError) as caught:
            await use.plugin.write(use.batch(events))
    assert caught.value.reasons == {100: "413: the event is larger than the server takes"}
    assert stub.count == 100


async def test_requests_are_bounded_in_bytes_and_events(stub: ElasticStub) -> None:
    async with Use(stub, request_bytes=2_000, request_events=10, max_requests=3) as use:
        await use.plugin.write(use.batch(50, 50))
    assert stub.count == 100
    assert max(stub.bodies) <= 2_100
    assert len(stub.bodies) >= 10
    assert 1 < stub.at_once <= 3


async def test_a_failure_of_one_request_keeps_what_others_have_stored(stub: ElasticStub) -> None:
    stub.answers = [200, 503]
    async with Use(stub, request_events=10, max_requests=1) as use:
        batch = use.batch(30)
        with pytest.raises(TemporaryError):
            await use.plugin.write(batch)
        assert stub.count == 10
        await use.plugin.write(batch)
        assert use.telemetry.metrics.noted.labels("es", "stored_before")._value.get() == 0
    assert stub.count == 30


async def test_early_results_are_overwritten(stub: ElasticStub) -> None:
    async with Use(stub, op="index", id_field="window_id") as use:
        await use.plugin.write(use.batch([{"window_id": "w1", "hits": 1}, {"hits": 9}]))
        await use.plugin.write(use.batch([{"window_id": "w1", "hits": 2}]))
    assert stub.documents["logs"]["w1"]["hits"] == 2
    assert stub.documents["logs"]["00ff-000000000000-0001"]["hits"] == 9


async def test_an_id_that_is_too_long_hurts_only_its_event(stub: ElasticStub) -> None:
    async with Use(stub, op="index", id_field="id") as use:
        with pytest.raises(RejectedError) as caught:
            await use.plugin.write(use.batch([{"id": "a"}, {"id": "ä" * 257}], [{"id": "y" * 513}, {"id": "z" * 512}]))
        assert sorted(caught.value.reasons) == [1, 2]
        assert "more than 512 bytes" in caught.value.reasons[1]
        with pytest.raises(RejectedError):
            await use.plugin.write(use.batch([{"id": "y" * 513}]))
    assert sorted(stub.documents["logs"]) == ["a", "z" * 512]


async def test_an_answer_that_is_no_answer_is_not_believed(stub: ElasticStub) -> None:
    async with Use(stub) as use:
        stub.answers.append("empty")
        with pytest.raises(TemporaryError, match="cannot be read"):
            await use.plugin.write(use.batch(1))


async def test_a_data_stream(stub: ElasticStub) -> None:
    async with Use(stub, index=None, data_stream="logs-app-prod", setup={"delete_after_days": 7}) as use:
        await use.plugin.write(use.batch(1))
    made = stub.put["/_index_template/es"]
    assert (made["index_patterns"], made["data_stream"]) == (["logs-app-prod"], {})
    assert made["template"]["lifecycle"] == {"data_retention": "7d"}
    assert list(stub.documents) == ["logs-app-prod"]


async def test_setup_of_indexes(stub: ElasticStub) -> None:
    setup = {"delete_after_days": 7, "replicas": 0, "shards": 2, "priority": 9}
    async with Use(stub, index="logs-{ident}-%Y.%m", setup=setup):
        pass
    made = stub.put["/_index_template/es"]
    assert made["index_patterns"] == ["logs-*-*.*"]
    settings = {"number_of_shards": 2, "number_of_replicas": 0, "index.lifecycle.name": "es"}
    assert (made["priority"], made["template"]["settings"]) == (9, settings)
    assert stub.put["/_ilm/policy/es"]["policy"]["phases"]["delete"]["min_age"] == "7d"


async def test_credentials(stub: ElasticStub) -> None:
    stub.authorization = "ApiKey a2V5"
    async with Use(stub, api_key="a2V5", compression="gzip") as use:
        await use.plugin.write(use.batch(3))
    stub.authorization = "Basic dTpwdw=="
    async with Use(stub, user="u", password="pw") as use:
        await use.plugin.write(use.batch(3, generation=2))
    assert stub.count == 6
    stub.authorization = "Basic other"
    use = Use(stub, user="u", password="pw", setup={})
    with pytest.raises(TemporaryError, match=r"401: missing or wrong credentials; mend the credentials") as caught:
        await use.plugin.open(None)
    await use.plugin.close()
    assert "pw" not in str(caught.value)
    assert caught.value.retry_after_secs == 30


async def test_a_probe_says_what_is_missing(stub: ElasticStub) -> None:
    async def probed(**options: Any) -> list[str]:
        use = Use(stub, **options)
        try:
            return await use.plugin.probe()
        finally:
            await use.plugin.close()

    assert await probed(setup={}) == []
    assert stub.put == {}
    stub.rights = False
    assert await probed(index="logs-%Y", setup={}) == [
        "the user has no right 'manage_index_templates' on logs-*",
        "the user has no right 'create_doc' on logs-*",
        "the user has no right 'auto_configure' on logs-*",
    ]
    stub.authorization = "Basic other"
    assert await probed() == [f"{stub.url}/ answered 401: missing or wrong credentials"]


async def test_nobody_is_there() -> None:
    stub = ElasticStub()
    stub.url = "http://127.0.0.1:1"
    async with Use(stub) as use:
        with pytest.raises(TemporaryError, match=r"http://127.0.0.1:1/: "):
            await use.plugin.write(use.batch(1))


async def test_a_stop_leaves_no_request_behind(stub: ElasticStub) -> None:
    async with Use(stub, request_events=1, max_requests=4) as use:
        task = asyncio.create_task(use.plugin.write(use.batch(200)))
        while stub.count < 5:  # noqa: ASYNC110 - a stub has no event
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [other for other in asyncio.all_tasks() if other.get_name() == "bulk request"] == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"hosts": []}, "expected at least one"),
        ({"cloud_id": "a:b"}, "only one of hosts and cloud_id"),
        ({"data_stream": "Logs", "index": None}, "name of a data stream"),
        ({"data_stream": "logs"}, "only one of index and data_stream"),
        ({"data_stream": "logs", "index": None, "op": "index"}, "only take `create`"),
        ({"id_field": "x"}, 'set op = "index"'),
        ({"api_key": "k", "user": "u"}, "not both"),
        ({"index": "{area}-logs"}, "begins with"),
        ({"index": "Logs"}, "begins with"),
        ({"index": "logs-%Q"}, "unknown time code %Q"),
        ({"index": "logs-{}"}, "between the braces"),
        ({"index": "logs-{a"}, "index names have"),
        ({"index": "logs/x"}, "index names have"),
        ({"setup": {"ilm_policy": "a", "delete_after_days": 1}}, "only one of"),
    ],
)
def test_mistakes_are_found(options: dict[str, Any], text: str) -> None:
    given = {"hosts": ["http://h:9200"], "index": "logs", **options}
    with pytest.raises(ValueError, match=text):
        ElasticsearchConfig.model_validate({name: one for name, one in given.items() if one is not None})
