"""Nothing of an alarm holds the event loop for long: however much comes at once, only so much is done between two
places where others may run. Counted is what is done, never the time it takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from dpiped.alarms import events, store, watch
from dpiped.alarms.board import Alarm, Board
from dpiped.alarms.history import History
from dpiped.alarms.ignore import BYTES_AT_ONCE, BYTES_OF_CALL, Ignore
from dpiped.alarms.samples import Samples
from dpiped.alarms.shape import CHARS_AT_ONCE, CHARS_OF_CALL, AlarmShape
from dpiped.alarms.slices import MANY, Effort, ordered
from dpiped.alarms.table import Table
from dpiped.alarms.teller import Teller
from dpiped.normalise import Normaliser
from dpiped.panes import FixedPeriods
from dpiped.panes.pane import Pane
from dpiped.plugin import PAUSE
from dpiped.web.alarms import _worst
from plugins.filters.alarm import AlarmFilter
from tests.alarming import AT, alarms_of, build, pack_of

EVENTS = 3 * MANY
CASES: dict[str, dict[str, Any]] = {
    "threshold": {"when": "count >= 1"},
    "sliding": {"when": "count >= 1", "window_secs": 60, "slide_secs": 10},
    "crowded": {"when": "count >= 1", "window_secs": 60, "slide_secs": 10, "max_groups": 1_500},
    "change": {"change": 0.5, "yesterday": 0.5, "base": 1, "window_secs": 60, "slide_secs": 20},
    "metrics": {"when": "p95 > 1", "metrics": {"v": {"op": "quantiles", "field": "v", "q": [0.95]}}},
    "silence": {"silence_secs": 2},
    "new": {"new": "name"},
    "instant": {"window_secs": 0},
    "parser": {"parser": "syslogng_stats", "parser_field": "stat"},
    "ignore": {"when": "count >= 1", "ignore": ["zz", "regex:q+z"]},
    "normalise": {"when": "count >= 1", "group_by": ["name"], "normalise": {"name": ["quoted"]}},
}


def body(at: int) -> bytes:
    """Every event is of a group of its own; they reach over half a minute."""
    line = b'{"@timestamp":%d,"host":"h%d","name":"n%d","v":%d,"stat":"Log statistics; dropped=\'program(/x%d)=1\'"}\n'
    return b"".join(line % (at + number % 30 * 1_000, *[number] * 4) for number in range(EVENTS))


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What was done, by kind."""
    done: Counter[str] = Counter()

    def count(where: Any, name: str, kind: str, amount: Callable[..., int] = lambda *_, **__: 1) -> None:
        real = getattr(where, name)

        def counted(*args: Any, **options: Any) -> Any:
            done[kind] += amount(*args, **options)
            return real(*args, **options)

        monkeypatch.setattr(where, name, counted)

    count(Teller, "found", "told")
    count(Teller, "resolved", "told")
    count(Board, "_is_quiet", "alarms looked at")
    count(Pane, "add", "events put into panes", lambda _, keys, *__: len(keys))
    count(Pane, "of", "parts merged")
    count(Table, "drop", "entries dropped")
    count(Samples, "add", "samples", lambda _, __, keys, ___: len(keys))
    count(AlarmShape, "keys", "events grouped", lambda _, view: view.count)
    count(AlarmShape, "read", "events read", lambda _, view, *__: view.count)
    count(Normaliser, "text", "characters normalised", lambda _, text: len(text) + CHARS_OF_CALL)
    count(Ignore, "_found", "bytes searched", lambda _, data: 2 * (len(data) + BYTES_OF_CALL))
    count(events, "digest_of", "values looked at")
    count(watch, "key_bytes", "groups sorted")
    return done


LIMITS = Counter(
    {"told": 20, "parts merged": 20, "characters normalised": CHARS_AT_ONCE, "bytes searched": BYTES_AT_ONCE}
)
"""Of all else MANY."""
SLACK = Counter({"characters normalised": 100, "bytes searched": 1_200})
"""The last text may be over."""


def run_in_slices(given: Iterable[Any], done: Counter[str]) -> Counter[str]:
    """All that was done; fails if it was too much before others could run."""
    total: Counter[str] = Counter()
    items = iter(given)
    while True:
        done.clear()
        item = next(items, None)
        total += done
        for kind, amount in done.items():
            assert amount <= (LIMITS[kind] or MANY) + SLACK[kind], kind
        if item is None:
            return total


@pytest.mark.parametrize("case", CASES)
def test_a_pack_of_new_groups_is_handled_in_slices(case: str, done: Counter[str]) -> None:
    plugin = build(**{"group_by": ["host"], **CASES[case]})
    total: Counter[str] = Counter()
    now = AT
    for offset in range(2):
        total += run_in_slices(plugin.process(pack_of(plugin, offset, body(now), now, "machine")), done)
        for _ in range(8):
            now += 10_000
            total += run_in_slices(plugin.tick(now), done)
    total += run_in_slices(plugin.finish(), done)
    assert total["told"] >= 1_000
    assert total["events grouped"] == 2 * EVENTS
    expected = {
        "sliding": {"entries dropped"},
        "crowded": {"parts merged"},
        "silence": {"groups sorted"},
        "new": {"values looked at"},
        "ignore": {"bytes searched"},
        "normalise": {"characters normalised"},
    }
    assert set(total) >= expected.get(case, set()) | {"alarms looked at"}


