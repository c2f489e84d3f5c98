"""The filter `alarm`: what packs, ticks and operators do to it, and what it answers.

All it tells is a function of the packs and ticks that were read, and of what operators said by packs.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator
from typing import Any, cast

from dpiped.alarms.board import Alarm
from dpiped.alarms.events import InHand, Single
from dpiped.alarms.judged import JudgedWindows
from dpiped.alarms.names import COUNT
from dpiped.alarms.slices import ordered
from dpiped.alarms.store import COUNTS_VERSION
from dpiped.alarms.teller import Finding
from dpiped.alarms.watch import Watched
from dpiped.panes.shape import Key
from dpiped.panes.store import Change
from dpiped.plugin import PAUSE, PackDraft
from dpiped.view import PackView


class AlarmingFilter(JudgedWindows):
    """Everything about an alarm but its registration. Not task-safe; belongs to one runner."""

    def fields(self) -> Iterable[str]:
        return {*self.shape.fields(), *self._events.fields()}

    def fingerprint(self) -> str:
        config = self.config
        history = f"{config.timezone}/{COUNTS_VERSION}" if self._judge.history else ""
        shaping = config.normalise, config.new, config.change is None, history
        return f"{super().fingerprint()}/{shaping}"

    def process(self, pack: PackView) -> Iterator[PackDraft]:
        self._board.now_ms = pack.head.accepted_ms
        wanted = yield from self._events.wanted(pack)
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
        in_hand = InHand(pack)
        keys = yield from self.shape.keys_slowly(pack, in_hand.parts)
        yield from self._tell_single(in_hand, self._events.dropped(pack, keys))

    def _take_in(self, pack: PackView) -> Iterator[PackDraft]:
        in_hand = InHand(pack)
        keys = yield from self.shape.keys_slowly(pack, in_hand.parts)
        stamps = cast("list[int]", pack.column("@timestamp"))
        if self._state.first_ms is None:
            self._state.first_tick, self._state.first_ms = self._board.ticks, min(stamps)
        if self._state.watch is not None:
            now = Watched(self._board.ticks, self._board.now_ms, pack.head.project)
            self._note("group_over_limit", self._state.watch.saw(dict.fromkeys(keys), now))
            yield PAUSE
        if self.config.is_instant:
            yield from self._tell_single(in_hand, self._events.instant(pack, keys))
        if self.config.new is not None:
            yield from self._tell_single(in_hand, self._events.unseen(pack, keys, learns=self._learns(max(stamps))))
        if self._judge.looks_at_windows:
            columns = yield from self._columns(in_hand.parts)
            yield from self.take(pack, keys, columns)
            yield PAUSE
            yield from self.fill(in_hand)
            yield from self.close()

    def _columns(self, parts: Iterable[PackView]) -> Generator[PackDraft, None, list[list[Any]]]:
        """What the metrics read, bit by bit."""
        columns: list[list[Any]] = [[] for _ in self.shape.columns]
        for part in parts:
            read = self.shape.read(part, self.context.telemetry, self.context.name)
            for column, some in zip(columns, read, strict=True):
                column += some
            yield PAUSE
        return columns

    def _learns(self, newest: int) -> bool:
        """Whether values of `new` are still only learnt."""
        state, board = self._state, self._board
        assert state.first_ms is not None
        passed = max((board.ticks - state.first_tick) * board.rules.tick_ms, newest - state.first_ms)
        return passed < self.config.learn_secs * 1000

    def _tell_single(self, in_hand: InHand, found: Iterable[Single | None]) -> Iterator[PackDraft]:
        def tell(single: Single) -> None:
            self._teller.found(single.finding, lambda: in_hand.sample(single.place))

        return self._tell(found, tell)

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
        yield from self._tell(watch.silent(board.ticks), lambda found: self._tell_silence(*found))

    def _tell_silence(self, key: Key, watched: Watched) -> None:
        board = self._board
        secs = (board.ticks - watched.tick) * board.rules.tick_ms / 1000
        values = {COUNT: 0, "silent_secs": int(secs) if secs.is_integer() else secs}
        span = watched.at_ms, board.now_ms
        group, severity = self.writer.group(key), self.config.severity
        self._teller.found(Finding("silence", group, values, *span, watched.project, severity), list)

    def _drain(self) -> Iterator[PackDraft]:
        yield from self.let_go()
        yield from self._teller.drafts()
        self._note("new_value_over_limit", self._events.over_limit)
        self._note("alarm_over_limit", self._board.over_limit)
        self._note("alarm_silenced", self._board.held_back)
        self._board.over_limit = self._board.held_back = self._events.over_limit = 0

    def command(self, said: dict[str, Any]) -> Iterable[PackDraft]:
        """`ack`, `unack`, `silence` (with `secs` from `at_ms` on), `unsilence` of a `fingerprint`."""
        if not self._board.command(said):
            self._note("command_without_alarm", 1)
        return ()

    def reset(self) -> None:
        super().reset()
        self._state.clear()

    def alarms(self, state: str | None = None, most: int | None = None) -> Iterator[dict[str, Any] | PackDraft]:
        """All that are not over, and those that are kept for what an operator said (`resolved`); the worst first, and
        PAUSE between them. `state`: only `firing` or only `resolved`; `most`: no more than so many. Changes nothing.
        """
        found = ordered(self._board.alarms.values(), lambda alarm: state is None or _state_of(alarm) == state, _badness)
        for alarm in found:
            if alarm is None:
                yield PAUSE
                continue
            yield self._row(alarm)
            most = None if most is None else most - 1
            if most == 0:
                return

    def knows(self, fingerprint: str) -> bool:
        """Whether there is such an alarm among them."""
        return fingerprint in self._board.alarms

    def _row(self, alarm: Alarm) -> dict[str, Any]:
        return {
            "alarm": self.context.name,
            "fingerprint": alarm.fingerprint,
            "state": _state_of(alarm),
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
        return {"windows": super().result(), "alarms": [row for row in self.alarms() if row is not PAUSE]}

    def changes(self) -> Iterator[Change]:
        yield from super().changes()
        yield from self._state.changes()

    def restore(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        items = list(items)
        super().restore(items)
        self._state.restore(items)


def _state_of(alarm: Alarm) -> str:
    return "resolved" if alarm.over else "firing"


def _badness(alarm: Alarm) -> tuple[int | float, int, str]:
    """Sorts the worst first."""
    return -alarm.score, -alarm.last_ms, alarm.fingerprint
