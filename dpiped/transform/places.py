"""Step `ip`: where an address is, by a file in MaxMind's format. Needs the library `maxminddb`."""

from __future__ import annotations

import ipaddress
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from dpiped.errors import TemporaryError
from dpiped.extras import need
from dpiped.transform.base import OneField, Reason, Target, Work
from dpiped.transform.lookup import Found, Lookup
from dpiped.transform.paths import NOTHING

if TYPE_CHECKING:
    import maxminddb

Part = Literal["country", "city", "point"]
_SUFFIXES: dict[Part, str] = {"country": "cntry", "city": "city", "point": "point"}
_PRIVATE, _UNKNOWN, _DAMAGED = Reason("private"), Reason("unknown"), Reason("database_damaged")


class IpStep(OneField):
    """Country and city of an address, by a file in MaxMind's format (GeoLite2, GeoIP2, DB-IP). A private or other
    special address gets none and is counted as `ip_private`, what is no address as `ip_not_an_address`, one that the
    file does not have as `ip_unknown`. A reload reads the file again if it is another one.
    """

    do: Literal["ip"]
    database: str = Field(min_length=1, examples=["/usr/share/GeoIP/GeoLite2-City.mmdb"])
    """Path of the file; while it cannot be read, the filter waits for it."""
    take: tuple[Part, ...] = Field(default=("country", "city"), min_length=1)
    """Which of PATH_cntry (two letters), PATH_city and PATH_point (`{"lat": .., "lon": ..}`) to make."""
    language: str = "en"
    """Of the names of cities."""
    into: Target | Literal[""] = Field(default="", examples=["geo"])
    """What PATH is there; by default the path of the field."""

    @model_validator(mode="after")
    def _check(self) -> IpStep:
        need("maxminddb", "geoip")
        return self

    def writes(self) -> Iterable[str]:
        return [f"{self.into or self.field}_{_SUFFIXES[part]}" for part in self.take]

    def make(self) -> Work:
        return IpWork(self)


class IpWork(Lookup):
    """Looks addresses up in a copy of the file, since one that is overwritten in its place would end the process."""

    refused = Reason("not_an_address")
    at_once = 300

    def __init__(self, step: IpStep) -> None:
        super().__init__("ip", step.field, [*step.writes()])
        self._path = Path(step.database)
        self._take, self._language = step.take, step.language
        self._mark: tuple[int, ...] = ()
        self._reader: maxminddb.Reader | None = None

    def open(self) -> None:
        import maxminddb

        try:
            with self._path.open("rb") as file, tempfile.TemporaryFile() as copy:
                mark = _mark_of(self._path)
                shutil.copyfileobj(file, copy)
                copy.flush()
                self._reader = maxminddb.open_database(f"/dev/fd/{copy.fileno()}")
        except (OSError, maxminddb.InvalidDatabaseError) as exc:
            raise TemporaryError(f"step ip: read {self._path}") from exc
        self._mark = mark
        self.known.clear()

    def stale(self) -> bool:
        try:
            return _mark_of(self._path) != self._mark
        except OSError as exc:
            raise TemporaryError(f"step ip: look at {self._path}") from exc

    def look(self, text: str) -> Found:
        import maxminddb

        try:
            address = ipaddress.ip_address(text.strip())
        except ValueError:
            return self.refused
        address = getattr(address, "ipv4_mapped", None) or address
        if not address.is_global:
            return _PRIVATE
        assert self._reader is not None  # the runner has opened it
        try:
            record = self._reader.get(address)
        except maxminddb.InvalidDatabaseError:
            return _DAMAGED
        except ValueError:  # IPv6, and the file has only IPv4
            return _UNKNOWN
        return self._parts(record) if isinstance(record, dict) else _UNKNOWN

    def _parts(self, record: dict[str, Any]) -> Found:
        country = _below(record, "country", "iso_code") or _below(record, "registered_country", "iso_code")
        lat, lon = _below(record, "location", "latitude"), _below(record, "location", "longitude")
        parts: dict[Part, Any] = {
            "country": country,
            "city": _below(record, "city", "names", self._language) or _below(record, "city", "names", "en"),
            "point": None if lat is None or lon is None else {"lat": lat, "lon": lon},
        }
        found = tuple(NOTHING if parts[part] is None else parts[part] for part in self._take)
        return found if any(part is not NOTHING for part in found) else _UNKNOWN


def _mark_of(path: Path) -> tuple[int, ...]:
    """Tells whether the file is another one now."""
    about = path.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


def _below(record: Any, *keys: str) -> Any:
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record
