"""Output `leveldb`: puts events into a keyed store in a folder, to be looked up by `dpiped leveldb`.

Delivery: exactly once. The key is made of the event, so that a repeat puts the same value again; of events with one key
the last stays. Events without a key go to the dead letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator, Field

from dpiped.api import (
    Batch,
    DpipeError,
    FatalPluginError,
    KeyFields,
    KeyTemplate,
    Lacking,
    LevelDb,
    LevelDbError,
    Output,
    PluginConfig,
    PluginContext,
    RejectedError,
    TemporaryError,
    check_key,
    finish_in_thread,
    is_reserved,
    register,
)

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class LevelDbConfig(PluginConfig):
    path: str = Field(min_length=1, examples=["var/out/profiles"])
    """Folder of the store; no other program and no other output may use it."""
    key: Annotated[str, AfterValidator(check_key)] = Field(examples=["{uid}/{@timestamp:int}"])
    """Template of the key: fields in braces, `{FIELD:int}` so that numbers sort, `{_id}` for a unique name."""
    fields: KeyFields = Field(default=(), examples=[["uid", "country"]])
    """Fields that are kept; without it the whole event is."""


@register("leveldb")
class LevelDbOutput(Output[LevelDbConfig]):
    _store: LevelDb | None = None

    def __init__(self, config: LevelDbConfig, context: PluginContext) -> None:
        super().__init__(config, context)
        self._key = KeyTemplate(config.key)

    @classmethod
    def exclusive(cls, config: LevelDbConfig) -> str:
        return f"path {Path(config.path).resolve()}"

    def fields(self) -> Sequence[str]:
        return self._key.fields

    async def open(self, saved: bytes | None) -> None:
        try:
            self._store = await finish_in_thread(LevelDb, Path(self.config.path), adopt=False)
        except LevelDbError as exc:
            raise TemporaryError(f"{exc}; if it is damaged, move it away: a new one is begun") from exc
        except DpipeError as exc:
            raise FatalPluginError(str(exc)) from exc

    async def write(self, batch: Batch) -> None:
        assert self._store is not None, "written to before it was open"
        items, reasons = await finish_in_thread(self._items, batch)
        try:
            await finish_in_thread(self._store.write, items, sync=True)
        except LevelDbError as exc:
            raise TemporaryError(str(exc)) from exc
        if reasons:
            raise RejectedError(reasons)

    def _items(self, batch: Batch) -> tuple[list[tuple[bytes, bytes]], dict[int, str]]:
        """What is put, and why events are not, by their index in the batch."""
        items: list[tuple[bytes, bytes]] = []
        reasons: dict[int, str] = {}
        names, at = list(batch.names()), 0
        for view, body in zip(batch.views, batch.bodies, strict=True):
            keys = self._key.of(view, names[at : at + view.count])
            for key, line in zip(keys, body.split(b"\n"), strict=False):
                if isinstance(key, Lacking):
                    reasons[at] = key.reason
                elif is_reserved(key):
                    reasons[at] = "the key is one that the store uses itself"
                else:
                    items.append((key, self._chosen(line) if self.config.fields else line))
                at += 1
        return items, reasons

    def _chosen(self, line: bytes) -> bytes:
        """Only the fields that are kept, as they are called in the config."""
        event = _members(line)
        found = {path: _value(event, path) for path in self.config.fields}
        return _encode({path: value for path, value in found.items() if value is not None})

    async def close(self) -> None:
        if self._store is not None:
            await finish_in_thread(self._store.close)


def _value(event: dict[str, msgspec.Raw], path: str) -> msgspec.Raw | None:
    """By its literal name first, then as steps into objects."""
    if path in event:
        return event[path]
    name, dot, rest = path.partition(".")
    if not dot or name not in event:
        return None
    inner: Any = event[name]
    return _value(_members(inner), rest) if bytes(inner).startswith(b"{") else None
