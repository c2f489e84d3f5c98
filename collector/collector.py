"""Collector: wires feeds, lanes, sender and checkpoint; starts, watches and stops them.

feeds (tail, syslog, stdin) --items--> lanes (one batch in flight each) --POST--> daemon
                                              |
                                         checkpoint.json
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from collector.checkpoint import Checkpoint
from collector.config import CollectorConfig, Config, Input, StdinInput, SyslogInput, TailInput
from collector.feed import Feed
from collector.item import Item
from collector.lane import Lane, LaneOptions
from collector.receivers import StdinFeed, SyslogFeed
from collector.sender import Pauses, Sender
from collector.status import StatusServer
from collector.tail_feed import TailFeed
from dpiped.config.base import split_listen
from dpiped.errors import DpipeError, first_error
from dpiped.lock import DataDir
from dpiped.patience import done_before, patiently, persist
from dpiped.sources.noted import Noted
from dpiped.telemetry import Telemetry
from dpiped.tls import ClientTls, TlsError

SAVE_EVERY_SECS = 1.0
FeedMaker = Callable[[Checkpoint, str], list[Feed]]


class Collector:
    """One collector. `run` does everything; `stop` may be called at any time on the event loop.

    Args:
        stored: False: no data_dir, no status address; what is not delivered at the end is lost (`send`).
        make_feeds: other feeds than those of the config.
    """

    def __init__(
        self,
        config: Config,
        telemetry: Telemetry,
        *,
        stored: bool = True,
        make_feeds: FeedMaker | None = None,
        pauses: Callable[[], Pauses] = Pauses,
    ) -> None:
        self.config = config
        self.telemetry = telemetry
        self.feeds: list[Feed] = []
        self.lanes: list[Lane] = []
        self.status_address = ""
        self.started_at = time.time()
        self._stored = stored
        self._make_feeds = make_feeds
        self._pauses = pauses
        self._folder = Path(config.collector.data_dir)
        self._data_dir = DataDir(self._folder, telemetry) if stored else None
        self._checkpoint = Checkpoint(self._folder / "checkpoint.json" if stored else None, telemetry)
        self._sender = Sender(_token(config.collector), config.collector.request_timeout_secs, _tls(config.collector))
        self._status = StatusServer(self)
        self._stopping = asyncio.Event()
        self._given_up = False
        self._saved = b""
        self._noted: dict[str, Noted] = {}
        self._pins: dict[tuple[str, int], int] = {}
        """(input, number) -> lane, for what was under way when the collector ended."""

    def stop(self, *, at_once: bool = False) -> None:
        """Ends `run`: what is under way gets `drain_timeout_secs`, or no time at all."""
        self._given_up = self._given_up or at_once
        self._stopping.set()

    async def run(self) -> bool:
        """Until `stop`, or until all inputs have ended and everything is acknowledged. True: nothing is left
        undelivered.

        Raises:
            LockedError: data_dir or the stream is used by another.
            DpipeError, OSError: it cannot work, with the reason.
        """
        try:
            if not await self._opened():
                return False
            await self._work()
            return all(lane.idle for lane in self.lanes)
        except ExceptionGroup as group:
            raise first_error(group) from group
        finally:
            await self._close()

    async def _opened(self) -> bool:
        """Opens everything, and waits for a disk that is full or fails; False when it is stopped before."""
        return await done_before(self._stopping, self._open())

    async def _open(self) -> None:
        settings = self.config.collector
        if self._data_dir is not None:
            await patiently("data_dir", self._data_dir.lock, self.telemetry)
        await patiently("checkpoint", partial(self._checkpoint.load, settings.parallel), self.telemetry)
        self._pin()
        host = settings.host or socket.gethostname()
        self.feeds = (
            self._make_feeds(self._checkpoint, host)
            if self._make_feeds
            else [self._feed(found, host) for found in self.config.inputs if not found.disabled]
        )
        for feed in self.feeds:
            try:
                await persist(feed.name, feed.open, self.telemetry)
            except OSError as exc:
                raise DpipeError(f"input {feed.name}: {exc.strerror or exc}{_hint(exc)}") from exc
        await self._checkpoint.save()
        options = self._lane_options()
        self.lanes = [
            Lane(stream, self._checkpoint, self._sender, options, self.telemetry, self._pauses)
            for stream in self._checkpoint.streams
        ]
        if self._stored:
            try:
                self.status_address = await self._status.open(*split_listen(settings.status), settings.status_tls)
            except OSError as exc:
                raise DpipeError(f"status {settings.status}: {exc.strerror or exc}{_hint(exc)}") from exc
            self.telemetry.say(
                "collector started",
                detail=f"status on {self.status_address}, "
                f"{len(self.feeds)} inputs, sends to {', '.join(settings.endpoints)}",
            )

    def _feed(self, config: Input, host: str) -> Feed:
        settings = self.config.collector
        spool = self._folder / "spool" if self._stored else None
        match config:
            case TailInput():
                return TailFeed(config, self._checkpoint, host, settings.batch_bytes)
            case SyslogInput():
                return SyslogFeed(config, spool, self._checkpoint, host, settings.spool_max_bytes, self.telemetry)
            case StdinInput():
                return StdinFeed(config, spool, self._checkpoint, host, settings.spool_max_bytes, self.telemetry)

    def _lane_options(self) -> LaneOptions:
        settings = self.config.collector
        return LaneOptions(settings.endpoints, settings.batch_bytes, settings.batch_secs, settings.failover_after_secs)

    async def put(self, number: int, item: Item) -> None:
        """Feeds hand items over here; a number keeps to its lane, or marks would go back when an older batch is settled
        later.

        What was under way at the start stays with its lane too, also if `parallel` was another number then.
        """
        lane = self._pins.get((item.range.input, number), number % self.config.collector.parallel)
        await self.lanes[lane].put(item)

    def _pin(self) -> None:
        for number, stream in enumerate(self._checkpoint.streams):
            for what in stream.batch.ranges if stream.batch is not None else ():
                self._pins[what.input, what.mark.id if what.mark is not None else 0] = number

    # ---- work ----------------------------------------------------------------------------------------------------
    async def _work(self) -> None:
        by_name = {feed.name: feed for feed in self.feeds}
        lanes_stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            lanes = [group.create_task(lane.run(by_name, lanes_stop), name="lane") for lane in self.lanes]
            tender = group.create_task(self._tend(), name="tender")
            reading = group.create_task(self._read(), name="feeds")
            stopping = group.create_task(self._stopping.wait(), name="stop")
            await asyncio.wait([reading, stopping], return_when=asyncio.FIRST_COMPLETED)
            limit = None if not self._stopping.is_set() else self.config.collector.drain_timeout_secs
            reading.cancel()
            await asyncio.wait([reading])
            await self._drain(limit)
            lanes_stop.set()
            for task in (*lanes, tender, stopping):
                task.cancel()

    async def _read(self) -> None:
        """All feeds, until the last one has ended."""
        async with asyncio.TaskGroup() as group:
            for feed in self.feeds:
                group.create_task(feed.run(self.put), name=feed.name)

    async def _drain(self, limit: float | None) -> None:
        """What was handed over is delivered, for `limit` seconds at most, or as long as nobody says stop."""
        for lane in self.lanes:
            lane.hurry()
        deadline = time.monotonic() + limit if limit is not None else None
        try:
            async with asyncio.timeout(0 if self._given_up else limit):
                for feed in self.feeds:
                    await feed.drain(self.put)
                while not self._given_up and not all(lane.idle for lane in self.lanes):
                    if deadline is None and self._stopping.is_set():
                        deadline = time.monotonic() + self.config.collector.drain_timeout_secs
                    if deadline is not None and time.monotonic() > deadline:
                        break
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pass
        if not self._given_up and not all(lane.idle for lane in self.lanes):
            self.telemetry.say(
                "stopped before everything was acknowledged",
                level=logging.WARNING,
                detail="it is sent after the next start" if self._stored else "it is lost",
            )

    async def _tend(self) -> None:
        """Saves what was settled since, so that a crash in a quiet hour repeats little; housekeeping of the feeds."""
        while True:
            await asyncio.sleep(SAVE_EVERY_SECS)
            now = self._checkpoint.encode()
            if now != self._saved:
                await self._checkpoint.save()
                self._saved = now
            for feed in self.feeds:
                await feed.tend()
            self._tell_counts()
            self.telemetry.sum_up()

    def _tell_counts(self) -> None:
        for feed in self.feeds:
            noted = self._noted.setdefault(feed.name, Noted(self.telemetry, feed.name))
            noted.tell(feed.counts())
            for text, found in feed.found().items():
                noted.tell_found(text, found)

    async def _close(self) -> None:
        await self._status.close()
        self._tell_counts()
        for feed in self.feeds:
            await feed.close()
        await self._sender.close()
        if self._data_dir is not None:
            try:
                if self.lanes:
                    await self._checkpoint.save_once()
            except OSError as exc:
                detail = f"{exc.strerror or exc}; what was settled since is sent again after the next start"
                self.telemetry.say("the checkpoint is not saved at the stop", detail=detail, level=logging.ERROR)
            finally:
                self._data_dir.unlock()

    # ---- from outside --------------------------------------------------------------------------------------------
    def reload(self, config: Config) -> None:
        """Takes over token, endpoints and `tls`, and all certificates as they are now; other changes need a restart,
        which is said.
        """
        try:
            self._sender.set_tls(_tls(config.collector))
            old_stay = [name for name, renew in self._renewals() if not renew()]
        except TlsError as exc:
            self.telemetry.say("the old config stays", detail=str(exc), level=logging.ERROR)
            return
        if old_stay:
            self.telemetry.say(
                "an authority was taken out of client_ca: that takes effect at the next start",
                detail=", ".join(old_stay),
                level=logging.WARNING,
            )
        old, self.config = (
            self.config,
            Config(
                self.config.collector.model_copy(
                    update={
                        "token": config.collector.token,
                        "endpoints": config.collector.endpoints,
                        "tls": config.collector.tls,
                    }
                ),
                self.config.inputs,
            ),
        )
        self._sender.set_token(_token(config.collector))
        for lane in self.lanes:
            lane.set_options(self._lane_options())
        same = old.inputs == config.inputs and self.config.collector == config.collector
        done = "" if same else "token, endpoints, tls; other changes need a restart"
        self.telemetry.say("config reloaded", detail=done)

    def _renewals(self) -> list[tuple[str, Callable[[], bool]]]:
        """What listens with a certificate: (name, how to take its files again)."""
        feeds = [(feed.name, feed.renew) for feed in self.feeds if isinstance(feed, SyslogFeed)]
        return [("status", self._status.renew), *feeds]

    def report(self) -> dict[str, object]:
        """What /status answers, and USR1 writes to the log."""
        return {
            "healthy": not self.trouble,
            "losses": list(self.telemetry.losses),
            "uptime_secs": round(time.time() - self.started_at, 1),
            "inputs": [
                {"name": feed.name, "bytes": feed.bytes, "counts": feed.counts(), **feed.status()}
                for feed in self.feeds
            ],
            "streams": [
                {
                    "id": lane.stream.id,
                    "seq": lane.stream.seq,
                    "in_flight": lane.stream.batch is not None,
                    "trouble": lane.trouble,
                    **lane.counts,
                }
                for lane in self.lanes
            ],
        }

    @property
    def trouble(self) -> str:
        """Why nothing goes out now; empty when all is well."""
        return self._checkpoint.trouble or next((lane.trouble for lane in self.lanes if lane.trouble), "")

    def dump(self) -> None:
        """Writes the report to the log."""
        self.telemetry.say("state", detail=json.dumps(self.report()))


def _token(settings: CollectorConfig) -> str:
    return settings.token.get_secret_value() if settings.token is not None else ""


def _tls(settings: CollectorConfig) -> ClientTls | None:
    """None where nothing is https: the authorities of the system cost a megabyte."""
    return settings.tls if any(endpoint.startswith("https:") for endpoint in settings.endpoints) else None


def _hint(error: OSError) -> str:
    return ": another process listens there, choose another address" if error.errno == 98 else ""
