"""From a TOML file or folder to a DaemonConfig, or to one ConfigError with every problem in it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel

from dpiped import registry
from dpiped.config.fields import secrets_of
from dpiped.config.lint import lint
from dpiped.config.schema import (
    DEFAULT_PROJECT,
    OPTIONS,
    DaemonConfig,
    DeadLetterConfig,
    EngineConfig,
    FilterOptions,
    InputOptions,
    JournalConfig,
    Kind,
    OutputOptions,
    PluginTable,
    ProjectConfig,
    TableOptions,
)
from dpiped.config.source import Source, read_source
from dpiped.config.validate import did_you_mean, nearest, validate
from dpiped.hidden import hide
from dpiped.plugin import Filter, Output, Plugin

M = TypeVar("M", bound=BaseModel)
SINGLE = ("engine", "journal", "deadletter")
MANY = ("project", "input", "filter", "output")
_NAME = re.compile(r"[\w.-]+")
"""What a requirement begins with."""


def load_daemon_config(path: Path, environ: Mapping[str, str] = os.environ) -> DaemonConfig:
    """Reads, replaces references, checks everything.

    Raises:
        ConfigError: with all problems, one line each, in the order of the files.
    """
    source = read_source(path, environ)
    _correct_tables(source)
    engine = _single(source, "engine", EngineConfig)
    journal = _single(source, "journal", JournalConfig)
    projects = _projects(source)
    tables: dict[str, list[PluginTable[TableOptions]]] = {kind: [] for kind in OPTIONS}
    for kind, found in tables.items():
        for number in range(len(source.data.get(kind, ()))):
            if table := _plugin_table(source, cast("Kind", kind), number, projects):
                found.append(table)
    config = DaemonConfig(
        engine,
        journal,
        tuple(projects),
        cast("tuple[PluginTable[InputOptions], ...]", tuple(tables["input"])),
        cast("tuple[PluginTable[FilterOptions], ...]", tuple(tables["filter"])),
        cast("tuple[PluginTable[OutputOptions], ...]", tuple(tables["output"])),
        deadletter=_single(source, "deadletter", DeadLetterConfig),
    )
    hide(secrets_of((engine, projects, [table.config for table in config.tables])))
    warnings = lint(config, source)
    source.raise_problems()
    return replace(config, warnings=warnings)


def _correct_tables(source: Source) -> None:
    """Reports tables that are not known or have the wrong form; a misspelt one is read as the one that was meant."""
    for key in list(source.data):
        value = source.data[key]
        if key not in SINGLE + MANY:
            header = f"[[{key}]]" if isinstance(value, list) else f"[{key}]"
            source.report((key,), f"{header} is not known{did_you_mean(key, SINGLE + MANY)}")
            near = nearest(key, SINGLE + MANY)
            del source.data[key]
            if near is None or near in source.data:
                continue
            source.alias((key,), (near,))
            source.data[near] = value
            key = near
        if key in SINGLE and not isinstance(value, dict):
            source.report((key,), f"[{key}]: expected one table")
            del source.data[key]
        if key in MANY and not (isinstance(value, list) and all(isinstance(table, dict) for table in value)):
            source.report((key,), f"[{key}]: write it as [[{key}]], there may be several")
            del source.data[key]
            if isinstance(value, dict):
                source.alias((key,), (key, 0))
                source.data[key] = [value]


def _single(source: Source, key: str, model: type[M]) -> M:
    if key not in source.data:
        return model()
    return validate(model, source, (key,), f"[{key}]") or model()


def _projects(source: Source) -> list[ProjectConfig]:
    """The projects, with defaults filled in; there is always one."""
    projects = []
    names: dict[str, str] = {}
    for number in range(len(source.data.get("project", ()))):
        label = source.label("project", number)
        project = validate(ProjectConfig, source, ("project", number), label)
        if project is None:
            continue
        if project.name in names:
            source.report(("project", number, "name"), f"{label}: the name stands already at {names[project.name]}")
            continue
        names[project.name] = str(source.place(("project", number)))
        projects.append(project.model_copy(update={"index_prefix": project.index_prefix or project.name}))
    if not projects and "project" not in source.data:
        projects.append(ProjectConfig(name=DEFAULT_PROJECT, index_prefix=DEFAULT_PROJECT))
    return projects


def _plugin_table(
    source: Source, kind: Kind, number: int, projects: list[ProjectConfig]
) -> PluginTable[TableOptions] | None:
    table = source.data[kind][number]
    path = (kind, number)
    label = source.label(kind, number)
    table = _correct_type(source, path, label, table)
    if "type" not in table:
        return None
    plugin_class = _plugin_class(source, kind, number, label, table["type"])
    own = plugin_class.config_class.model_fields if plugin_class else {}
    model = OPTIONS[kind]
    parts = _split(source, path, label, table, list(model.model_fields), list(own) if plugin_class else None)
    parts[0].setdefault("name", table["type"])
    if plugin_class is not None and issubclass(plugin_class, Output) and plugin_class.batch_defaults:
        parts[0]["batch"] = _with_defaults(plugin_class.batch_defaults, parts[0].get("batch", {}))
    options = validate(model, source, path, label, parts[0])
    config = validate(plugin_class.config_class, source, path, label, parts[1]) if plugin_class else None
    if options is None or config is None or plugin_class is None:
        return None
    return PluginTable(kind, _completed(options, projects, plugin_class), plugin_class, config, source.place(path))


def _with_defaults(defaults: Mapping[str, Any], batch: Any) -> Any:
    """What the user says of `batch`, over what the output wants; something that is no table is reported later."""
    return {**defaults, **batch} if isinstance(batch, dict) else batch


def _correct_type(source: Source, path: tuple[str, int], label: str, table: dict[str, Any]) -> dict[str, Any]:
    """Without `type` nothing else can be checked, so a key that was meant to be it counts as it."""
    if isinstance(table.get("type"), str):
        return table
    if "type" in table:
        source.report((*path, "type"), f'{label}: key "type": expected the name of a plugin, in quotes')
        return {key: value for key, value in table.items() if key != "type"}
    types = {type_name for kind, type_name in registry.all_types() if kind == path[0]}
    for key, value in table.items():
        if isinstance(value, str) and value in types and nearest(key, ["type"]):
            source.report((*path, key), f'{label}: key "{key}" is not known; did you mean "type"?')
            return {("type" if name == key else name): inner for name, inner in table.items()}
    source.report(path, f'{label}: key "type" is missing: which plugin; known are {", ".join(sorted(types))}')
    return table


def _plugin_class(source: Source, kind: str, number: int, label: str, type_name: str) -> type[Plugin[Any]] | None:
    found = registry.get(kind, type_name)
    if found is not None:
        return found
    path = (kind, number, "type")
    here = [name for known, name in registry.all_types() if known == kind]
    elsewhere = [known for known, name in registry.all_types() if name == type_name]
    near = nearest(type_name, here)
    if reason := registry.why_missing(type_name):
        source.report(path, f"{label}: the plugin cannot be loaded: {reason}{_extra_for(reason)}")
        return None
    text = f'{label}: type "{type_name}" is not known'
    if elsewhere:
        article = "an" if elsewhere[0][0] in "aeiou" else "a"
        text = f'{label}: "{type_name}" is {article} {elsewhere[0]}; write it as [[{elsewhere[0]}]]'
    elif near:
        text += f'; did you mean "{near}"?'
    else:
        text += f"; known are {', '.join(here)}"
    source.report(path, text)
    return registry.get(kind, near) if near and not elsewhere else None


def _extra_for(reason: str) -> str:
    """`: pip install dpipe[s3]`, when the module that is missing belongs to an extra of the distribution."""
    try:
        wanted = requires("dpipe") or []
    except PackageNotFoundError:
        return ""
    for requirement in wanted:
        name = _NAME.findall(requirement)[0].lower()
        marker = requirement.partition("extra ==")[2].strip(" '\"")
        if marker and (f"'{name}" in reason.lower() or f"'{name.replace('-', '_')}" in reason.lower()):
            return f"; install it by: pip install 'dpipe[{marker}]'"
    return ""


def _split(
    source: Source, path: tuple[str, int], label: str, table: dict[str, Any], runner: list[str], own: list[str] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(runner's keys, plugin's keys). An unknown key is reported, and counted as the one that was meant.

    `own` is None when the plugin is not known: then only what looks like a runner's key can be told.
    """
    parts: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    known = runner + (own or [])
    for key, value in table.items():
        if key not in known:
            near = nearest(key, known)
            if own is not None:
                ending = f'; did you mean "{near}"?' if near else f"; known here: {', '.join(known)}"
                source.report((*path, key), f'{label}: key "{key}" is not known{ending}')
            if near is None or near in table or own is None:
                continue
            source.alias((*path, key), (*path, near))
            key = near
        parts[0 if key in runner else 1][key] = value
    return parts


def _completed(options: TableOptions, projects: list[ProjectConfig], plugin_class: type[Plugin[Any]]) -> TableOptions:
    """With the defaults that depend on other keys."""
    changes: dict[str, Any] = {}
    if isinstance(options, InputOptions | FilterOptions) and not options.ident:
        changes["ident"] = options.name
        if issubclass(plugin_class, Filter):
            changes["ident"] = plugin_class.default_ident(options.name)
    if isinstance(options, InputOptions) and not options.project and projects:
        changes["project"] = projects[0].name
    return options.model_copy(update=changes) if changes else options
