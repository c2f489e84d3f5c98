"""The SQL that loads a manifest once.

    BEGIN
    LOCK loaded_table              a session that was left alone by a kill comes to its end first
    INSERT INTO loaded_table       the manifest
    SELECT 1 / ..                  fails if it is there twice, for Redshift keeps no key unique
    COPY table FROM manifest
    COMMIT                         both or neither

Names are quoted, and texts are; the config lets nothing through that would have to be escaped in another way.
"""

from __future__ import annotations

import time

from dpiped.redshift.config import RedshiftConfig

_COMPRESSION = {"gzip": " GZIP", "zstd": " ZSTD", "none": ""}


class Statements:
    """For one manifest of a bucket."""

    def __init__(self, config: RedshiftConfig, manifest: str, events: int) -> None:
        """`manifest`: its s3:// address; `events`: how many are in its objects."""
        loaded, self._manifest = name(config.loaded_table), text(manifest)
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        self.lock = f"LOCK TABLE {loaded}"
        self.find = f"SELECT COUNT(*) FROM {loaded} WHERE manifest = {self._manifest}"
        self.insert = f"INSERT INTO {loaded} (manifest, loaded_at, events) VALUES ({self._manifest}, '{at}', {events})"
        self.guard = (
            f"SELECT 1 / CASE WHEN COUNT(*) = 1 THEN 1 ELSE 0 END FROM {loaded} WHERE manifest = {self._manifest}"
        )
        self.copy = self._copy(config)

    def _copy(self, config: RedshiftConfig) -> str:
        columns = f" ({', '.join(quoted(column) for column in config.columns)})" if config.columns else ""
        role = "default" if config.copy_role == "default" else text(config.copy_role)
        region = f" REGION {text(config.region)}" if config.region else ""
        errors = f" MAXERROR {config.max_errors}" if config.max_errors else ""
        return (
            f"COPY {name(config.table)}{columns} FROM {self._manifest} IAM_ROLE {role} MANIFEST "
            f"FORMAT AS JSON {text(config.json_paths)}{_COMPRESSION[config.compression]}"
            f" TIMEFORMAT 'epochmillisecs'{region}{errors}"
        )

    @property
    def transaction(self) -> list[str]:
        """All that belongs into one transaction."""
        return [self.lock, self.insert, self.guard, self.copy]


def prepare(config: RedshiftConfig) -> str:
    """Makes the table of manifests."""
    columns = "manifest VARCHAR(1200) NOT NULL, loaded_at TIMESTAMP NOT NULL, events BIGINT NOT NULL"
    return f"CREATE TABLE IF NOT EXISTS {name(config.loaded_table)} ({columns})"


def look(config: RedshiftConfig) -> str:
    """Reads nothing of the target, but fails if it cannot."""
    columns = ", ".join(quoted(column) for column in config.columns) or "*"
    return f"SELECT {columns} FROM {name(config.table)} WHERE 1 = 0"


def name(dotted: str) -> str:
    """A table with its schema, each part quoted."""
    return ".".join(quoted(part) for part in dotted.split("."))


def quoted(identifier: str) -> str:
    """One identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text; Redshift takes a backslash for an escape, so there must be none."""
    if "\\" in value or "\0" in value:
        raise ValueError("no backslash can stand in a text of SQL")
    return "'" + value.replace("'", "''") + "'"
