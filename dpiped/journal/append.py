"""What is handed to the journal: drafts of packs, in lots that are taken whole or not at all.

Small drafts of one ident are gathered into full packs before they cost: a pack of five events is as dear as one of
five thousand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from dpiped.batch import BatchId
from dpiped.pack import MAX_PACK_BYTES, MAX_PACK_EVENTS, Head
from dpiped.projection import HOST, SOURCE, Projection
from dpiped.view import with_fields

GATHER_BELOW_EVENTS = 500
"""Drafts of fewer events are gathered."""
LANE = "~"
"""A stream whose name begins so is a lane: its numbers are offsets of another daemon, so lower or equal is a repeat."""

OWN_PREFIX = "_dpipe."
"""Idents of the daemon's own packs; they are never joined, since their source says whom they are about."""

Kind = Literal["input", "filter", "control"]


@dataclass(slots=True)
class Draft:
    """A pack to be: its head still without epoch and offset."""

    head: Head
    body: bytes | None
    """Canonical; None when only the stored form is known."""
    stored: bytes | None = None
    """As `head.encoding` says; None: compressed when it is written."""
    projection: Projection | None = None
    events: list[Any] | None = None
    """What the intake decoded."""
    lacks: frozenset[str] = frozenset()
    """Part.lacks."""

    @property
    def size(self) -> int:
        return self.head.raw_bytes

    @property
    def can_be_gathered(self) -> bool:
        head = self.head
        return (
            head.count < GATHER_BELOW_EVENTS
            and self.body is not None
            and not head.stream
            and head.position is None
            and head.cause is None
            and not head.only
            and head.count > 0
            and not head.ident.startswith(OWN_PREFIX)
        )


@dataclass(slots=True, eq=False)
class Append:
    """One item of the writer's queue: some lots of one owner, with one answer."""

    owner: str
    kind: Kind
    lots: Sequence[Lot]
    answer: asyncio.Future[bool]
    """True: all of it was a repeat; False: written. Or UnavailableError, BatchConflictError."""
    size: int = 0


@dataclass(slots=True, eq=False)
class Lot:
    """Drafts that share a batch id: never split over groups."""

    drafts: Sequence[Draft]
    batch: BatchId | None = None


def is_repeat(batch: BatchId, streams: Mapping[str, tuple[int, str, int]]) -> bool | None:
    """True: a repeat; False: new; None: the id is in conflict (a cloned or restored sender)."""
    last = streams.get(batch.stream)
    if last is None or batch.seq > last[0]:
        return False
    if batch.stream.startswith(LANE):
        return True
    return True if (batch.seq, batch.nonce) == last[:2] else None


@dataclass(slots=True)
class _Slot:
    """Drafts that become one pack."""

    drafts: list[Draft]
    size: int
    count: int

    def takes(self, draft: Draft) -> bool:
        """Adds the draft if there is room for it."""
        size, count = self.size + draft.size, self.count + draft.head.count
        if size > MAX_PACK_BYTES or count > MAX_PACK_EVENTS:
            return False
        self.drafts.append(draft)
        self.size, self.count = size, count
        return True


def gather(drafts: Iterable[Draft]) -> list[Draft]:
    """Joins small drafts of one project and ident; the others keep their place and order."""
    slots: list[_Slot] = []
    open_slots: dict[tuple[str, str], _Slot] = {}
    for draft in drafts:
        key = (draft.head.project, draft.head.ident)
        small = draft.can_be_gathered
        slot = open_slots.get(key) if small else None
        if slot is not None and slot.takes(draft):
            continue
        slot = _Slot([draft], draft.size, draft.head.count)
        slots.append(slot)
        if small:
            open_slots[key] = slot
        else:
            open_slots.pop(key, None)  # what comes later must not overtake it
    return [join(slot.drafts) for slot in slots]


def join(drafts: Sequence[Draft]) -> Draft:
    """One draft of several: where host or source differ, the events carry them and the head does not."""
    if len(drafts) == 1:
        return drafts[0]
    hosts, sources = {draft.head.host for draft in drafts}, {draft.head.source for draft in drafts}
    bodies = []
    for draft in drafts:
        fields = {
            HOST: draft.head.host if len(hosts) > 1 else "",
            SOURCE: draft.head.source if len(sources) > 1 else "",
        }
        bodies.append(with_fields(draft.body or b"", fields, draft.lacks))
    body = b"".join(bodies)
    head = msgspec.structs.replace(
        drafts[0].head,
        host=drafts[0].head.host if len(hosts) == 1 else "",
        source=drafts[0].head.source if len(sources) == 1 else "",
        min_ts=min(draft.head.min_ts for draft in drafts),
        max_ts=max(draft.head.max_ts for draft in drafts),
        count=sum(draft.head.count for draft in drafts),
        raw_bytes=len(body),
        encoding="",
    )
    projection = drafts[0].projection
    events: list[Any] | None = None
    stale = (
        projection is None
        or (len(hosts) > 1 and HOST in projection.fields)
        or (len(sources) > 1 and SOURCE in projection.fields)
    )
    if not stale and all(draft.projection is projection and draft.events is not None for draft in drafts):
        events = [event for draft in drafts for event in draft.events or ()]
    written = {name for name, differ in ((HOST, hosts), (SOURCE, sources)) if len(differ) > 1}
    lacks = frozenset.intersection(*(draft.lacks for draft in drafts)) - written
    return Draft(head, body, None, projection if events is not None else None, events, lacks)
