"""Which filters would not go on with the state that a data_dir has of them, before a start says it.

A filter's state names the fingerprint of the config keys that shaped it. With another fingerprint it is set aside at
the start, and the filter begins empty. A daemon that runs is asked, for it alone can open its state.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from dpiped.admin_client import AdminClient, trusting
from dpiped.config.base import split_listen
from dpiped.config.doors import admin_tokens
from dpiped.config.lint import label
from dpiped.config.schema import DaemonConfig, EngineConfig, FilterOptions, PluginTable
from dpiped.errors import DpipeError, LockedError
from dpiped.journal.state import RunnerKey
from dpiped.lock import DataDir
from dpiped.offline import cursors_of
from dpiped.plugin import PluginContext, StatefulFilter
from dpiped.telemetry import Telemetry

ASK_SECS = 5.0
"""`check` waits no longer for a running daemon."""

Fingerprints = Mapping[RunnerKey, str]


class Found(NamedTuple):
    """What `look` says, one line each."""

    warnings: list[str]
    notes: list[str]


def look(config: DaemonConfig) -> Found:
    """Compares the states of all filters with the config. Blocks; changes nothing, and raises nothing."""
    shaped = {_key(table): table for table in config.filters if _has_state(table)}
    data_dir = Path(config.engine.data_dir)
    if not shaped or config.journal.type != "disk":
        return Found([], [])
    try:
        known = _known(data_dir, config.engine)
    except (DpipeError, OSError) as exc:
        return Found([], [f"the states of filters in {data_dir} were not compared: {exc}"])
    changed = [table for key, table in shaped.items() if known.get(key, "") not in ("", _fingerprint(table))]
    text = "keys that shape its state were changed: the next start or reload sets that aside, and begins it empty"
    return Found([f"{table.place}: {label(table)}: {text}" for table in changed], [])


def _has_state(table: PluginTable[FilterOptions]) -> bool:
    return issubclass(table.plugin_class, StatefulFilter) and not table.options.disabled


def _key(table: PluginTable[FilterOptions]) -> RunnerKey:
    return RunnerKey(table.kind, table.name, table.type)


def _fingerprint(table: PluginTable[FilterOptions]) -> str:
    plugin = table.plugin_class(table.config, PluginContext(table.name, Telemetry()))
    assert isinstance(plugin, StatefulFilter)
    return plugin.fingerprint()


def _known(data_dir: Path, engine: EngineConfig) -> Fingerprints:
    """Of all filters that the data_dir has a state of; none when it is no data_dir yet."""
    if not (data_dir / "lock").exists():
        return {}
    try:
        return {key: saved.fingerprint for key, saved in cursors_of(data_dir).items()}
    except LockedError:
        return _ask(data_dir, engine)


def _ask(data_dir: Path, engine: EngineConfig) -> Fingerprints:
    """The running daemon, if it is the one that has the data_dir. Raises DpipeError."""
    if split_listen(engine.admin)[1] == 0:
        raise DpipeError("a daemon runs on it, at an address that the config does not tell")
    tls = trusting(engine.admin_tls.cert) if engine.admin_tls is not None else None
    admin = AdminClient(engine.admin, next(iter(admin_tokens(engine)), ""), tls, ASK_SECS)
    try:
        stat = admin.get("/admin/stat")
        if stat["pid"] != DataDir(data_dir).owner():
            raise DpipeError(f"a daemon runs on it, and another one answers at {admin.url}")
        lines = [line for line in stat["plugins"] if "fingerprint" in line]
        return {RunnerKey(line["kind"], line["name"], line["type"]): line["fingerprint"] for line in lines}
    except (KeyError, TypeError) as exc:
        raise DpipeError(f"a daemon runs on it, and something else answers at {admin.url}") from exc
