"""Looks into config models: what may stand at a path, so that messages can name keys and hide secrets."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, SecretBytes, SecretStr

from dpiped.config.locate import Path

CHOOSERS = ("type", "op", "do")
"""Keys that say which of several models a table is."""


def kinds_of(annotation: Any) -> list[Any]:
    """The annotation without Annotated and aliases; a union as its members."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return kinds_of(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [kind for member in get_args(annotation) for kind in kinds_of(member)]
    return [annotation]


def keys_of(kind: Any) -> dict[str, Any]:
    """Key -> annotation of a model or dataclass; empty for anything else."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {info.alias or name: info.annotation for name, info in kind.model_fields.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        return {item.name: hints[item.name] for item in dataclasses.fields(kind)}
    return {}


def kinds_at(model: Any, path: Path, data: Any) -> list[Any]:
    """What may stand at `path` in `data`, shape as `kinds_of`; without the members of a union that its tag excludes."""
    kinds = _fitting(kinds_of(model), data)
    for part in path:
        below = [inner for kind in kinds for inner in _below(kind, part)]
        data = _value(data, part)
        kinds = _fitting([kind for annotation in below for kind in kinds_of(annotation)], data)
    return kinds


def value_at(data: Any, path: Path) -> Any:
    """The value at a path; None if there is none."""
    for part in path:
        data = _value(data, part)
    return data


def holds_secret(kinds: Iterable[Any]) -> bool:
    """Whether a secret may be anywhere in a value of these kinds."""
    for kind in kinds:
        if kind in (SecretStr, SecretBytes):
            return True
        if holds_secret(inner for part in get_args(kind) if not isinstance(part, str) for inner in kinds_of(part)):
            return True
        if holds_secret(inner for annotation in keys_of(kind).values() for inner in kinds_of(annotation)):
            return True
    return False


def _value(data: Any, part: str | int) -> Any:
    if isinstance(data, dict):
        return data.get(part)
    if isinstance(data, list) and isinstance(part, int) and part < len(data):
        return data[part]
    return None


def _below(kind: Any, part: str | int) -> list[Any]:
    keys = keys_of(kind)
    if keys:
        return [keys[part]] if isinstance(part, str) and part in keys else []
    arguments = get_args(kind)
    origin = get_origin(kind)
    if isinstance(origin, type) and issubclass(origin, dict):
        return [arguments[1]]
    return [argument for argument in arguments[:1] if isinstance(part, int)]


def _fitting(kinds: list[Any], data: Any) -> list[Any]:
    """Without the models that a key of the data, such as `type`, says are not meant."""
    chosen = {key: data[key] for key in CHOOSERS if key in data} if isinstance(data, dict) else {}
    return [kind for kind in kinds if all(value in _tags(kind, key, value) for key, value in chosen.items())]


def _tags(kind: Any, key: str, value: Any) -> tuple[Any, ...]:
    """What the key may be in a model; any value where it does not choose."""
    annotation = keys_of(kind).get(key)
    return get_args(annotation) if get_origin(annotation) is Literal else (value,)


def secrets_of(value: Any) -> set[str]:
    """All secrets in a model, or in a list or dict of them."""
    if isinstance(value, SecretStr):
        return {value.get_secret_value()}
    if isinstance(value, BaseModel):
        value = [getattr(value, name) for name in type(value).model_fields]
    elif isinstance(value, dict):
        value = value.values()
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return set()
    return {secret for inner in value for secret in secrets_of(inner)}
