"""Output `redshift` by the PostgreSQL protocol: a real PostgreSQL with a shim for COPY, a real S3 server, kills.

DPIPE_POSTGRES names the folder of PostgreSQL's programs, DPIPE_VERSITYGW the program of versitygw.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.postgres import PROGRAMS, REASON, Postgres
from tests.servers.redshift_shim import RedshiftShim

from .conftest import Daemon, Program, started, wait_until
from .test_s3 import GATEWAY, KEY, SECRET, Gateway

pytestmark = [
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not PROGRAMS, reason=REASON),
    pytest.mark.skipif(not GATEWAY, reason="DPIPE_VERSITYGW names no program"),
]


class Place:
    """A bucket, a database, and the shim before it."""

    def __init__(self, gateway: Gateway, postgres: Postgres) -> None:
        self.gateway = gateway
        self.postgres = postgres
        self.shim = RedshiftShim(postgres.port, self._read)

    def _read(self, address: str) -> bytes:
        file = self.gateway.folder / address.removeprefix("s3://")
        if not file.is_file():
            raise KeyError(address)
        return file.read_bytes()

    def table(self, name: str, columns: str = '["n", "text"]') -> str:
        return (
            f'[[output]]\ntype = "redshift"\nbucket = "bucket"\nendpoint_url = "{self.gateway.url}"\n'
            f'addressing = "path"\naccess_key = "{KEY}"\nsecret_key = "{SECRET}"\nprefix = "{name}/hour=%H"\n'
            f'table = "public.{name}"\ncolumns = {columns}\nloaded_table = "{name}_loaded"\n'
            "batch = { max_secs = 0.2 }\nretry = { max_secs = 1 }\n[output.database]\n"
            f'host = "127.0.0.1"\nport = {self.shim.port}\nname = "postgres"\nuser = "dpipe"\npassword = "any-pass"\n'
            'sslmode = "prefer"\n'
        )

    def make(self, name: str) -> None:
        self.postgres.ask(f"CREATE TABLE {name} (n bigint, text text)")

    def numbers(self, name: str) -> Counter[int]:
        """How often each `n` is in the table."""
        return Counter(row[0] for row in self.postgres.ask(f"SELECT n FROM {name}"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    gateway = Gateway(tmp_path_factory.mktemp("redshift"))
    gateway.start()
    with Postgres() as postgres:
        made = Place(gateway, postgres)
        with made.shim:
            yield made
    gateway.kill()


def test_nothing_is_lost_or_doubled_by_kills_and_cut_connections(
    tmp_path: Path, programs: list[Program], place: Place
) -> None:
    chance = random.Random(11)

    def cut(statement: bytes) -> str:
        if chance.random() < 0.7:
            return ""
        if statement.startswith(b"COMMIT"):
            return chance.choice(["before", "after"])
        return "before" if statement.startswith(b"COPY") else ""

    place.make("kills")
    place.shim.cut = cut
    made = started(programs, Daemon(tmp_path, place.table("kills")))
    sent = 0
    for _ in range(8):
        for _ in range(3):
            made.send([{"n": n, "text": 'a "text", with\\ signs'} for n in range(sent, sent + 500)])
            sent += 500
        time.sleep(chance.uniform(0, 0.8))  # the moment is what is tried here
        made.kill()
        made.start()
    made.wait_delivered("redshift")
    place.shim.cut = lambda statement: ""
    found = place.numbers("kills")
    assert len(found) == sent
    assert set(found.values()) == {1}
    assert place.postgres.ask("SELECT DISTINCT text FROM kills") == [('a "text", with\\ signs',)]
    assert place.postgres.ask("SELECT SUM(events) FROM kills_loaded") == [(sent,)]
    assert place.postgres.ask("SELECT COUNT(*) - COUNT(DISTINCT manifest) FROM kills_loaded") == [(0,)]


def test_a_table_that_is_missing_is_told_and_waited_for(tmp_path: Path, programs: list[Program], place: Place) -> None:
    made = started(programs, Daemon(tmp_path, place.table("later")))
    made.send([{"n": n, "text": "x"} for n in range(100)])
    wait_until(lambda: "later" in made.last_error("redshift"), "it is told")
    assert "mend table, columns or the rights" in made.last_error("redshift")
    assert "any-pass" not in made.text()
    place.make("later")
    made.stop()  # the next try would come after half a minute
    made.start()
    made.wait_delivered("redshift")
    assert sum(place.numbers("later").values()) == 100


def test_an_event_that_does_not_fit_undoes_the_whole_load(
    tmp_path: Path, programs: list[Program], place: Place
) -> None:
    place.make("typed")
    made = started(programs, Daemon(tmp_path, place.table("typed")))
    made.send([{"n": n if n != 50 else "no number", "text": "x"} for n in range(100)])
    wait_until(lambda: "22P02" in made.last_error("redshift"), "it is told")
    assert place.numbers("typed") == {}
    assert place.postgres.ask("SELECT * FROM typed_loaded") == []
    place.postgres.ask("ALTER TABLE typed ALTER COLUMN n TYPE text")
    made.stop()  # the next try would come after half a minute
    made.start()
    made.wait_delivered("redshift")
    assert sum(place.numbers("typed").values()) == 100


def test_a_database_that_is_gone_for_a_while(tmp_path: Path, programs: list[Program], place: Place) -> None:
    place.make("gone")
    place.shim.cut = lambda statement: "before"
    made = started(programs, Daemon(tmp_path, place.table("gone")))
    made.send([{"n": n, "text": "x"} for n in range(100)])
    wait_until(lambda: "tried again" in made.last_error("redshift"), "it is told")
    place.shim.cut = lambda statement: ""
    made.wait_delivered("redshift")
    assert sum(place.numbers("gone").values()) == 100
