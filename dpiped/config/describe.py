"""What the models tell of their keys: kind, default, documentation. Everything printed about a key comes from here."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from dpiped.config.base import ConfigModel
from dpiped.config.fields import keys_of, kinds_of
from dpiped.plugin import Plugin

_WORDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    SecretStr: "secret text",
}
_SIZES = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


class Key(NamedTuple):
    """One key of a table; those of tables inside have dotted names."""

    name: str
    kind: str
    """In words."""
    default: str | None
    """As TOML; None: there is none, or it is worked out from other keys."""
    required: bool
    example: str
    """As TOML."""
    text: str
    """Its documentation."""
    in_samples: bool = False
    """Samples have it although it may be left away, since none of its kind may (`json_schema_extra` of the field)."""


def keys_of_model(model: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """All keys of a model, in order; those of a table that has defaults follow it in its place."""
    for name, info in _required_first(model):
        inner = info.get_default(call_default_factory=True)
        if isinstance(inner, ConfigModel):
            yield from keys_of_model(type(inner), f"{prefix}{name}.")
        else:
            yield _key(prefix + name, info)


def _required_first(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    """Else those that a plugin inherits would stand before what nobody can leave away."""
    return sorted(model.model_fields.items(), key=lambda field: not field[1].is_required())


def keys_in_depth(model: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """As `keys_of_model`, and behind a list or table of tables what may stand in each: `rules[].where`."""
    for name, info in _required_first(model):
        inner = info.get_default(call_default_factory=True)
        if isinstance(inner, ConfigModel):
            yield from keys_in_depth(type(inner), f"{prefix}{name}.")
            continue
        yield _key(prefix + name, info)
        models = list(_models_in(info.annotation))
        if len(models) == 1:  # of several, such as codecs, each has its own page
            place, found = models[0]
            yield from keys_in_depth(found, f"{prefix}{name}{place}.")


def _models_in(annotation: Any) -> Iterator[tuple[str, type[ConfigModel]]]:
    """The models that may stand there, with the way to them."""
    for kind in kinds_of(annotation):
        origin, arguments = get_origin(kind), get_args(kind)
        if isinstance(kind, type) and issubclass(kind, ConfigModel):
            yield "", kind
        elif isinstance(origin, type) and issubclass(origin, dict):
            yield from ((f".NAME{place}", model) for place, model in _models_in(arguments[1]))
        elif isinstance(origin, type) and issubclass(origin, list | tuple):
            yield from ((f"[]{place}", model) for place, model in _models_in(arguments[0]))


def documentation(plugin_class: type[Plugin[Any]]) -> str:
    """The text at the head of the plugin's file, or that of its class."""
    module = inspect.getdoc(sys.modules.get(plugin_class.__module__)) or ""
    own = inspect.cleandoc(plugin_class.__doc__ or "")
    return module if module.startswith(f"{plugin_class.kind.capitalize()} `") or not own else own


def toml(value: Any, name: str = "") -> str:
    """A value as TOML; sizes and times as people write them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and name.endswith("_mode"):
        return f'"{value:04o}"'
    if isinstance(value, int) and name.endswith("_bytes"):
        unit = next(((size, word) for size, word in _SIZES if value and value % size == 0), None)
        return f'"{value // unit[0]}{unit[1]}"' if unit else str(value)
    if isinstance(value, float):
        return f"{value:g}" if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_none=True)
    if isinstance(value, dict):
        pairs = ", ".join(f"{_toml_key(key)} = {toml(inner)}" for key, inner in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{', '.join(toml(inner) for inner in value)}]"
    if isinstance(value, int):
        return str(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def kind_in_words(annotation: Any, name: str = "") -> str:
    """What may stand there."""
    words = dict.fromkeys(_words(kind, name) for kind in kinds_of(annotation) if kind is not type(None))
    return " or ".join(word for word in words if word)


def _key(name: str, info: FieldInfo) -> Key:
    default = info.get_default(call_default_factory=True)
    required = info.is_required()
    shown = None if default is None or default is PydanticUndefined else toml(default, name)
    if shown == '""':  # a default that is worked out from other keys
        shown = None
    example = toml(info.examples[0], name) if info.examples else shown or _example(info.annotation, name)
    text = " ".join((info.description or "").split())
    extra = info.json_schema_extra
    in_samples = isinstance(extra, dict) and bool(extra.get("in_samples"))
    return Key(name, kind_in_words(info.annotation, name), shown, required, example, text, in_samples)


def _words(kind: Any, name: str) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f'"{choice}"' for choice in arguments if choice != "")
    if kind in (int, float) and name.endswith("_bytes"):
        return "size"
    if kind in (int, float) and name.endswith("_secs"):
        return "seconds"
    if kind in (int, float) and name.endswith("_ms"):
        return "milliseconds"
    if kind is int and name.endswith("_mode"):
        return "file mode"
    if isinstance(origin, type) and issubclass(origin, dict):
        return f"table of {kind_in_words(arguments[1])}"
    if isinstance(origin, type) and issubclass(origin, list | tuple | set | frozenset):
        return f"list of {kind_in_words(arguments[0])}"
    if keys_of(kind):
        return "table"
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind)))


def _example(annotation: Any, name: str) -> str:
    """Something of the right kind, where a model gives no example."""
    kind = next((kind for kind in kinds_of(annotation) if kind is not type(None)), str)
    origin = get_origin(kind)
    if origin is Literal:
        return toml(next(choice for choice in get_args(kind) if choice != ""))
    if kind in (int, float):
        return toml(1 << 30 if name.endswith("_bytes") else kind(1), name)
    if kind is bool:
        return "true"
    if kind is SecretStr:
        return '"${env:NAME}"'
    if isinstance(origin, type) and issubclass(origin, dict):
        return "{}"
    if isinstance(origin, type) and issubclass(origin, list | tuple | set | frozenset):
        return "[]"
    if keys_of(kind):
        required = [key for key in keys_of(kind) if key in ("field", "type", "name")]
        return "{ " + ", ".join(f'{key} = ".."' for key in required) + " }"
    return '".."'


def _toml_key(key: Any) -> str:
    return str(key) if str(key).replace("_", "").replace("-", "").isalnum() and str(key).isascii() else toml(str(key))
