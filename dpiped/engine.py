"""Engine: wires journal, router and runners by the config, starts them, drains and stops them in order.

Start: lock, state, journal, runners, then inputs, then admin. Stop: inputs, then filters and outputs drain, cursors and
snapshots are saved, then the journal ends. When all inputs have ended by themselves (batch mode) the engine closes open
windows, drains without a limit of time and stops.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from dpiped.config.schema import DaemonConfig, InputOptions, PluginTable
from dpiped.control import control_lot
from dpiped.deadletter import DeadLetters
from dpiped.errors import FatalPluginError, UnavailableError
from dpiped.filter_runner import FilterRunner, StatefulFilterRunner
from dpiped.input_runner import InputRunner
from dpiped.intake import Intake
from dpiped.janitor import Janitor
from dpiped.journal.append import Draft, Lot
from dpiped.journal.base import Storage
from dpiped.journal.disk import DiskStorage, segment_bytes_for
from dpiped.journal.journal import Journal
from dpiped.journal.memory import MemoryStorage
from dpiped.journal.state import PositionsDatabase, State
from dpiped.leveldb import BEGUN_ANEW, LevelDb, LevelDbError
from dpiped.lock import DataDir
from dpiped.output_runner import OutputRunner
from dpiped.pack import TICK_IDENT, Head, PackPool
from dpiped.patience import done_before, is_unreadable, patiently, persist
from dpiped.plugin import StatefulFilter
from dpiped.project_log import ProjectLogs
from dpiped.quarantine import Quarantine
from dpiped.reload import apply_config
from dpiped.retry import Retrier
from dpiped.router import Router
from dpiped.runner import Keep, Runner, Surroundings
from dpiped.self_report import SelfReport
from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import DataLost
from dpiped.tls import TlsError
from dpiped.watchdog import Watch, load_hang
from dpiped.web.admin import AdminServer

DRAIN_POLL_SECS = 0.02
GIB = 1 << 30
UNREADABLE_TRIES = 6
"""So often a database on a disk that fails is tried before it is moved aside."""


class Engine:
    """One daemon. `run` does all of it; `started` is set when inputs accept."""

    def __init__(
        self, config: DaemonConfig, telemetry: Telemetry | None = None, config_path: Path | None = None
    ) -> None:
        self.config = self.first_config = config
        self.config_path = config_path
        """What a reload reads."""
        self.telemetry = telemetry or Telemetry()
        self.started = asyncio.Event()
        self.stopping = asyncio.Event()
        self.started_at = time.time()
        self.pool = PackPool(config.engine.cache_bytes)
        self.router = Router()
        self.watch = Watch(config.engine.hang_secs)
        self._data_dir = DataDir(Path(config.engine.data_dir), self.telemetry)
        self._quarantine = Quarantine(self._data_dir.path, self.telemetry)
        self.inputs: list[InputRunner] = []
        self.runners: list[Runner[Any]] = []
        self.journal: Journal
        self.around: Surroundings
        self.janitor: Janitor
        self.retrier: Retrier
        self.admin: AdminServer | None = None
        self.changing = asyncio.Lock()
        """Held while the set of inputs and runners changes, or stops."""
        self._all_ended = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """Of inputs and runners, by name."""
        self._group: asyncio.TaskGroup
        self._writer: asyncio.Task[None]

    # ---- life ------------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Until `stop` is called or all inputs have ended. Raises LockedError, FatalPluginError, OSError at start."""
        async with AsyncExitStack() as opened:
            opened.callback(self._data_dir.unlock)
            if not await self._opened(opened):
                return
            self.admin = await self._serve()
            opened.push_async_callback(self.admin.close)
            await self._work()

    def stop(self) -> None:
        """Asks for a stop; `run` returns when everything is drained and saved."""
        self.stopping.set()

    @property
    def durable(self) -> bool:
        return self.config.journal.type == "disk"

    async def _opened(self, opened: AsyncExitStack) -> bool:
        """Opens everything, and waits for a disk that is full or fails; False when it is stopped before."""
        return await done_before(self.stopping, self._open(opened))

    async def _open(self, opened: AsyncExitStack) -> None:
        """What `opened` is told is closed in the reverse order, also when something further on fails."""
        folder = self._data_dir.path
        await patiently("data_dir", self._data_dir.lock, self.telemetry)
        self.watch.hung = load_hang(folder, self._quarantine)
        disk = await self._open_database("state")
        state = State(disk if self.durable else PositionsDatabase(disk), self.telemetry, disk.became)
        opened.push_async_callback(state.close)
        await patiently("state", state.open, self.telemetry)
        limits = self.config.deadletter
        database = await self._open_database("deadletter")
        if database.mended:
            amount = max(1, database.dropped)
            self.telemetry.emit(DataLost(place="deadletter", amount=amount, reason=database.became))
        letters = DeadLetters(database, self.telemetry, limits.max_bytes, limits.keep_secs)
        opened.callback(letters.close)
        await patiently("deadletter", letters.open, self.telemetry)
        max_bytes = self.config.journal.max_bytes
        storage: Storage = (
            DiskStorage(folder / "journal", segment_bytes_for(max_bytes), self._quarantine)
            if self.durable
            else MemoryStorage(state.highest)
        )
        self.journal = Journal(
            storage,
            self.pool,
            self.telemetry,
            max_bytes=self.config.journal.max_bytes,
            min_free_bytes=self._min_free_bytes(folder),
            on_commit=self.router.commit,
            readers=lambda: self.router.readers,
        )
        opened.push_async_callback(self.journal.close)
        await self.journal.open(at_least=state.highest)
        await patiently("state", partial(self._compare_begin, storage, state), self.telemetry)
        self.around = Surroundings(
            self.journal,
            self.router,
            state,
            letters,
            self.telemetry,
            folder,
            self.config.engine.snapshot_interval_secs,
            self.config.engine.tick_secs,
            Keep(self.config.journal.keep_secs, self.config.journal.keep_bytes),
            self.watch,
            ProjectLogs(self.telemetry),
        )
        self.use_projects()
        opened.callback(self.around.project_logs.close)
        self.retrier = Retrier(self.around, self._intake_of, self._runner_names, self.config.projects[0].name)
        self._writer = asyncio.create_task(self.journal.run(), name="journal writer")
        opened.push_async_callback(self._end_writer)
        self._build()
        for runner in self.runners:
            await runner.attach()
        self.janitor = Janitor(self.around, self.runners)
        await persist("state", self.janitor.forget, self.telemetry)
        await persist("state", state.complete, self.telemetry)

    def use_projects(self) -> None:
        """What the config says of projects, for those who look it up."""
        projects = self.config.projects
        self.around.project_logs.use(projects)
        self.around.prefixes.clear()
        self.around.prefixes.update({project.name: project.index_prefix for project in projects})

    def _compare_begin(self, storage: Storage, state: State) -> None:
        """Segments that are missing before the oldest one cannot be seen in the others. Blocking."""
        begin = storage.begin()
        if state.freed is not None and begin > state.freed:
            reason = f"up to offset {begin} everything is missing; given back was what is below {state.freed}"
            self.telemetry.emit(DataLost(place="journal", amount=begin - state.freed, reason=reason))
        state.note_freed(begin)
        storage.on_free = state.note_freed

    async def _open_database(self, name: str) -> LevelDb:
        """The LevelDB folder of this name; what cannot be read from it is moved aside. The caller tells of it."""
        path = self._data_dir.path / name
        if path.exists() and not path.is_dir():
            self._quarantine.take(path, "no folder")
        make = partial(LevelDb, path, quarantine=self._quarantine)
        try:
            found = await patiently(name, make, self.telemetry, UNREADABLE_TRIES)
        except LevelDbError as exc:
            if not is_unreadable(exc) or not self._quarantine.take(path, f"the disk cannot read it: {exc}"):
                raise
            found = await patiently(name, make, self.telemetry)
            found.mended += 1
            found.became = BEGUN_ANEW
        return found

    def _min_free_bytes(self, folder: Path) -> int:
        if not self.durable:
            return 0
        configured = self.config.journal.min_free_bytes
        if configured is not None:
            return configured
        return min(GIB, shutil.disk_usage(folder).total // 20)

    def _build(self) -> None:
        config = self.config
        self.inputs += [self.build_input(table, config) for table in config.inputs]
        self.runners += [self.build_runner(table) for table in (*config.filters, *config.outputs)]
        if not self.inputs:
            self._all_ended.set()

    def build_input(self, table: PluginTable[InputOptions], config: DaemonConfig) -> InputRunner:
        """The runner of an input, not yet open."""
        return InputRunner(table, self.around, config.tokens_of_projects(), durable=self.durable)

    def build_runner(self, table: PluginTable[Any]) -> Runner[Any]:
        """The runner of a filter or output, not yet attached."""
        if table.kind == "output":
            return OutputRunner(table, self.around)
        stateful = issubclass(table.plugin_class, StatefulFilter)
        return StatefulFilterRunner(table, self.around) if stateful else FilterRunner(table, self.around)

    def _intake_of(self, name: str) -> Intake | None:
        return next((source.intake for source in self.inputs if source.name == name), None)

    def _runner_names(self) -> list[str]:
        return [runner.name for runner in self.runners]

    async def _serve(self) -> AdminServer:
        admin = AdminServer(self)
        try:
            await admin.start()
        except (OSError, TlsError) as exc:
            await admin.close()
            reason = getattr(exc, "strerror", None) or exc
            raise FatalPluginError(f"[engine] admin = {self.config.engine.admin!r}: {reason}") from exc
        return admin

    async def _work(self) -> None:
        """Runs everything under one TaskGroup, so that no task is left alone."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            services = [group.create_task(work(), name=name) for name, work in self._services().items()]
            for runner in self.runners:
                self.start_runner(runner)
            await self._open_inputs()
            for source in self.inputs:
                self.start_input(source)
            self._say_started()
            stop = group.create_task(self.stopping.wait(), name="stop")
            ended = group.create_task(self._all_ended.wait(), name="inputs ended")
            await asyncio.wait((stop, ended), return_when=asyncio.FIRST_COMPLETED)
            batch_mode = not self.stopping.is_set()
            async with self.changing:
                for source in self.inputs:
                    await self.end_task(source)
                if batch_mode:  # as long as it takes, until somebody asks for a stop
                    batch_mode = await done_before(self.stopping, self._drain(None, finish=True))
                if not batch_mode:
                    await self._drain(self.config.engine.drain_timeout_secs, finish=False)
            for task in (*services, *self._tasks.values(), stop, ended):
                task.cancel()
        try:
            await self.janitor.save_positions()
        except LevelDbError as exc:
            self.telemetry.say("positions of inputs not saved at the stop", detail=str(exc), level=logging.WARNING)

    def _services(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What runs beside inputs and runners, by name. A replay has its own idea of it."""
        return {
            "janitor": self.janitor.run,
            "writer watch": self._watch_writer,
            "retry": self.retrier.run,
            "self report": SelfReport(self.journal, self.telemetry).run,
            "ticker": self._tick,
        }

    def now_ms(self) -> int:
        """The time that the engine's own packs carry."""
        return int(time.time() * 1000)

    async def _open_inputs(self) -> None:
        """What fails here for good keeps the daemon from starting."""
        for runner in self.inputs:
            try:
                await runner.open()
            except OSError as exc:
                place = f"input {runner.name!r} ({runner.table.type})"
                raise FatalPluginError(f"{place}: {exc.strerror or exc}") from exc

    def _say_started(self) -> None:
        self.started.set()
        places = [f"{runner.name} {runner.report().get('address', '')}".strip() for runner in self.inputs]
        admin = f"admin {self.admin.address}" if self.admin is not None else ""
        self.telemetry.say("started", detail=", ".join(filter(None, [*places, admin])))

    # ---- tasks of inputs and runners ---------------------------------------------------------------------------------
    def start_runner(self, runner: Runner[Any]) -> None:
        """Starts its task; it has been attached."""
        self._tasks[runner.name] = self._group.create_task(runner.run(), name=f"runner {runner.name}")

    def start_input(self, source: InputRunner) -> None:
        """Starts its task; when the last of all inputs has ended, batch mode begins."""
        self._tasks[source.name] = self._group.create_task(self._run_input(source), name=f"input {source.name}")

    async def _run_input(self, source: InputRunner) -> None:
        await source.run()
        if all(other.ended for other in self.inputs):
            self._all_ended.set()

    async def end_task(self, runner: InputRunner | Runner[Any]) -> None:
        """Cancels the task and waits until it has closed its plugin and saved its cursor."""
        task = self._tasks.pop(runner.name, None)
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def reload(self, config: DaemonConfig) -> list[str]:
        """Makes the running daemon what a checked config says; what changed, a line each. See reload.py."""
        async with self.changing:
            if self.stopping.is_set() or self._all_ended.is_set():
                return []
            return await apply_config(self, config)

    async def _tick(self) -> None:
        """Appends the time each `tick_secs`; windows and alarms know no other clock."""
        while True:
            await asyncio.sleep(self.config.engine.tick_secs)
            if not any(isinstance(runner, StatefulFilterRunner) for runner in self.runners):
                continue
            head = Head(ident=TICK_IDENT, accepted_ms=self.now_ms())
            try:
                await self.journal.append("~ticker", "input", [Lot([Draft(head, b"")])])
            except UnavailableError:
                continue  # a full journal has no time either; the next tick tells it

    # ---- drain -----------------------------------------------------------------------------------------------------
    async def _drain(self, timeout_secs: float | None, *, finish: bool) -> None:
        """Waits until every runner has passed everything; in batch mode windows are closed first, upstream before
        down.
        """
        for runner in self.runners:
            if isinstance(runner, OutputRunner):
                runner.hurry()
        try:
            async with asyncio.timeout(timeout_secs):
                await self._until_idle()
                if finish:
                    for runner in self.runners:
                        if isinstance(runner, StatefulFilterRunner):
                            await self._finish(runner)
                            await self._until_idle()
        except TimeoutError:
            behind = [runner.name for runner in self.runners if runner.reader.behind]
            self.telemetry.say(
                "stopping before everything was delivered; the rest goes after the next start", detail=", ".join(behind)
            )

    async def _until_idle(self) -> None:
        """Runners that stand as failed are not waited for."""
        while any(runner.reader.behind for runner in self.runners if runner.status not in ("disabled", "failed")):  # noqa: ASYNC110 - many runners, and none has this event
            await asyncio.sleep(DRAIN_POLL_SECS)

    async def _finish(self, runner: StatefulFilterRunner) -> None:
        while True:
            try:
                await self.control(runner, {"control": "finish"})
            except UnavailableError as exc:  # the disk is full or fails: batch mode waits for it
                await asyncio.sleep(exc.retry_after_secs)
            else:
                return

    async def control(self, runner: Runner[Any], said: dict[str, Any]) -> int:
        """Tells one runner something by a control pack; returns an offset behind it. Raises UnavailableError."""
        await self.journal.append("~engine", "control", [control_lot(runner.name, self.now_ms(), said)])
        return self.journal.next

    async def _end_writer(self) -> None:
        self._writer.cancel()
        await asyncio.wait((self._writer,))

    async def _watch_writer(self) -> None:
        """The writer outlives all other tasks; should it fail, the daemon ends with its error instead of standing
        still.
        """
        await asyncio.wait((self._writer,))
        self._writer.result()

    def report(self) -> list[dict[str, object]]:
        """Every input and runner, for `/admin/stat` and the dump of USR1."""
        return [*(runner.report() for runner in self.inputs), *(runner.report() for runner in self.runners)]
