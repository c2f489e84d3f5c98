"""Texts made of the models: `describe`, `create`, the samples in etc/, the reference. Nothing here knows a default."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap
from typing import Any

from pydantic import BaseModel

from dpiped import registry
from dpiped.config.describe import Key, documentation, keys_in_depth, keys_of_model, toml
from dpiped.config.schema import (
    OPTIONS,
    WINDOW_KEYS,
    DeadLetterConfig,
    EngineConfig,
    JournalConfig,
    ProjectConfig,
)
from dpiped.plugin import Output, Plugin, StatefulFilter

PluginClass = type[Plugin[Any]]
WIDTH = 118
GENERATED = "Made by `dpiped create --write-all`: change the models, not this file."
TABLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("[engine]", EngineConfig),
    ("[journal]", JournalConfig),
    ("[deadletter]", DeadLetterConfig),
    ("[[project]]", ProjectConfig),
)
"""The tables of the daemon itself, in the order in which they are shown."""
_BLURB = {
    "input": "Inputs read events from outside.",
    "filter": "Filters make packs of packs.",
    "output": "Outputs deliver to a store.",
}


def headline(plugin_class: PluginClass) -> str:
    """The first line of its documentation, without the name."""
    first = documentation(plugin_class).partition("\n")[0]
    return first.partition("`: ")[2] or first


def runner_keys(plugin_class: PluginClass) -> list[Key]:
    """The keys that the plugin's runner owns, without `type`."""
    keys = [key for key in keys_of_model(OPTIONS[plugin_class.kind]) if key.name != "type"]
    windowed = issubclass(plugin_class, StatefulFilter)
    other = plugin_class.batch_defaults if issubclass(plugin_class, Output) else {}
    defaults = {f"batch.{name}": toml(value, name) for name, value in other.items()}
    return [
        key._replace(required=False, default=defaults.get(key.name, key.default))
        for key in keys
        if windowed or key.name not in WINDOW_KEYS
    ]


def describe(plugin_class: PluginClass) -> str:
    """For a terminal: what it does, its keys, the keys of its runner."""
    lines = [documentation(plugin_class), ""]
    own = list(keys_in_depth(plugin_class.config_class))
    lines += ["Keys:", *_key_lines(own)] if own else ["It has no keys of its own."]
    lines += ["", f"Keys of every {plugin_class.kind}:", *_key_lines(runner_keys(plugin_class))]
    return "\n".join(lines) + "\n"


def _key_lines(keys: Iterable[Key]) -> list[str]:
    lines = []
    for key in keys:
        default = "required" if key.required else f"default {key.default}" if key.default is not None else "optional"
        lines.append(f"  {key.name}  ({key.kind}; {default})")
        lines += wrap(key.text, WIDTH - 6, initial_indent="      ", subsequent_indent="      ")
    return lines


def sample(plugin_class: PluginClass) -> str:
    """An annotated table that `check` accepts; what is commented out has its default or may be left away."""
    lines = [f"# {line}".rstrip() for line in documentation(plugin_class).splitlines()]
    lines += [f"[[{plugin_class.kind}]]", f'type = "{plugin_class.type_name}"', ""]
    lines += sample_keys(keys_of_model(plugin_class.config_class))
    lines += [f"# Keys of every {plugin_class.kind}.", ""]
    lines += sample_keys(runner_keys(plugin_class))
    return "\n".join(lines).rstrip() + "\n"


def sample_keys(keys: Iterable[Key]) -> list[str]:
    """Each key with its documentation above it; commented out unless it is needed."""
    lines = []
    for key in keys:
        lines += wrap(key.text, WIDTH, initial_indent="# ", subsequent_indent="# ")
        value = key.example if key.required or key.default is None else key.default
        lines += [f"{'' if key.required or key.in_samples else '#'}{key.name} = {value}", ""]
    return lines


def daemon_sample(tables: Iterable[PluginClass] = ()) -> str:
    """The tables of the daemon itself with all their keys, then the samples of some plugins."""
    lines = [f"# Config of dpiped. {GENERATED}", "# A key that is commented out has its default.", ""]
    for header, model in TABLES:
        lines += [f"# {_about(model)}", header, *sample_keys(keys_of_model(model))]
    return "\n".join([*lines, *(sample(plugin_class) for plugin_class in tables)])


def _about(model: type[BaseModel]) -> str:
    """The first line of the model's documentation, without the table's name."""
    return (model.__doc__ or "").partition("\n")[0].partition(": ")[2]


def reference() -> str:
    """The page of all plugins, in Markdown."""
    lines = ["# Plugins", "", f"<!-- {GENERATED} -->", ""]
    types = registry.all_types()
    for kind in OPTIONS:
        here = [cls for (its_kind, _), cls in types.items() if its_kind == kind]
        lines += [f"## {kind.capitalize()}s", "", _BLURB[kind], ""]
        lines += ["| type | what it does |", "|---|---|"]
        lines += [f"| [{cls.type_name}](#{kind}-{cls.type_name}) | {_cell(headline(cls))} |" for cls in here]
        lines.append("")
        for cls in here:
            lines += [
                f"### {kind} {cls.type_name}",
                "",
                documentation(cls),
                "",
                *key_table(keys_in_depth(cls.config_class)),
                *_other_defaults(cls),
            ]
        lines += [
            f"### Keys of every {kind}",
            "",
            *key_table(key for key in keys_of_model(OPTIONS[kind]) if key.name != "type"),
        ]
    for header, model in TABLES:
        lines += [f"## `{header}`", "", _about(model), "", *key_table(keys_of_model(model))]
    return "\n".join(lines).rstrip() + "\n"


def _other_defaults(plugin_class: PluginClass) -> list[str]:
    """Where the keys of the runner have other defaults than for most."""
    if not issubclass(plugin_class, Output) or not plugin_class.batch_defaults:
        return []
    texts = [f"`batch.{name} = {toml(value, name)}`" for name, value in plugin_class.batch_defaults.items()]
    return [f"Defaults that differ from other outputs: {', '.join(texts)}.", ""]


def key_table(keys: Iterable[Key]) -> list[str]:
    """Lines of a Markdown table of keys."""
    rows = []
    for key in keys:
        default = "required" if key.required else f"`{key.default}`" if key.default is not None else ""
        rows.append(f"| `{key.name}` | {_cell(key.kind)} | {_cell(default)} | {_cell(key.text)} |")
    if not rows:
        return ["It has no keys of its own.", ""]
    return ["| key | kind | default | |", "|---|---|---|---|", *rows, ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def generated_files() -> dict[str, str]:
    """Path below the project's root -> text, of all that is made of the models."""
    types = registry.all_types()
    shown = [cls for name in (("input", "http"), ("output", "file")) if (cls := types.get(name))]
    files = {"etc/dpiped.toml": daemon_sample(shown), "docs/plugins.md": reference()}
    for (kind, type_name), cls in types.items():
        files[f"etc/samples/{kind}-{type_name}.toml"] = f"# {GENERATED}\n{sample(cls)}"
    return files
