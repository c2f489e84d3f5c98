"""The filter `alarm`: what packs, ticks and operators do to it, and what it answers.

All it tells is a function of the packs and ticks that were read, and of what operators said by packs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, cast

from dpiped.alarms.board import Alarm
from dpiped.alarms.events import Lines, Single
from dpiped.alarms.judged import JudgedWindows
from dpiped.alarms.names import COUNT
from dpiped.alarms.teller import Finding
from dpiped.alarms.watch import Watched
from dpiped.panes.store import Change
from dpiped.plugin import PackDraft
from dpiped.view import PackView


class AlarmingFilter(JudgedWindows):
    """Everything about an alarm but its registration. Not task-safe; belongs to one runner."""

    def fields(self) -> Iterable[str]:
        return {*self.shape.fields(), *self._events.fields()}

    def fingerprint(self) -> str:
        config = self.config
        shaping = config.normalise, config.new, config.change is None, config.timezone if self._judge.history else ""
        return f"{super().fingerprint()}/{shaping}"

    def process(self, pack: PackView) -> Iterator[PackDraft]:
        self._board.now_ms = pack.head.accepted_ms
        wanted = self._events.wanted(pack)
        self._note("ignored", pack.count - wanted.count)
        if self.config.parser is not None:
            statistics = self._events.is_statistics(wanted)
            if any(statistics):
                yield from self._dropped(wanted.only(statistics))
                wanted = wanted.only([not one for one in statistics])
        if wanted.count:
            yield from self._take_in(wanted)
        yield from self._drain()

    def _dropped(self, pack: PackView) -> Iterator[PackDraft]:
        yield from self._tell_single(pack, self._events.dropped(pack, self.shape.keys(pack)))

    def _take_in(self, pack: PackView) -> Iterator[PackDraft]:
        keys = self.shape.keys(pack)
        stamps = cast("list[int]", pack.column("@timestamp"))
        if self._state.first_ms is None:
            self._state.first_tick, self._state.first_ms = self._board.ticks, min(stamps)
        if self._state.watch is not None:
            now = Watched(self._board.ticks, self._board.now_ms, pack.head.project)
            self._note("group_over_limit", self._state.watch.saw(dict.fromkeys(keys), now))
        if self.config.is_instant:
            yield from self._tell_single(pack, self._events.instant(pack, keys))
        if self.config.new is not None:
            found, over = self._events.unseen(pack, keys, learns=self._learns(max(stamps)))
            self._note("new_value_over_limit", over)
            yield from self._tell_single(pack, found)
        if self._judge.looks_at_windows:
            yield from self.take(pack, keys, self.shape.read(pack, self.context.telemetry, self.context.name))
            yield from self.close()

    def _learns(self, newest: int) -> bool:
        """Whether values of `new` are still only learnt."""
        state, board = self._state, self._board
        assert state.first_ms is not None
        passed = max((board.ticks - state.first_tick) * board.rules.tick_ms, newest - state.first_ms)
        return passed < self.config.learn_secs * 1000

    def _tell_single(self, pack: PackView, found: Iterable[Single]) -> Iterator[PackDraft]:
        lines = Lines(pack)
        for number, single in enumerate(found, 1):
            self._teller.found(single.finding, lambda place=single.place: lines.sample(place))  # type: ignore[misc]
            yield from self._pause(number)

    def tick(self, now_ms: int) -> Iterator[PackDraft]:
        self._board.now_ms = now_ms
        self._board.ticks += 1
        yield from super().tick(now_ms)
        if self._judge.looks_at_windows and self.config.early is not False:
            yield from self._judge_open()
        yield from self._judge_silence()
        yield from self._resolve(self._board.tick(self._closed))
        yield from self._drain()

    def finish(self) -> Iterator[PackDraft]:
        yield from super().finish()
        yield from self._drain()

    def _judge_silence(self) -> Iterator[PackDraft]:
        watch, board = self._state.watch, self._board
        if watch is None:
            return
        if not self.config.group_by and not len(watch.groups):  # waited for from the first tick on
            watch.saw([()], Watched(board.ticks, board.now_ms, ""))
        for number, (key, watched) in enumerate(watch.silent(board.ticks), 1):
            secs = (board.ticks - watched.tick) * board.rules.tick_ms / 1000
            values = {COUNT: 0, "silent_secs": int(secs) if secs.is_integer() else secs}
            span = watched.at_ms, board.now_ms
            severity = self.config.severity
            finding = Finding("silence", self.writer.group(key), values, *span, watched.project, severity)
            self._teller.found(finding, list)
            yield from self._pause(number)

    def _drain(self) -> Iterator[PackDraft]:
        self._in_hand = None
        yield from self._teller.drafts()
        self._note("alarm_over_limit", self._board.over_limit)
        self._note("alarm_silenced", self._board.held_back)
        self._board.over_limit = self._board.held_back = 0

    def command(self, said: dict[str, Any]) -> Iterable[PackDraft]:
        """`ack`, `unack`, `silence` (with `secs` from `at_ms` on), `unsilence` of a `fingerprint`."""
        if not self._board.command(said):
            self._note("command_without_alarm", 1)
        return ()

    def reset(self) -> None:
        super().reset()
        self._state.clear()

    def alarms(self, state: str | None = None) -> list[dict[str, Any]]:
        """All that are not over, and those that are kept for what an operator said (`resolved`); the worst first.
        `state`: only `firing` or only `resolved`. Changes nothing.
        """
        rows = [self._row(alarm) for alarm in self._board.alarms.values()]
        rows = [row for row in rows if state is None or row["state"] == state]
        return sorted(rows, key=lambda row: (-row["score"], row["fingerprint"]))

    def _row(self, alarm: Alarm) -> dict[str, Any]:
        return {
            "alarm": self.context.name,
            "fingerprint": alarm.fingerprint,
            "state": "resolved" if alarm.over else "firing",
            "severity": alarm.severity,
            "score": alarm.score,
            "title": alarm.title,
            "reason": alarm.reason,
            "group": json.loads(alarm.group),
            "since_ms": alarm.since_ms,
            "last_ms": alarm.last_ms,
            "values": json.loads(alarm.values),
            "acked": alarm.acked,
            "silenced_until_ms": alarm.silenced_until_ms,
        }

    def status(self) -> dict[str, object]:
        rows = self._board.alarms.values()
        return {
            **super().status(),
            "firing": sum(not alarm.over for alarm in rows),
            "acked": sum(alarm.acked for alarm in rows),
            "silenced": sum(alarm.silenced_until_ms > self._board.now_ms for alarm in rows),
        }

    def result(self) -> object:
        return {"windows": super().result(), "alarms": self.alarms()}

    def changes(self) -> Iterator[Change]:
        yield from super().changes()
        yield from self._state.changes()

    def restore(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        items = list(items)
        super().restore(items)
        self._state.restore(items)