@pytest.mark.parametrize("most", [1_500, 10_000])
def test_groups_of_a_window_are_looked_through_in_slices(most: int) -> None:
    plugin = build(when="count >= 1", group_by=["host"], window_secs=60, slide_secs=10, max_groups=most)
    list(plugin.process(pack_of(plugin, 1, body(AT), AT)))
    found = list(plugin._some_groups((AT, AT + 60_000), []))
    assert found == [None] * len(found)
    assert len(found) >= EVENTS // MANY


def in_slices(given: Iterable[Any]) -> list[int]:
    """How many entries came between two pauses."""
    sizes = [0]
    for one in given:
        if one is None or one is PAUSE:
            sizes.append(0)
        else:
            sizes[-1] += 1
    return sizes


def firing() -> AlarmFilter:
    plugin = build(when="count >= 1", group_by=["host"])
    lines = [b'{"@timestamp":%d,"host":"h%d"}\n' % (AT, number) for number in range(EVENTS)]
    for drafts in (plugin.process(pack_of(plugin, 1, b"".join(lines), AT)), plugin.tick(AT + 1_000)):
        assert list(drafts)
    return plugin


def test_a_question_over_many_alarms_is_answered_in_slices() -> None:
    plugin = firing()
    sizes = in_slices(plugin.alarms())
    assert sum(sizes) == EVENTS
    assert max(sizes) <= MANY
    assert sizes[: EVENTS // MANY] == [0] * (EVENTS // MANY)  # they are sorted bit by bit before the first is given


def test_only_as_many_alarms_as_are_asked_for_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = firing()
    made = Counter[str]()
    real = plugin._row

    def counted(alarm: Alarm) -> dict[str, Any]:
        made["rows"] += 1
        return real(alarm)

    monkeypatch.setattr(plugin, "_row", counted)
    rows = [row for row in plugin.alarms("firing", 10) if isinstance(row, dict)]
    assert made["rows"] == 10
    assert rows == alarms_of(plugin)[:10]
    assert [row for row in plugin.alarms("resolved", 10) if row is not PAUSE] == []
    assert plugin.knows(rows[0]["fingerprint"]) and not plugin.knows("0" * 16)


def test_alarms_of_several_filters_are_given_worst_first() -> None:
    def row(score: int, last_ms: int, fingerprint: str) -> dict[str, Any]:
        return {"score": score, "last_ms": last_ms, "fingerprint": fingerprint}

    some, others = [row(9, 1, "a"), row(5, 1, "b")], [row(9, 2, "c"), row(5, 1, "a"), row(1, 1, "a")]
    assert _worst([some, others], 4) == [others[0], some[0], others[1], some[1]]
    assert _worst([], 4) == []


def test_sorting_in_slices_sorts() -> None:
    looked = Counter[str]()

    def wanted(number: int) -> bool:
        looked["at"] += 1
        return number % 3 > 0

    numbers = [number * 7_919 % 10_007 for number in range(10_007)]
    found = ordered(numbers, wanted, lambda number: -number)
    given: list[int] = []
    for one in found:
        assert looked["at"] <= MANY
        if one is None:
            looked.clear()
        else:
            given.append(one)
    assert given == sorted((number for number in numbers if number % 3), reverse=True)
    assert max(in_slices(ordered(numbers, wanted, lambda number: number))) <= MANY
    assert list(ordered([], wanted, lambda number: number)) == []


def test_efforts_add_up() -> None:
    effort = Effort(10)
    assert [effort.add(amount) for amount in (4, 5, 1, 9, 1, 25, 9)] == [False, False, True, False, True, True, False]


def test_what_a_window_counted_is_saved_in_parts() -> None:
    history = History(FixedPeriods(60_000, 60_000), "UTC", 1)
    counts = {f"g{number}": number for number in range(2 * MANY + 1)}
    history.add((0, 60_000), counts)
    saved = [store.counts_change(*change) for change in history.parts.changes()]
    again = History(FixedPeriods(60_000, 60_000), "UTC", 1)
    again.load(store.load_counts(key, value) for key, value in sorted(_there(saved)))
    assert [len(some) for _, some in sorted(again.parts.items(), key=lambda item: item[0])] == [MANY, MANY, 1]
    day = 86_400_000
    for known in (history, again):
        assert [known.before((day, day + 60_000), key, 1) for key in ("g0", "g1500", "g2000", "none")] == [
            0,
            1500,
            2000,
            0,
        ]
    assert again.add((9 * day, 9 * day + 60_000), {}) == 0  # it is too long ago
    gone = [key for key, value in (store.counts_change(*change) for change in again.parts.changes()) if value is None]
    assert gone == [key for key, _ in saved]


def _there(saved: Iterable[tuple[bytes, bytes | None]]) -> Iterator[tuple[bytes, bytes]]:
    for key, value in saved:
        assert value is not None
        yield key, value
