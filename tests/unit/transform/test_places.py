"""Step `ip`: what is found, what is not, and files that change or are bad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dpiped.errors import TemporaryError
from dpiped.transform import Program
from tests.unit.transform.kit import change, program_of
from tests.unit.transform.mmdb import write_mmdb

BERLIN = {
    "country": {"iso_code": "DE"},
    "city": {"names": {"en": "Berlin", "fr": "Berlin-fr"}},
    "location": {"latitude": 52.5, "longitude": 13.25},
}
NETWORKS = {
    "91.10.0.0/16": BERLIN,
    "91.20.0.0/16": {"registered_country": {"iso_code": "FR"}},
    "91.30.0.0/16": {"traits": {"is_anycast": 1}},
    "2a00:1::/32": BERLIN,
}


def opened(path: Path, **options: Any) -> Program:
    program = program_of({"do": "ip", "field": "ip", "database": str(path), **options})
    program.open()
    return program


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "geo.mmdb"
    write_mmdb(path, NETWORKS)
    return path


def test_country_and_city(database: Path) -> None:
    out, failures = change(
        opened(database),
        {"ip": "91.10.3.4"},
        {"ip": "91.20.3.4"},
        {"ip": "2a00:1::5"},
        {"ip": "::ffff:91.10.3.4"},
        {"other": 1},
    )
    assert [(event.get("ip_cntry"), event.get("ip_city")) for event in out] == [
        ("DE", "Berlin"),
        ("FR", None),
        ("DE", "Berlin"),
        ("DE", "Berlin"),
        (None, None),
    ]
    assert failures == {}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("10.1.2.3", "ip_private"),
        ("127.0.0.1", "ip_private"),
        ("::1", "ip_private"),
        ("fe80::1%eth0", "ip_private"),
        ("91.10.3", "ip_not_an_address"),
        ("", "ip_not_an_address"),
        ("9" * 5_000, "ip_not_an_address"),
        (91, "ip_not_an_address"),
        (["91.10.3.4"], "ip_not_an_address"),
        ("8.8.8.8", "ip_unknown"),
        ("91.30.1.1", "ip_unknown"),
    ],
)
def test_what_is_not_found_is_counted(database: Path, value: Any, reason: str) -> None:
    assert change(opened(database), {"ip": value}) == ([{"ip": value}], {reason: 1})


def test_names_and_parts_are_chosen(database: Path) -> None:
    program = opened(database, take=["city", "point"], language="fr", into="geo.client")
    out, _ = change(program, {"ip": "91.10.3.4"})
    assert out == [
        {"ip": "91.10.3.4", "geo": {"client_city": "Berlin-fr", "client_point": {"lat": 52.5, "lon": 13.25}}}
    ]


def test_a_file_of_ipv4_only(tmp_path: Path) -> None:
    write_mmdb(tmp_path / "four.mmdb", {"91.10.0.0/16": BERLIN}, ip_version=4)
    program = opened(tmp_path / "four.mmdb")
    out, failures = change(program, {"ip": "91.10.0.1"}, {"ip": "2a00:1::5"})
    assert out == [{"ip": "91.10.0.1", "ip_cntry": "DE", "ip_city": "Berlin"}, {"ip": "2a00:1::5"}]
    assert failures == {"ip_unknown": 1}


def test_a_file_that_is_overwritten_hurts_nobody_and_is_taken_at_a_reload(database: Path) -> None:
    program = opened(database)
    assert not program.stale()
    database.write_bytes(b"")  # in its place, as cp does it
    assert change(program, {"ip": "91.10.3.4"})[0][0]["ip_cntry"] == "DE"
    assert program.stale()
    write_mmdb(database, {"91.10.0.0/16": {"country": {"iso_code": "PL"}}})
    program.open()
    assert change(program, {"ip": "91.10.3.4"})[0] == [{"ip": "91.10.3.4", "ip_cntry": "PL"}]
    assert not program.stale()


def test_a_missing_or_bad_file_is_waited_for(tmp_path: Path, database: Path) -> None:
    for data in (None, b"", b"not a database" * 1_000, database.read_bytes()[:-300]):
        path = tmp_path / "bad.mmdb"
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(TemporaryError, match="bad"):
            opened(path)


def test_a_damaged_file_never_raises_for_an_event(tmp_path: Path, database: Path) -> None:
    data = bytearray(database.read_bytes())
    place = data.index(b"Berlin") - 1
    data[place] = 0xFF  # a control byte that says something else
    (tmp_path / "damaged.mmdb").write_bytes(data)
    out, failures = change(opened(tmp_path / "damaged.mmdb"), {"ip": "91.10.3.4"})
    assert out == [{"ip": "91.10.3.4"}]
    assert failures == {"ip_database_damaged": 1}


@pytest.mark.parametrize(
    ("step", "extra"), [({"do": "ip", "database": "x.mmdb"}, "geoip"), ({"do": "user_agent"}, "user_agent")]
)
def test_a_library_that_is_not_installed_is_named(
    step: dict[str, Any], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValidationError, match=f"pip install 'dpipe\\[{extra}\\]'"):
        program_of({**step, "field": "x"})


def test_a_file_that_went_away_is_told_at_a_reload(database: Path) -> None:
    program = opened(database)
    database.unlink()
    with pytest.raises(TemporaryError, match="geo"):
        program.stale()
    assert change(program, {"ip": "91.10.3.4"})[0][0]["ip_city"] == "Berlin"
