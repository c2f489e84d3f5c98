"""A table of a Source into its model, with every error named: place, table, key, value, what is expected, nearest key.

A misspelt key does not hide what is wrong behind it: it is reported, then read as the key that was probably meant.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dpiped.config.explain import choices, expectation
from dpiped.config.fields import CHOOSERS, holds_secret, keys_of, kinds_at, value_at
from dpiped.config.locate import Path
from dpiped.config.source import Source
from dpiped.hidden import SHORTEST, blot

M = TypeVar("M", bound=BaseModel)
UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
HIDDEN = "***"


def validate(model: type[M], source: Source, path: Path, label: str, table: Any = None) -> M | None:
    """The model of the table at `path`, or None when problems were noted.

    `label` names the table in messages. `table` stands in for what the source has at the path: a part of it, or with
    keys put right.
    """
    checked = _Checker(model, source, path, label).run(value_at(source.data, path) if table is None else table)
    return checked if isinstance(checked, model) else None


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), list(lower), 1)
    return lower[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "path"?`, or nothing."""
    near = nearest(word, known)
    return f'; did you mean "{near}"?' if near else ""


class _Checker:
    def __init__(self, model: type[BaseModel], source: Source, path: Path, label: str) -> None:
        self.model: Any = model
        self.source = source
        self.path = path
        self.label = label
        self.spelt: dict[Path, str | int] = {}
        """Corrected path -> the key as the file spells it."""

    def run(self, table: Any) -> Any:
        table = _copy(table)
        clean = True
        while True:
            try:
                result = self.model.model_validate(table)
                return result if self._no_booleans(table, table, ()) and clean else None
            except ValidationError as exc:
                errors = exc.errors(include_url=False, include_input=False)
            clean = False
            unknown = {path for error in errors if (path := _misspelt(error, table))}
            if not unknown:
                self._report_values(errors, table)
                return None
            for path in sorted(unknown, key=str):
                self._correct(path, table)

    def _no_booleans(self, table: Any, value: Any, path: Path) -> bool:
        """Reports `true` where a number is wanted; pydantic would take it for 1."""
        if isinstance(value, dict | list):
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            clean = [self._no_booleans(table, below, (*path, part)) for part, below in inner]  # a list: report all
            return all(clean)
        kinds = kinds_at(self.model, path, table) if isinstance(value, bool) else []
        if bool in kinds or not {int, float} & {kind for kind in kinds if isinstance(kind, type)}:
            return True
        error = {"type": "int_type" if float not in kinds else "float_type"}
        self._report(path, self._describe(path, [error], table))
        return False

    def _correct(self, path: Path, table: Any) -> None:
        """Reports an unknown key and gives its value to the key that was meant, or takes it out."""
        *around, key = path
        parent = value_at(table, tuple(around))
        if path in self.spelt:  # told already; what stands under the key that was meant does not fit there
            del parent[key]
            return
        kinds = kinds_at(self.model, tuple(around), table)
        known = list(dict.fromkeys(name for kind in kinds for name in keys_of(kind)))
        near = nearest(str(key), [name for name in known if name != key])
        text = f'key "{_dotted(path)}" is not known'
        if near:
            text += f'; did you mean "{near}"?'
        elif known:
            text += f"; known here: {', '.join(known)}"
        self._report(path, text)
        value = parent.pop(key)
        if near and near not in parent:
            parent[near] = value
            self.spelt[(*around, near)] = key

    def _report_values(self, errors: list[Any], table: Any) -> None:
        """One line for each key: a union has several errors at one value."""
        grouped: dict[Path, list[Any]] = {}
        for error in errors:
            missing = error["type"] in ("missing", "missing_argument")
            loc = error["loc"]
            path = (*_data_path(loc[:-1], table), loc[-1]) if missing else _data_path(loc, table)
            if error["type"] == "union_tag_invalid":  # what is wrong is the key that chooses, not the whole table
                path = (*path, error["ctx"]["discriminator"].strip("'"))
            grouped.setdefault(path, []).append(error)
        for path, group in grouped.items():
            deeper = any(len(other) > len(path) and other[: len(path)] == path for other in grouped)
            if (deeper and path) or self.source.is_broken(self._original(path)):
                continue
            self._report(path, self._describe(path, group, table))

    def _describe(self, path: Path, errors: list[Any], table: Any) -> str:
        key = str(next((part for part in reversed(path) if isinstance(part, str)), ""))
        if errors[0]["type"] in ("missing", "missing_argument"):
            return f'key "{_dotted(path)}" is missing{self._hint(path, table)}'
        value = value_at(table, path)
        hidden = self.source.is_hidden(self._original(path)) or holds_secret(kinds_at(self.model, path, table))
        expected = " or ".join(dict.fromkeys(expectation(error, key) for error in errors))
        if hidden:
            expected = _without(expected.partition("\n")[0], value)
        elif isinstance(value, str):
            expected += did_you_mean(value, [choice for error in errors for choice in choices(error)])
        if not path:
            return expected
        shown = HIDDEN if hidden and not isinstance(value, dict) else _shown(value)
        complaint = expected if _is_sentence(errors) else f"expected {expected}"
        return f'key "{_dotted(path)}" = {shown}: {complaint}'

    def _hint(self, path: Path, table: Any) -> str:
        """What a missing key is for."""
        for kind in kinds_at(self.model, path[:-1], table):
            info = getattr(kind, "model_fields", {}).get(path[-1])
            if info is not None:
                about = f": {' '.join(info.description.split())}" if info.description else ""
                return about.rstrip(".") + (f"; for example {_shown(info.examples[0])}" if info.examples else "")
        return ""

    def _original(self, path: Path) -> Path:
        """The path as the file spells it, from the root of the source."""
        spelt = tuple(self.spelt.get(path[: end + 1], part) for end, part in enumerate(path))
        return self.path + spelt

    def _report(self, path: Path, text: str) -> None:
        self.source.report(self._original(path), f"{self.label}: {text}")


def _data_path(loc: tuple[str | int, ...], table: Any) -> Path:
    """The place of an error in the data: pydantic also names the member of a union that it tried."""
    path: list[str | int] = []
    for at, part in enumerate(loc):
        inside = (isinstance(table, dict) and part in table) or (
            isinstance(table, list) and isinstance(part, int) and part < len(table)
        )
        if inside:
            table = table[part]
            path.append(part)
        elif not isinstance(table, dict | list) and at:
            break
    return tuple(path)


def _misspelt(error: Any, table: Any) -> Path:
    """The place of a key that is not known; empty if the error is another one."""
    path = _data_path(error["loc"], table)
    if error["type"] in UNKNOWN:
        return path
    if error["type"] == "union_tag_not_found" and isinstance(value := value_at(table, path), dict):
        return next(((*path, key) for key in value if key not in CHOOSERS and nearest(key, CHOOSERS)), ())
    return ()


def _is_sentence(errors: list[Any]) -> bool:
    """A validator's own text that does not begin with "expected" is a sentence of its own."""
    return len(errors) == 1 and errors[0]["type"] == "value_error" and "Value error, expected" not in errors[0]["msg"]


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    text = blot(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= 80 else text[:77] + "..."


def _without(text: str, value: Any) -> str:
    """A validator may have put the value into its message."""
    for leaf in _leaves(value):
        if len(leaf.strip()) >= SHORTEST:
            text = text.replace(leaf, HIDDEN)
    return text


def _leaves(value: Any) -> list[str]:
    if isinstance(value, dict | list):
        return [leaf for inner in (value.values() if isinstance(value, dict) else value) for leaf in _leaves(inner)]
    return [str(value)]


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value
