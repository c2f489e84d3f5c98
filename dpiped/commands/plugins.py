"""`dpiped plugins`, `describe` and `create`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dpiped import registry
from dpiped.config import render
from dpiped.config.validate import did_you_mean
from dpiped.errors import ConfigError
from dpiped.plugin import Plugin

PluginClass = type[Plugin[Any]]


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the parsers of this group."""
    plugins = commands.add_parser("plugins", parents=[common], help="list the plugins")
    plugins.set_defaults(command=plugins_command)
    describe = commands.add_parser("describe", parents=[common], help="tell what a plugin does and all its keys")
    describe.add_argument("type", metavar="TYPE", help="such as file, or output/file")
    describe.set_defaults(command=describe_command)
    create = commands.add_parser("create", parents=[common], help="print an annotated sample config of a plugin")
    create.add_argument("type", metavar="TYPE", nargs="?", help="such as file, or output/file")
    create.add_argument(
        "--write-all",
        type=Path,
        metavar="FOLDER",
        help="write the samples and the reference of all plugins below this folder instead",
    )
    create.set_defaults(command=create_command)


def plugins_command(arguments: argparse.Namespace) -> int:
    """One line a plugin; those that cannot be loaded are told with the reason."""
    for (kind, type_name), plugin_class in registry.all_types().items():
        print(f"{kind:6} {type_name:14} {render.headline(plugin_class)}")
    for type_name, reason in registry.failed().items():
        print(f"       {type_name:14} cannot be loaded: {reason}")
    return 0


def describe_command(arguments: argparse.Namespace) -> int:
    """A type that is of several kinds is described for each."""
    print("\n".join(render.describe(plugin_class) for plugin_class in find(arguments.type)), end="")
    return 0


def create_command(arguments: argparse.Namespace) -> int:
    """Prints what `check` accepts."""
    if arguments.write_all is not None:
        for name, text in render.generated_files().items():
            path = arguments.write_all / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(path)
        return 0
    if arguments.type is None:
        raise ConfigError(["dpiped create: expected the type of a plugin; `dpiped plugins` lists them"])
    print("\n".join(render.sample(plugin_class) for plugin_class in find(arguments.type)), end="")
    return 0


def find(text: str) -> list[PluginClass]:
    """The plugins of a TYPE or KIND/TYPE; never empty."""
    kind, _, type_name = text.rpartition("/")
    known = registry.all_types()
    found = [cls for (its_kind, name), cls in known.items() if name == type_name and kind in ("", its_kind)]
    if not found:
        reason = registry.why_missing(type_name)
        hint = f": it cannot be loaded: {reason}" if reason else did_you_mean(type_name, [name for _, name in known])
        hint = hint or "; `dpiped plugins` lists them"
        raise ConfigError([f'dpiped: plugin "{text}" is not known{hint}'])
    return found
