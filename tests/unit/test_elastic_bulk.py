"""Bulk requests are what a plain loop over the events would make, however they are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpiped.batch import Batch
from dpiped.elastic import ElasticsearchEvents, Judged
from dpiped.testing import body_of, view_of

EVENT = st.fixed_dictionaries({"n": st.integers(0, 9), "text": st.text(max_size=8)}, optional={"id": st.text()})
PACKS = st.lists(st.lists(EVENT, min_size=1, max_size=6), min_size=1, max_size=3)


def batch_of(packs: list[list[dict[str, Any]]], generation: int) -> Batch:
    views = [
        view_of(
            body_of({"@timestamp": 1, **event} for event in events), ["n", "id"], "n > 2", epoch="0e", offset=offset
        )
        for offset, events in enumerate(packs)
    ]
    return Batch(views, False, generation=generation)


def expected(packs: list[list[dict[str, Any]]], generation: int, id_field: str, index: str) -> list[dict[str, Any]]:
    """Actions and events in turn."""
    found: list[dict[str, Any]] = []
    for offset, events in enumerate(packs):
        for line, event in enumerate(events):
            own = event.get("id", "") if id_field else ""
            derived = f"0e-{offset:012x}-{line:04x}" + (f".{generation}" if generation > 1 else "")
            if event["n"] > 2:
                place = {"_index": index} if index else {}
                found += [{"create": {**place, "_id": own or derived}}, {"@timestamp": 1, **event}]
    return found


@pytest.mark.parametrize("id_field", ["", "id"])
@given(packs=PACKS, generation=st.integers(1, 2), many=st.booleans(), data=st.data())
def test_requests(
    id_field: str, packs: list[list[dict[str, Any]]], generation: int, many: bool, data: st.DataObject
) -> None:
    batch = batch_of(packs, generation)
    indexes: list[Any] = [["i"] * view.count if many else "i" for view in batch.views]
    events = ElasticsearchEvents(batch, "create", id_field, indexes)
    whole = expected(packs, generation, id_field, "i" if many else "")
    most = data.draw(st.integers(1, 5))
    sent = [json.loads(line) for places in events.cut(1 << 20, most) for line in events.body(places).splitlines()]
    assert sent == whole
    done = data.draw(st.sets(st.integers(0, max(0, len(whole) // 2 - 1))))
    events.settle(Judged(settled=sorted(done)))
    again = [json.loads(line) for places in events.cut(1 << 20, most) for line in events.body(places).splitlines()]
    assert again == [part for place in range(len(whole) // 2) if place not in done for part in whole[2 * place :][:2]]
