"""Output `elasticsearch` at a real server: exact after kills on both sides, and what an operator sees when the server
refuses.
"""

from __future__ import annotations

import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.elastic_node import BUILT, Elasticsearch
from tests.servers.fault_proxy import Fault, FaultProxy

from .conftest import Daemon, Program, events_in, started, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not BUILT, reason="DPIPE_ELASTICSEARCH names no folder of a built server"),
]


@pytest.fixture(scope="module")
def elastic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elasticsearch]:
    server = Elasticsearch(tmp_path_factory.mktemp("elastic"))
    server.start()
    yield server
    server.kill()


def daemon(
    folder: Path,
    programs: list[Program],
    server: Elasticsearch,
    output: str,
    more: str = "",
    *,
    name: str = "es",
    at: str = "",
) -> Daemon:
    """`name`: also that of the index template, which a data stream holds on to."""
    tables = f'[[output]]\ntype = "elasticsearch"\nname = "{name}"\nhosts = ["{at or server.url}"]\n{output}\n'
    return started(programs, Daemon(folder, f"{tables}[output.retry]\nmax_secs = 1\n{more}"))


@pytest.mark.parametrize("target", ['index = "kills-index-%Y.%m.%d"', 'data_stream = "kills-stream"'])
def test_nothing_is_lost_or_doubled_when_both_are_killed(
    target: str, tmp_path: Path, programs: list[Program], elastic: Elasticsearch
) -> None:
    chance = random.Random(target)
    name = "stream" if "stream" in target else "index"
    made = daemon(tmp_path, programs, elastic, target, name=name)
    sent = 0
    for turn in range(6):
        for _ in range(4):
            made.send([{"n": n} for n in range(sent, sent + 700)])
            sent += 700
        time.sleep(chance.uniform(0, 0.4))  # the moment is what is tried here
        made.kill()
        if turn in (1, 4):
            elastic.kill()
            made.start()
            elastic.start()
        else:
            made.start()
    made.wait_delivered(name)
    found = elastic.numbers("kills-stream" if name == "stream" else "kills-index-*")
    assert len(found) == sent
    assert set(found.values()) == {1}


@pytest.mark.parametrize("fault", [0.2, "reset", "lost", "half", 429, 503])
def test_faults_on_the_way_lose_and_double_nothing(
    fault: Fault, tmp_path: Path, programs: list[Program], elastic: Elasticsearch
) -> None:
    chance = random.Random(str(fault))

    def choose(method: str, path: str) -> Fault:
        return fault if path.endswith("_bulk") and chance.random() < 0.5 else None

    name = f"fault-{fault}".replace(".", "-")
    with FaultProxy(elastic.url, choose) as proxy:
        made = daemon(tmp_path, programs, elastic, f'index = "{name}"\nrequest_events = 300', at=proxy.url)
        for start in range(0, 5_000, 1_000):
            made.send([{"n": n} for n in range(start, start + 1_000)])
        made.wait_delivered("es")
        assert proxy.faults > 2
    found = elastic.numbers(name)
    assert len(found) == 5_000
    assert set(found.values()) == {1}


def test_what_the_mapping_refuses_goes_to_the_dead_letter(
    tmp_path: Path, programs: list[Program], elastic: Elasticsearch
) -> None:
    made = daemon(tmp_path, programs, elastic, 'index = "mapped"')
    made.send([{"n": n, "level": n} for n in range(10)])
    made.wait_delivered("es")
    made.send([{"n": n, "level": {"deep": 1} if n == 500 else n} for n in range(10, 1_010)])
    made.wait_delivered("es")
    assert sum(elastic.numbers("mapped").values()) == 1_009
    with urllib.request.urlopen(f"http://127.0.0.1:{made.admin}/admin/deadletters", timeout=20) as answer:
        (letter,) = json.load(answer)["letters"]
    assert letter["plugin"] == "es"
    assert "document_parsing_exception" in letter["reason"]


def test_a_blocked_index_waits_and_hurts_nobody_else(
    tmp_path: Path, programs: list[Program], elastic: Elasticsearch
) -> None:
    """What a full disk of the server looks like."""
    elastic.ask("PUT", "/blocked")
    elastic.ask("PUT", "/blocked/_settings", {"index.blocks.read_only_allow_delete": True})
    more = f'[[output]]\ntype = "file"\nname = "file"\npath = "{tmp_path}/out/a.ndjson"\n'
    trouble = f'[[output]]\ntype = "file"\nname = "own"\nmatch = ["_dpipe.events"]\npath = "{tmp_path}/own/a.ndjson"\n'
    made = daemon(tmp_path, programs, elastic, 'index = "blocked"', more + trouble)
    made.send([{"n": n} for n in range(10)])
    wait_until(lambda: "cluster_block_exception" in made.last_error("es"), "the block is told")
    wait_until(lambda: len(events_in(tmp_path / "out")) == 10, "the file has the events")
    wait_until(lambda: "cluster_block" in json.dumps(events_in(tmp_path / "own")), "an event tells it, too")
    elastic.ask("PUT", "/blocked/_settings", {"index.blocks.read_only_allow_delete": None})
    made.stop()  # the next try would come after half a minute
    made.start()
    made.wait_delivered("es")
    assert sum(elastic.numbers("blocked").values()) == 10


def test_a_server_that_is_not_there_yet(tmp_path: Path, programs: list[Program]) -> None:
    server = Elasticsearch(tmp_path)
    programs.append(server)
    made = daemon(tmp_path, programs, server, 'index = "late"')
    made.send([{"n": n} for n in range(100)])
    wait_until(lambda: "Connect" in made.last_error("es"), "what is wrong is told")
    server.start()
    made.wait_delivered("es")
    assert sum(server.numbers("late").values()) == 100


def test_the_template_makes_dates_keywords_and_texts(
    tmp_path: Path, programs: list[Program], elastic: Elasticsearch
) -> None:
    made = daemon(tmp_path, programs, elastic, 'index = "typed-{ident}"\n[output.setup]\nreplicas = 0')
    made.send([{"n": 1, "message": "two words", "area": "de", "host": {"name": "x"}}], "shop.cart")
    made.wait_delivered("es")
    found = elastic.ask("GET", "/typed-shop.cart")["typed-shop.cart"]
    kinds = {name: one.get("type", "object") for name, one in found["mappings"]["properties"].items()}
    assert kinds == {"@timestamp": "date", "area": "keyword", "host": "object", "message": "text", "n": "long"}
    assert found["settings"]["index"]["number_of_replicas"] == "0"
