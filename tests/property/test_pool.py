"""The pool against a plain model, over restarts at any moment: nothing is lost, doubled or counted twice."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dpiped.pooled.entry import Entry
from dpiped.pooled.hours import Hours
from dpiped.pooled.pool import Pool, Rules

T = 1_700_000_000_000
LIMIT = 6
events = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["", "firing", "again", "resolved"]), st.sampled_from("abc"))
)
steps = st.lists(st.one_of(events, st.sampled_from(["restart", "send", "send half"])), max_size=20)


class Model:
    """The same by lists: (state, fingerprint, severity, number, times)."""

    def __init__(self) -> None:
        self.held: list[list[Any]] = []
        self.dropped = 0
        self.begun = False

    def add(self, state: str, fingerprint: str, severity: int, number: int) -> None:
        times = 1
        if state == "again":
            times += sum(one[4] for one in self.held if one[:2] == [state, fingerprint])
            self.held = [one for one in self.held if one[:2] != [state, fingerprint]]
        self.held.append([state, fingerprint, severity, number, times])

    def trim(self) -> None:
        excess = max(0, len(self.held) - LIMIT)
        self.dropped += sum(one[4] for one in self.held[:excess])
        self.held = self.held[excess:]

    def send(self, numbers: set[int]) -> None:
        self.held = [one for one in self.held if one[3] not in numbers]
        self.dropped = 0  # the first half tells it
        self.begun = bool(self.held)

    @property
    def counting(self) -> list[list[Any]]:
        return [one for one in self.held if one[0] != "again"]


def made(severity: float | None, count: int | None) -> Pool:
    return Pool(Rules(severity, count, 60_000, 0, Hours([], "UTC"), LIMIT), lambda _: None)


@settings(max_examples=200)
@given(steps, st.sampled_from([None, 4.0, 11.0]), st.sampled_from([None, 3, 50]))
def test_it_is_what_the_model_is(moves: list[Any], severity: float | None, count: int | None) -> None:
    pool, model, number = made(severity, count), Model(), 0
    for offset, move in enumerate(moves):
        if move == "restart":
            stored, pool = pool.dumps(), made(severity, count)
            pool.loads(stored)
            assert pool.dumps() == stored
        elif move == "send":
            pool.sent(pool.digest(), T)
            model = Model()
        elif move == "send half":
            digest = pool.digest()
            half = digest.less()[0] if len(digest.entries) > 1 else digest
            pool.sent(half, T)
            model.send({int(one.title) for one in half.entries})
        else:
            entries = []
            for grade, state, fingerprint in move:
                number += 1
                model.add(state, fingerprint, grade, number)
                more = {"score": float(grade), "state": state, "fingerprint": fingerprint, "name": f"{number:06}"}
                entries.append(Entry(at_ms=T, added_ms=T, title=str(number), severity=float(grade), **more))
            pool.add(entries, 1, offset)
            model.trim()
            assert pool.knows(1, offset)
        digest = pool.digest()
        assert {(one.title, one.times) for one in digest.entries} == {(str(one[3]), one[4]) for one in model.held}
        order = sorted((one[0] == "resolved", -one[2]) for one in model.held)
        assert [(one.state == "resolved", -one.severity) for one in digest.entries] == order
        assert (digest.dropped, len(pool)) == (model.dropped, len(model.held))
        assert pool.due_secs(T) == _due(model, severity, count)


def _due(model: Model, severity: float | None, count: int | None) -> float | None:
    counting = model.counting
    if not counting:
        return None
    if model.begun or (severity is None and count is None):
        return 0.0
    reached = severity is not None and sum(one[2] for one in counting) >= severity
    return 0.0 if reached or (count is not None and len(counting) >= count) else 60.0
