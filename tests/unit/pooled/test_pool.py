"""The pool: when a message is due, what is in it, what is dropped, and that its state is the whole of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dpiped.pooled.entry import WORDLESS, Entry
from dpiped.pooled.hours import Hours
from dpiped.pooled.owed import MAX_BYTES, Owed
from dpiped.pooled.pool import Pool, Rules

T = 1_700_000_000_000


def rules(**changes: Any) -> Rules:
    plain: dict[str, Any] = {
        "severity": None,
        "count": None,
        "wait_ms": 60_000,
        "gap_ms": 0,
        "hours": Hours([], "UTC"),
        "limit": 10,
    }
    return Rules(**{**plain, **changes})


def entry(number: int, severity: float = 10.0, **more: Any) -> Entry:
    made = {"score": severity, "at_ms": T + number, "added_ms": T, "title": f"t{number}", "name": f"n{number:04}"}
    return Entry(severity=severity, **{**made, **more})


def again(number: int, fingerprint: str = "f", **more: Any) -> Entry:
    return entry(number, state="again", fingerprint=fingerprint, **more)


def pool(**changes: Any) -> Pool:
    lost: list[int] = []
    made = Pool(rules(**changes), lost.append)
    made.lost = lost  # type: ignore[attr-defined]
    return made


def test_without_marks_every_event_is_reason_enough() -> None:
    made = pool()
    assert made.due_secs(T) is None
    made.add([entry(1)], 1, 0)
    assert made.due_secs(T) == 0.0


@pytest.mark.parametrize("marks", [{"severity": 30.0}, {"count": 3}, {"severity": 30.0, "count": 100}])
def test_marks_are_reached_or_the_wait_is_over(marks: dict[str, Any]) -> None:
    made = pool(**marks)
    made.add([entry(1), entry(2)], 1, 0)
    assert made.due_secs(T) == 60.0
    assert made.due_secs(T + 59_000) == 1.0
    assert made.due_secs(T + 61_000) == 0.0
    made.add([entry(3)], 1, 1)
    assert made.due_secs(T) == 0.0


def test_scores_add_up_not_severities() -> None:
    made = pool(severity=100.0)
    made.add([entry(1, 10, score=99)], 1, 0)
    assert made.due_secs(T) == 60.0
    made.add([entry(2, 1)], 1, 1)
    assert made.due_secs(T) == 0.0


def test_again_counts_for_nothing_and_stands_once() -> None:
    made = pool(count=2)
    made.add([again(1), again(2), again(3, "g"), again(4, "")], 1, 0)
    assert made.due_secs(T) is None
    made.add([entry(5), again(6)], 1, 1)
    assert made.due_secs(T) == 60.0
    assert [(one.title, one.times) for one in made.digest().entries] == [("t6", 3), ("t5", 1), ("t4", 1), ("t3", 1)]


def test_the_gap_is_kept_after_a_message() -> None:
    made = pool(gap_ms=30_000)
    made.add([entry(1)], 1, 0)
    made.sent(made.digest(), T)
    assert (len(made), made.due_secs(T)) == (0, None)
    made.add([entry(2)], 1, 1)
    assert made.due_secs(T + 10_000) == 20.0
    assert made.due_secs(T + 30_000) == 0.0


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    made = pool(gap_ms=30_000, count=5)
    made.sent(made.digest(), T)
    made.add([entry(1)], 1, 0)
    assert made.due_secs(T - 1) == 0.0


def test_quiet_hours_hold() -> None:
    made = pool(hours=Hours(["22-23"], "UTC"))
    made.add([entry(1, 1_000)], 1, 0)
    assert 0 < (made.due_secs(T) or 0) <= 60  # T is 22:13:20
    assert made.due_secs(T + 3_600_000) == 0.0


def test_the_most_severe_come_first() -> None:
    made = pool()
    made.add([entry(1, 5), entry(2, 50), entry(3, 50, score=500), entry(4, 50)], 1, 0)
    assert [one.title for one in made.digest().entries] == ["t3", "t4", "t2", "t1"]


def test_what_is_resolved_comes_last_however_severe_it_was() -> None:
    made = pool()
    made.add([entry(1, 100, score=600, state="resolved"), entry(2, 5, state="firing"), again(3, severity=7)], 1, 0)
    digest = made.digest()
    assert [one.title for one in digest.entries] == ["t3", "t2", "t1"]
    assert not digest.resolved
    made.sent(made.digest(), T)
    made.add([entry(4, 5, state="resolved"), entry(5, 50, state="resolved")], 1, 1)
    assert [one.title for one in made.digest().entries] == ["t5", "t4"]
    assert made.digest().resolved


def test_the_oldest_are_dropped_counted_and_told() -> None:
    made = pool(limit=3, severity=35.0)
    made.add([entry(1, 100), again(2), again(3), entry(4)], 1, 0)
    made.add([entry(5), entry(6)], 1, 1, over=7)
    assert [one.title for one in made.digest().entries] == ["t6", "t5", "t4"]
    assert made.digest().dropped == 1 + 2 + 7
    assert made.lost == [10]  # type: ignore[attr-defined]
    assert made.due_secs(T) == 60.0  # what was dropped does not count any more: 30 of 35
    made.sent(made.digest(), T)
    made.add([entry(7)], 1, 2)
    assert made.digest().dropped == 0


def test_less_of_a_message_is_all_of_it_until_one_event_is_left() -> None:
    made = pool(limit=3)
    made.add([entry(0)] + [entry(n, 9 - n, samples=["s"], values=[("a", "b")], state="x") for n in (1, 2, 3)], 1, 0)
    (bare,) = made.digest().less()
    assert [(one.title, one.samples) for one in bare.entries] == [("t1", []), ("t2", []), ("t3", [])]
    first, rest = bare.less()
    assert [[one.title for one in part.entries] for part in (first, rest)] == [["t1"], ["t2", "t3"]]
    assert (first.dropped, rest.dropped) == (1, 0)
    (last,) = first.less()
    assert (last.top.name, last.top.severity, last.top.values) == ("n0001", 8, [("event", "n0001")])
    assert (last.top.title, last.top.state, last.less()) == (WORDLESS, "", ())
    made.sent(last, T)
    assert ([one.title for one in made.digest().entries], made.digest().dropped) == (["t2", "t3"], 0)


def test_a_pack_that_comes_again_is_known() -> None:
    made = pool()
    made.add([entry(1)], 1, 5)
    assert [made.knows(1, offset) for offset in (4, 5, 6)] == [True, True, False]
    assert not made.knows(2, 5)  # an operator has sent it once more


def test_what_is_left_of_a_message_waits_for_no_mark_also_after_a_start() -> None:
    made = pool(count=2, gap_ms=30_000)
    made.add([entry(1), entry(2)], 1, 0)
    made.sent(made.digest().less()[0], T)
    again_open = pool(count=2, gap_ms=30_000)
    again_open.loads(made.dumps())
    assert [one.due_secs(T) for one in (made, again_open)] == [30.0, 30.0]
    made.sent(made.digest(), T)
    made.add([entry(3)], 1, 1)
    assert made.due_secs(T) == 60.0


def owed(since_ms: int = T, **more: Any) -> Owed:
    return Owed(**{"message": b"m", "addresses": ("a@b.c",), "events": 1, "tried_ms": T, "since_ms": since_ms, **more})


def test_what_is_owed_is_kept_until_it_is_settled() -> None:
    made = pool()
    assert made.owed_secs(T) is None
    made.owe(owed())
    after = pool()
    after.loads(made.dumps())
    assert (list(after.owed), after.owed_secs(T)) == ([owed()], 30.0)
    assert after.due_secs(T) is None
    after.settle(after.owed[0])
    assert (after.owed_secs(T), made.dumps() == after.dumps()) == (None, False)


def test_the_wait_for_what_is_owed_doubles_up_to_a_bound_and_has_an_end() -> None:
    one, waits = owed(), []
    for _ in range(7):
        waits.append(one.due_secs(T))
        one = one.tried(T)
    assert waits == [30, 60, 120, 240, 480, 900, 900]
    assert one.due_secs(T + 900_000) == 0.0
    assert one.due_secs(T - 1) == 0.0  # the clock was set back
    assert [one.is_over(T + hours * 3_600_000) for hours in (23, 24)] == [False, True]


def test_in_quiet_hours_nothing_that_is_owed_is_sent() -> None:
    made = pool(hours=Hours(["22-23"], "UTC"))
    made.owe(owed())
    assert 0 < (made.owed_secs(T + 40_000) or 0) <= 60  # T is 22:13:20
    assert made.owed_secs(T + 3_600_000) == 0.0


def test_what_is_owed_is_bounded_in_bytes_and_the_oldest_goes_first() -> None:
    made = pool()
    large = bytes(MAX_BYTES // 2)
    assert made.owe(owed(T + 2, message=large)) == made.owe(owed(T + 1, message=large)) == []
    assert [one.since_ms for one in made.owe(owed(T + 3))] == [T + 1]
    assert [one.since_ms for one in made.owe(owed(T + 4, message=large * 3))] == [T + 2, T + 3]


def test_a_state_of_an_older_version_is_read() -> None:
    made = pool()
    made.loads(msgspec.msgpack.encode([1, 1, 7, T, 3, [entry(1)]]))
    assert (made.taken, len(made), made.digest().dropped) == (7, 1, 3)


def test_state_that_cannot_be_read_is_said() -> None:
    for data in (b"\xc1", b"\x90", msgspec.msgpack.encode({"a": 1})):
        with pytest.raises(msgspec.DecodeError):
            pool().loads(data)
