"""The TOML of a config before any model has seen it: one file, or all `*.toml` of a folder, with the place of each key.

`${env:NAME}` and `${file:PATH}` inside string values are replaced after parsing, so that what they bring can never be
TOML; `$${` stands for `${`. What came in that way is hidden: no message shows it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dpiped.config.locate import Path as KeyPath
from dpiped.config.locate import Place, locate
from dpiped.errors import ConfigError
from dpiped.hidden import hide

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z]+):([^}]*)\}|\w+\}|)")
"""Also what looks like one and is none: a secret that is the text `${TOKEN}` would be known to everybody."""
_POSITION = re.compile(r" \(at line (\d+), column (\d+)\)$")
MAX_FILE_BYTES = 1 << 20
"""Of a file that `${file:..}` names: it holds a token or a password, nothing large."""


class Problem(NamedTuple):
    """One error of a config. They sort by place."""

    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


@dataclass
class Source:
    """What the files say, merged."""

    name: str
    """As the user called it."""
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, Place] = field(default_factory=dict)
    hidden: set[KeyPath] = field(default_factory=set)
    """Values that came from the environment or a file."""
    broken: set[KeyPath] = field(default_factory=set)
    """Values that name something that is not there: reported, so nothing else has to be said of them."""
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: KeyPath) -> Place:
        """Where a key stands; the table around it when it stands nowhere itself."""
        while path:
            if path in self.places:
                return self.places[path]
            path = path[:-1]
        return Place(self.name)

    def is_hidden(self, path: KeyPath) -> bool:
        """Whether the value, or a part of it, must not be shown."""
        return any(known[: len(path)] == path for known in self.hidden)

    def is_broken(self, path: KeyPath) -> bool:
        return any(known[: len(path)] == path for known in self.broken)

    def label(self, kind: str, number: int) -> str:
        """How messages name a table of an array: `[[output]] "archive" (file)`."""
        table = self.data[kind][number]
        shown = {key: "***" if self.is_hidden((kind, number, key)) else value for key, value in table.items()}
        return label_of(kind, number, shown)

    def alias(self, old: KeyPath, new: KeyPath) -> None:
        """What is known of a path and all below it holds for another path too: that of the key that was meant."""
        many = len(old)
        self.places |= {(*new, *p[many:]): place for p, place in self.places.items() if p[:many] == old}
        for known in (self.hidden, self.broken):
            known |= {(*new, *path[many:]) for path in known if path[:many] == old}

    def report(self, path: KeyPath, text: str) -> None:
        """Notes a problem at the place of a key."""
        self.problems.append(Problem(self.place(path), text))

    def raise_problems(self) -> None:
        """ConfigError with all that was noted, in the order of the files; nothing if nothing was."""
        if self.problems:
            raise ConfigError([str(problem) for problem in sorted(set(self.problems))])


def read_source(path: Path, environ: Mapping[str, str]) -> Source:
    """Reads a file or folder.

    Raises:
        ConfigError: a file cannot be read or is no TOML; one line for each file. Others are noted in the Source.
    """
    source = Source(str(path))
    texts: list[tuple[Path, dict[str, Any], dict[KeyPath, int]]] = []
    for file in _files(path):
        try:
            texts.append((file, *_parse(file)))
        except ConfigError as exc:
            source.problems.extend(Problem(Place(str(file)), text) for text in exc.problems)
    if source.problems:
        raise ConfigError([f"{problem.place.file}{problem.text}" for problem in source.problems])
    for file, data, lines in texts:
        _merge(source, file, data, lines)
    if not source.data:
        raise ConfigError([f"{path}: is empty: expected tables such as [[input]] and [[output]]"])
    for place in sorted({place.file for place in source.places.values()}):
        _replace_all(source, place, environ)
    return source


def _files(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            return [path]
        files = sorted(file for file in path.iterdir() if file.suffix == ".toml" and not file.name.startswith("."))
    except OSError as exc:
        raise ConfigError([f"{path}: cannot be read: {exc.strerror}"]) from exc
    if not files:
        raise ConfigError([f"{path}: is a folder without any *.toml in it"])
    return files


def _parse(file: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Data and lines; the problems of its ConfigError are to be read behind the name of the file."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
        return tomllib.loads(text), locate(text)
    except FileNotFoundError as exc:
        raise ConfigError([": there is no such file"]) from exc
    except OSError as exc:
        raise ConfigError([f": cannot be read: {exc.strerror}"]) from exc
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        raise ConfigError([f":{line}: is not UTF-8 (byte {exc.start})"]) from exc
    except tomllib.TOMLDecodeError as exc:
        position = _POSITION.search(str(exc))
        where = f":{position[1]}:{position[2]}" if position else ""
        raise ConfigError([f"{where}: is not TOML: {_POSITION.sub('', str(exc))}"]) from exc
    except RecursionError as exc:
        raise ConfigError([": is nested too deep"]) from exc


def _merge(source: Source, file: Path, data: dict[str, Any], lines: dict[KeyPath, int]) -> None:
    """Adds one file: arrays of tables are appended, any other key stands in one file only."""
    shifts: dict[str, int] = {}
    taken = set()
    for key, value in data.items():
        known = source.data.get(key)
        if known is None:
            source.data[key] = value
        elif isinstance(known, list) and isinstance(value, list):
            shifts[key] = len(known)
            known.extend(value)
        else:
            taken.add(key)
            text = f"[{key}] stands already at {source.place((key,))}"
            source.problems.append(Problem(Place(str(file), lines.get((key,), 0)), text))
    for path, line in lines.items():
        if path[0] in taken:
            continue
        if path[0] in shifts:
            if len(path) == 1 or not isinstance(path[1], int):
                continue
            path = (path[0], path[1] + shifts[str(path[0])], *path[2:])
        source.places.setdefault(path, Place(str(file), line))


def _replace_all(source: Source, file: str, environ: Mapping[str, str]) -> None:
    """Replaces the references in all texts that stand in this file."""

    def walk(value: Any, path: KeyPath) -> Any:
        if isinstance(value, dict):
            return {key: walk(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner, (*path, number)) for number, inner in enumerate(value)]
        if isinstance(value, str) and "${" in value and source.place(path).file == file:
            return _replace(source, path, value, Path(file).parent, environ)
        return value

    source.data = walk(source.data, ())


def _replace(source: Source, path: KeyPath, text: str, folder: Path, environ: Mapping[str, str]) -> str:
    def one(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        source.hidden.add(path)
        try:
            value = _resolve(match[1] or "", match[2] or "", folder, environ)
        except LookupError as exc:
            source.broken.add(path)
            source.report(path, f"{_named(source, path)}: {match[0]}: {exc.args[0]}")
            return ""
        if match[1] == "file" or "://" in text:  # what a key holds that is no secret by itself, a URL may show
            hide([value])
        return value

    return _REFERENCE.sub(one, text)


def label_of(kind: str, number: int, table: Mapping[str, Any]) -> str:
    """How messages name a table of an array: `[[output]] "archive" (file)`."""
    known = {key: table[key] for key in ("name", "type") if isinstance(table.get(key), str)}
    label = f"[[{kind}]]"
    if "name" in known:
        label += f' "{known["name"]}"'
    if "type" in known:
        label += f" ({known['type']})"
    return label if known else f"{label} #{number + 1}"


def _named(source: Source, path: KeyPath) -> str:
    table = source.data[str(path[0])]
    label, keys = f"[{path[0]}]", path[1:]
    if isinstance(table, list) and isinstance(path[1], int) and isinstance(table[path[1]], dict):
        label, keys = source.label(str(path[0]), path[1]), path[2:]
    return f'{label}: key "{".".join(map(str, keys))}"' if keys else label


def _resolve(scheme: str, name: str, folder: Path, environ: Mapping[str, str]) -> str:
    """Raises LookupError with the reason."""
    if scheme == "env" and name:
        if name in environ:
            return environ[name]
        raise LookupError(f"the environment variable {name} is not set")
    if scheme != "file":
        raise LookupError("expected ${env:NAME} or ${file:PATH}; write $${ for a plain ${")
    file = folder / name.replace("\0", "\ufffd")
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise LookupError(f"the file {file} is larger than {MAX_FILE_BYTES} bytes")
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as exc:
        raise LookupError(f"the file {file} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise LookupError(f"the file {file} is not UTF-8") from exc
