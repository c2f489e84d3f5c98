"""Input and output `kafka` at a real broker by TLS and SASL: exact all the way, and one line that says what to do where
the broker and we do not come together.
"""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from tests.pki import Pki
from tests.servers.kafka_stub import produce

from .conftest import Daemon, Program, started, wait_until
from .kafka_server import NEEDS_KAFKA, PASSWORD, USER, Kafka, secure_ways

pytestmark = NEEDS_KAFKA
WRONG = "not-the-password"
REFUSED = "the credentials are refused: mend user and password"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def kafka(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    server = Kafka(tmp_path_factory.mktemp("kafka"), ways=secure_ways(pki))
    server.start()
    yield server
    server.kill()


def tls(ca: str, cert: str = "") -> str:
    shown = f', cert = "{cert}"' if cert else ""
    return f'security = "tls"\ntls = {{ ca = "{ca}"{shown} }}\n'


def login(mechanism: str, password: str = PASSWORD) -> str:
    return f'user = "{USER}"\npassword = "{password}"\nmechanism = "{mechanism}"\n'


def reading(name: str, address: str, way: str) -> str:
    """An input that reads the topic `NAME-in` and gives its events the ident `NAME`."""
    return (
        f'[[input]]\ntype = "kafka"\nname = "in-{name}"\nbrokers = ["{address}"]\ntopics = ["{name}-in"]\n'
        f'group = "{name}"\nproject = "rs"\nident = "{name}"\nlinger_secs = 0.02\n'
        f'properties = {{ "session.timeout.ms" = 6000 }}\n{way}'
    )


def writing(name: str, address: str, way: str, more: str = "") -> str:
    """An output that sends events of the ident `NAME` to the topic `NAME-out`."""
    return (
        f'[[output]]\ntype = "kafka"\nname = "out-{name}"\nmatch = ["{name}"]\nbrokers = ["{address}"]\n'
        f'topic = "{name}-out"\n{way}{more}[output.retry]\nmax_secs = 1\n'
    )


def change(made: Daemon, tables: str) -> None:
    """Another config behind the tables that every daemon has, taken at once."""
    file = made.folder / "dpiped.toml"
    text = file.read_text("utf-8")
    file.write_text(text.partition('[[input]]\ntype = "kafka"')[0] + tables, encoding="utf-8")
    made.signal(signal.SIGHUP)


def is_exactly(kafka: Kafka, name: str, count: int) -> bool:
    found = kafka.numbers(f"{name}-out")
    return set(found) == set(range(count)) and set(found.values()) == {1}


class Case(NamedTuple):
    listener: str
    way: str
    told: str


def refused(pki: Pki, folder: Path) -> dict[str, Case]:
    """What may be wrong, and what is told."""
    other = Pki(folder, "other")
    stranger = other.issue("stranger", "dpipe@example.org")
    scram = tls(pki.ca) + login("SCRAM-SHA-512", WRONG)
    return {
        "authority": Case("TLS", tls(other.ca), f"an authority that is not in {other.ca}: set tls.ca"),
        "system": Case("TLS", 'security = "tls"\n', "not in the certificates of the system: set tls.ca"),
        "name": Case("ELSEWHERE", tls(pki.ca), "shows a certificate for another name: name it in brokers"),
        "plain-at-tls": Case("TLS", "", 'speaks TLS: set security = "tls"'),
        "tls-at-plain": Case("PLAINTEXT", tls(pki.ca), 'speaks no TLS: set security = "plaintext"'),
        "no-certificate": Case("MUTUAL", tls(pki.ca), "asks for a certificate of ours: set tls.cert"),
        "stranger": Case("MUTUAL", tls(pki.ca, stranger), f"does not take our certificate {stranger}: mend tls.cert"),
        "password": Case("SCRAM", scram, REFUSED),
        "mechanism": Case("SCRAM", tls(pki.ca) + login("PLAIN"), "no mechanism PLAIN: set mechanism to one that it"),
        "no-user": Case("SCRAM", tls(pki.ca), "ends connections: set user and password"),
        "plain-user": Case("SCRAM", login("SCRAM-SHA-512"), 'speaks TLS: set security = "tls"'),
        "user-at-none": Case("TLS", tls(pki.ca) + login("SCRAM-SHA-256"), "knows no users: leave user and password"),
    }


def tables_of(kafka: Kafka, cases: Mapping[str, Case]) -> str:
    ways = {name: (kafka.ways[case.listener], case.way) for name, case in cases.items()}
    return "".join(reading(name, *way) for name, way in ways.items()) + "".join(
        writing(name, *way) for name, way in ways.items()
    )


def mended(pki: Pki, cases: Mapping[str, Case]) -> dict[str, Case]:
    """The same listeners, as they want it; only that with a certificate for another name is left for one without."""
    right = {
        "PLAINTEXT": "",
        "TLS": tls(pki.ca),
        "MUTUAL": tls(pki.ca, pki.issue("client", "dpipe@example.org")),
        "SCRAM": tls(pki.ca) + login("SCRAM-SHA-256"),
    }
    listeners = {name: "TLS" if case.listener == "ELSEWHERE" else case.listener for name, case in cases.items()}
    return {name: Case(listener, right[listener], "") for name, listener in listeners.items()}


def test_one_clear_line_and_nothing_is_lost(tmp_path: Path, programs: list[Program], pki: Pki, kafka: Kafka) -> None:
    cases = refused(pki, tmp_path)
    for name in cases:
        kafka.create(f"{name}-in", f"{name}-out")
        produce(kafka.address, f"{name}-in", [b'{"n":%d}' % n for n in range(100)])
    made = started(programs, Daemon(tmp_path, tables_of(kafka, cases)))
    for name, case in cases.items():
        made.send(({"n": n} for n in range(100, 200)), name)
        for plugin in (f"in-{name}", f"out-{name}"):
            wait_until(lambda plugin=plugin, told=case.told: told in made.last_error(plugin), f"{plugin}: {case.told}")
            assert made.plugin(plugin)["events"] == 0
    assert WRONG not in made.text() + str(made.stat())
    assert "Traceback" not in made.text()

    change(made, tables_of(kafka, mended(pki, cases)))
    for name in cases:
        wait_until(lambda name=name: is_exactly(kafka, name, 200), f"{name}: everything arrives once", 60)


def test_check_says_the_same_lines(tmp_path: Path, programs: list[Program], pki: Pki, kafka: Kafka) -> None:
    cases = refused(pki, tmp_path)
    right = mended(pki, {"right": cases["password"]})
    file = tmp_path / "check.toml"
    file.write_text('[[project]]\nname = "rs"\n' + tables_of(kafka, {**cases, **right}), encoding="utf-8")
    if "right-out" not in kafka.admin().list_topics(timeout=20).topics:
        kafka.create("right-out")
    command = [sys.executable, "-m", "dpiped", "check", "--connect", str(file)]
    check = started(programs, Program(tmp_path, "check", command))
    wait_until(lambda: not check.running, "check ends")
    assert check.status == 1, check.text()
    lines = check.text().splitlines()
    for name, case in cases.items():
        (line,) = (line for line in lines if f'"out-{name}"' in line and not line.startswith("warning: "))
        assert case.told in line
    assert any(line.startswith("ok: ") and '"out-right"' in line for line in lines)
    assert WRONG not in check.text()
    assert "Traceback" not in check.text()


def test_the_whole_way_is_exact_over_a_kill(tmp_path: Path, programs: list[Program], pki: Pki, kafka: Kafka) -> None:
    kafka.create("way-in", "way-out")
    read, write = (tls(pki.ca) + login(name) for name in ("SCRAM-SHA-512", "SCRAM-SHA-256"))
    tables = reading("way", kafka.ways["SCRAM"], read) + writing("way", kafka.ways["SCRAM"], write)
    kafka.send("way-in", range(6_000))
    made = started(programs, Daemon(tmp_path, tables))
    wait_until(lambda: made.plugin("out-way")["events"] > 0, "something is written")
    kafka.send("way-in", range(6_000, 12_000))
    made.kill()
    made.start()
    wait_until(lambda: len(kafka.numbers("way-out")) == 12_000, "everything arrives", 120)
    made.wait_delivered("out-way")
    assert is_exactly(kafka, "way", 12_000)


def set_password(kafka: Kafka, password: str) -> None:
    mechanism = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    admin = kafka.admin()
    change = UserScramCredentialUpsertion(USER, mechanism, password.encode())
    admin.alter_user_scram_credentials([change])[USER].result(30)


def test_a_password_that_changes_meanwhile(tmp_path: Path, programs: list[Program], pki: Pki, kafka: Kafka) -> None:
    kafka.create("changed-in", "changed-out")
    way = tls(pki.ca) + login("SCRAM-SHA-512")
    address = kafka.ways["SCRAM"]
    made = started(programs, Daemon(tmp_path, reading("changed", address, way) + writing("changed", address, way)))
    kafka.send("changed-in", range(100))
    wait_until(lambda: is_exactly(kafka, "changed", 100), "it flows")
    set_password(kafka, "another")
    kafka.kill()  # whoever is in stays in otherwise
    kafka.start()
    kafka.send("changed-in", range(100, 200))
    made.send(({"n": n} for n in range(200, 300)), "changed")
    for plugin in ("in-changed", "out-changed"):
        wait_until(lambda plugin=plugin: REFUSED in made.last_error(plugin), f"{plugin} tells it", 60)
    set_password(kafka, PASSWORD)
    wait_until(lambda: is_exactly(kafka, "changed", 300), "everything arrives once", 120)
    wait_until(lambda: made.last_error("in-changed") == made.last_error("out-changed") == "", "nothing is wrong")
    assert made.plugin("in-changed")["trouble"] == ""


def test_new_certificates_are_taken_at_a_reload(
    tmp_path: Path, programs: list[Program], pki: Pki, kafka: Kafka
) -> None:
    kafka.create("renewed-in", "renewed-out")
    own = tmp_path / "own.pem"
    shutil.copy(pki.issue("client", "dpipe@example.org"), own)
    way, address = tls(pki.ca, str(own)), kafka.ways["MUTUAL"]
    made = started(programs, Daemon(tmp_path, reading("renewed", address, way) + writing("renewed", address, way)))
    kafka.send("renewed-in", range(100))
    wait_until(lambda: is_exactly(kafka, "renewed", 100), "it flows")
    shutil.copy(Pki(tmp_path, "other").issue("stranger", "dpipe@example.org"), own)
    made.signal(signal.SIGHUP)
    told = "does not take our certificate"
    for plugin in ("in-renewed", "out-renewed"):
        wait_until(lambda plugin=plugin: told in made.last_error(plugin), f"{plugin} shows the new one", 60)
    shutil.copy(pki.issue("client", "dpipe@example.org"), own)
    made.signal(signal.SIGHUP)
    kafka.send("renewed-in", range(100, 200))
    wait_until(lambda: is_exactly(kafka, "renewed", 200), "everything arrives once", 60)
