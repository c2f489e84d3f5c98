"""Output `behavior`: keeps what each user did, for funnels, retention and timelines.

Delivery: exactly once. An action is known by user, time and place in the journal, so that a repeat overwrites. Events
without user or action are skipped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, ClassVar

from pydantic import Field

from dpiped.api import (
    Batch,
    BehaviorTable,
    EventsDropped,
    FatalPluginError,
    KeyFields,
    LevelDbError,
    LostTrackError,
    Name,
    Noted,
    Output,
    PluginConfig,
    PluginContext,
    Reading,
    TemporaryError,
    TypedField,
    WrongTableError,
    finish_in_thread,
    parse_field,
    register,
)

DAY_SECS = 86_400
AT_ONCE_SECS = 0.006
"""So long packs are read before others may run."""
TIDY_SECS = 3_600.0
"""It is looked so often whether another day is too old."""
TIDY_AGAIN_SECS = 10.0
MOST_FRESH = 4
"""Times what is worth a fold: then writing waits for it."""


class BehaviorConfig(PluginConfig):
    table: Name = Field(examples=["players"])
    """Name of the table; its own folder below `data_dir/behavior/`. An output has one, and a table one output."""
    uid: TypedField = Field(examples=["_log_info.uid:int"])
    """Field that names the user, with `:int` or `:string`; numbers of up to 64 bits take less room."""
    action: TypedField = Field(examples=["action"])
    """Field that names what was done."""
    dims: KeyFields = Field(default=(), examples=[["country", "_log_info.level"]])
    """Fields that are kept with each action, as text: what funnels are divided by."""
    keep_days: Annotated[int, Field(gt=0, le=36_500)] | None = None
    """Days (UTC) that are kept, today included; without it everything is kept."""


@register("behavior")
class BehaviorOutput(Output[BehaviorConfig]):
    takes_metadata: ClassVar[bool] = False
    _table: BehaviorTable | None = None
    _tidying: asyncio.Task[None] | None = None

    def __init__(self, config: BehaviorConfig, context: PluginContext) -> None:
        super().__init__(config, context)
        self._reading = Reading(parse_field(config.uid), parse_field(config.action), config.dims)
        self._skipped: Counter[str] = Counter()
        self._tidied_day = 0
        self._full = asyncio.Event()

    @classmethod
    def exclusive(cls, config: BehaviorConfig) -> str:
        return f"table {config.table}"

    @classmethod
    def table_name(cls, config: BehaviorConfig) -> str:
        """For the API of behavior."""
        return config.table

    def behavior(self) -> BehaviorTable:
        """For the API of behavior; only while it is open."""
        assert self._table is not None, "asked before it was open"
        return self._table

    def fields(self) -> Sequence[str]:
        return self._reading.fields

    async def open(self, saved: bytes | None) -> None:
        folder = self.context.data_dir
        if folder is None:
            raise FatalPluginError("output behavior needs a data_dir")
        texts = self._reading.uid.kind == "string"
        name, telemetry = self.config.table, self.context.telemetry
        try:
            self._table = await finish_in_thread(
                BehaviorTable, folder, name, telemetry, texts=texts, dims=self.config.dims
            )
        except WrongTableError as exc:
            raise FatalPluginError(str(exc)) from exc
        except (LevelDbError, OSError) as exc:
            raise TemporaryError(f"table {self.config.table}: {exc}") from exc
        self._noted = Noted(self.context.telemetry, self.context.name)
        self._tidying = asyncio.create_task(self._tidy_now_and_then(), name=f"behavior {self.config.table}")

    async def write(self, batch: Batch) -> None:
        table = self.behavior()
        if self._tidying is not None and self._tidying.done():
            raise LostTrackError("sorting in the background broke off") from self._tidying.exception()
        packs, skipped, since = [], Counter[str](), time.monotonic()
        for view in batch.views:
            rows, why = self._reading.rows(view)
            packs.append((view.head.epoch, view.head.offset, rows))
            skipped += why
            if time.monotonic() - since > AT_ONCE_SECS:
                await asyncio.sleep(0)
                since = time.monotonic()
        try:
            await finish_in_thread(table.add, packs)
            if table.fresh_rows >= table.fold_rows * MOST_FRESH:
                await finish_in_thread(table.fold)
        except LevelDbError as exc:
            raise TemporaryError(str(exc)) from exc
        self._skipped += skipped
        self._noted.tell(self._skipped)
        if table.wants_fold:
            self._full.set()

    # ---- in the background -----------------------------------------------------------------------------------------
    async def _tidy_now_and_then(self) -> None:
        table = self.behavior()
        while True:
            self._full.clear()
            try:
                if self._is_new_day() or table.wants_fold:
                    await self._tidy(table)
            except LevelDbError as exc:  # should it last, `write` meets it too
                said = "actions are not sorted and dropped now, it is tried again"
                self.context.telemetry.say(said, plugin=self.context.name, detail=str(exc), level=logging.WARNING)
                await asyncio.sleep(TIDY_AGAIN_SECS)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(TIDY_SECS):
                    await self._full.wait()

    def _is_new_day(self) -> bool:
        return self.config.keep_days is not None and self._today() != self._tidied_day

    @staticmethod
    def _today() -> int:
        return int(time.time()) // DAY_SECS

    async def _tidy(self, table: BehaviorTable) -> None:
        today = self._today()
        await finish_in_thread(table.fold)
        if self.config.keep_days is not None:
            gone = await finish_in_thread(table.expire, today - self.config.keep_days + 1)
            self._tidied_day = today
            if gone:
                dropped = EventsDropped(plugin=self.context.name, amount=gone, reason="keep_days")
                self.context.telemetry.emit(dropped)

    # ---- end -------------------------------------------------------------------------------------------------------
    def status(self) -> dict[str, Any]:
        table = self._table
        return {"table": self.config.table, **({"fresh_rows": table.fresh_rows} if table is not None else {})}

    async def close(self) -> None:
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.wait((self._tidying,))
        if self._table is not None:
            await finish_in_thread(self._table.close)
