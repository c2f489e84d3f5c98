"""Which plugin types there are: the folder `plugins/`, and the entry-point group `dpiped.plugins`.

dpiped never imports a plugin by name; a plugin says `@register("tail")` and is found because its module is loaded here.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, get_args, get_origin

from dpiped.config.base import PluginConfig
from dpiped.errors import ConfigError
from dpiped.plugin import Filter, Input, Output, Plugin

P = TypeVar("P", bound=type[Plugin[Any]])
KINDS: dict[str, type[Plugin[Any]]] = {"input": Input, "filter": Filter, "output": Output}
ENTRY_POINTS = "dpiped.plugins"

_plugins: dict[tuple[str, str], type[Plugin[Any]]] = {}
_failed: dict[str, str] = {}
_loaded = False


def register(type_name: str) -> Callable[[P], P]:
    """Makes the class the plugin of this `type`; its config model is read from `Input[ItsConfig]`."""

    def add(cls: P) -> P:
        cls.type_name = type_name
        cls.config_class = _config_class(cls)
        kind = next(kind for kind, base in KINDS.items() if issubclass(cls, base))
        _plugins[kind, type_name] = cls
        return cls

    return add


def _config_class(cls: type[Any]) -> type[PluginConfig]:
    for base in getattr(cls, "__orig_bases__", ()):
        for argument in get_args(base):
            if isinstance(argument, type) and issubclass(argument, PluginConfig) and get_origin(base) is not None:
                return argument
    raise TypeError(f"{cls.__name__}: write it as class {cls.__name__}(Input[ItsConfig])")


def load() -> None:
    """Imports all plugins once. One that cannot be imported is remembered and named when a config asks for it."""
    global _loaded
    if _loaded:
        return
    for module in pkgutil.walk_packages(_home().__path__, "plugins."):
        _import(module.name, module.name.rpartition(".")[2])
    for point in entry_points(group=ENTRY_POINTS):
        _import(point.module, point.name)
    _loaded = True


def _home() -> ModuleType:
    """The package `plugins`, and no other folder of that name."""
    import plugins

    home = Path(__file__).resolve().parent.parent / "plugins"
    found = Path(next(iter(plugins.__path__))).resolve()
    if found != home and not (found / "inputs").is_dir():
        raise ConfigError([f"the folder {found} shadows dpipe's own package `plugins`: rename it or start elsewhere"])
    return plugins


def _import(module: str, type_name: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as exc:
        _failed[type_name] = str(exc)


def get(kind: str, type_name: str) -> type[Plugin[Any]] | None:
    """The plugin class, or None when there is none of this name.

    A plugin of ours is a file of its name: only that one is imported, so that nobody pays for libraries of others.
    """
    if (kind, type_name) not in _plugins and not _loaded:
        module = f"{_home().__name__}.{kind}s.{type_name}"
        if kind in KINDS and type_name.isidentifier() and importlib.util.find_spec(module) is not None:
            _import(module, type_name)
        if (kind, type_name) not in _plugins:
            load()
    return _plugins.get((kind, type_name))


def why_missing(type_name: str) -> str | None:
    """Why a plugin of this name could not be loaded; None if there is none."""
    load()
    return _failed.get(type_name)


def failed() -> dict[str, str]:
    """Type -> why it could not be loaded, sorted."""
    load()
    return dict(sorted(_failed.items()))


def all_types() -> dict[tuple[str, str], type[Plugin[Any]]]:
    """(kind, type) -> class, sorted."""
    load()
    return dict(sorted(_plugins.items()))
