"""Sends dead letters again: to the runner that refused, or through the intake that did.

Each step takes some letters, notes them with a new batch id as the plan (synced), appends them as one lot under that
id, and removes them together with the plan. A crash in between is made up for at the next start: the same letters are
appended under the same id, and the journal knows whether it has them. So a letter is lost at no time, and doubled only
if the journal has forgotten the stream, after 30 days.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import msgspec

from dpiped.batch import BatchId
from dpiped.codecs import build_codec
from dpiped.codecs.base import Codec, Rejected
from dpiped.config.schema import MAX_EVENT_BYTES
from dpiped.deadletter import DeadLetters, Letter, Plan
from dpiped.errors import BatchConflictError, CodecError, UnavailableError
from dpiped.intake import Intake
from dpiped.journal.append import Draft, Lot, gather
from dpiped.leveldb import LevelDbError
from dpiped.pack import MAX_PACK_BYTES, MAX_PACK_EVENTS, Head
from dpiped.runner import Surroundings
from dpiped.selection import Selection

STEP_LETTERS = 500
STEP_BYTES = MAX_PACK_BYTES
FINISH_AGAIN_SECS = 5.0


class _Stamp(msgspec.Struct, gc=False):
    """Of a stored event only the time is read."""

    at: int = msgspec.field(name="@timestamp")


_stamps = msgspec.json.Decoder(_Stamp)


@dataclass
class Retried:
    """What became of the letters."""

    sent: int = 0
    """Events that are in the journal now."""
    refused: Counter[str] = field(default_factory=Counter)
    """Reason -> letters that were refused again, or that nobody can take; they stay."""


@dataclass
class _Step:
    """What some letters become, to be sent under one batch id."""

    batch: BatchId

    drafts: list[Draft] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)
    """Letters that the drafts are made of, or of which nothing is left."""
    stay: list[Letter] = field(default_factory=list)
    """Letters with a new reason."""
    rests: list[Letter] = field(default_factory=list)
    """What was refused of letters that were taken in part."""
    nobody: Counter[str] = field(default_factory=Counter)
    """Why others stay as they are."""

    @property
    def plan(self) -> Plan:
        return Plan(self.batch.stream, self.batch.seq, self.causes)

    @property
    def refused(self) -> Counter[str]:
        return self.nobody + Counter(letter.reason for letter in (*self.stay, *self.rests))


class Retrier:
    """One for each daemon; used on the event loop. One retry at a time."""

    def __init__(
        self,
        around: Surroundings,
        intake_of: Callable[[str], Intake | None],
        runners: Callable[[], Iterable[str]],
        project: str,
    ) -> None:
        self._around = around
        self._letters: DeadLetters = around.deadletters
        self._intake_of = intake_of
        self._runners = runners
        self._project = project
        """For letters of an input that is no more, and that name none."""
        self._stream = f"deadletter.{secrets.token_hex(8)}"
        self._seq = 0
        self._one = asyncio.Lock()

    async def run(self) -> None:
        """At the start: ends what a crash has interrupted, as soon as the journal takes packs."""
        while True:
            try:
                async with self._one:
                    await self._finish()
            except (UnavailableError, LevelDbError):
                await asyncio.sleep(FINISH_AGAIN_SECS)
            else:
                return

    async def retry(self, chosen: Selection) -> Retried:
        """Sends those that are there now. Raises UnavailableError or LevelDbError: what was sent so far is sent, and
        the same call goes on.
        """
        told = Retried()
        async with self._one:
            await self._finish()
            now_ms = int(time.time() * 1000)
            causes = await asyncio.to_thread(lambda: [letter.cause for letter in chosen.find(self._letters, now_ms)])
            at = 0
            while at < len(causes):
                letters = await asyncio.to_thread(self._some, causes[at : at + STEP_LETTERS])
                at = causes.index(letters[-1].cause, at) + 1 if letters else at + STEP_LETTERS
                await self._send(letters, told)
        detail = f"{told.sent} events sent, {told.refused.total()} stay"
        self._around.telemetry.say("dead letters sent again", detail=detail)
        return told

    def _some(self, causes: Sequence[str]) -> list[Letter]:
        """Letters for one step, at least one if there is any; blocking."""
        found: list[Letter] = []
        size = 0
        for cause in causes:
            letters = self._letters.read((cause,))
            size += sum(len(letter.raw) for letter in letters)
            if found and size > STEP_BYTES:
                break
            found += letters
        return found

    async def _finish(self) -> None:
        """What was under way when the daemon ended."""
        plan = await asyncio.to_thread(self._letters.plan)
        if plan is not None:
            letters = await asyncio.to_thread(self._letters.read, plan.causes)
            await self._append(await self._decode(letters, BatchId(plan.stream, plan.seq)), plan)

    async def _send(self, letters: Sequence[Letter], told: Retried) -> None:
        self._seq += 1
        step = await self._decode(letters, BatchId(self._stream, self._seq))
        told.refused.update(step.refused)
        await self._letters.replace(step.stay, (), step.plan if step.causes else None)
        if step.causes:
            await self._append(step, step.plan)
            told.sent += sum(draft.head.count for draft in step.drafts)

    async def _append(self, step: _Step, plan: Plan) -> None:
        """The plan is on disk. A repeat means that all its letters are in the journal, whatever they became now."""
        repeat = False
        if step.drafts:
            try:
                repeat = await self._around.journal.append("~retry", "input", [Lot(step.drafts, step.batch)])
            except BatchConflictError:  # a newer batch of this stream is known, so this one was appended before it
                repeat = True
        await self._letters.replace(step.rests, plan.causes if repeat else step.causes, None)

    # ---- what letters become ---------------------------------------------------------------------------------------
    async def _decode(self, letters: Sequence[Letter], batch: BatchId) -> _Step:
        step = _Step(batch)
        for by_runner, group in groupby(letters, lambda letter: letter.by_runner):
            if by_runner:
                self._for_runners(list(group), step)
            else:
                for letter in group:
                    await self._for_intake(letter, step)
                    await asyncio.sleep(0)
        step.drafts = [_stamped(draft, batch) for draft in gather(step.drafts)]
        return step

    async def _for_intake(self, letter: Letter, step: _Step) -> None:
        intake = self._intake_of(letter.plugin) or self._plain_intake(letter.plugin)
        drafts, rejected = await intake.again(letter)
        if rejected and not drafts:
            step.stay.append(_with_reason(letter, rejected[0].reason))
            return
        step.drafts += drafts
        step.causes.append(letter.cause)
        step.rests += [_rest(letter, bad) for bad in rejected]

    def _plain_intake(self, name: str) -> Intake:
        """In place of an input that is no more: the json codec, or the one that the sender named."""
        around = self._around
        return Intake(
            name,
            journal=around.journal,
            router=around.router,
            deadletters=around.deadletters,
            telemetry=around.telemetry,
            project=self._project,
            ident=name,
            codec=build_codec("json"),
            codec_of=_codec_of,
            time_spec=None,
            keep_old=False,
            max_event_bytes=MAX_EVENT_BYTES,
            project_logs=around.project_logs,
        )

    def _for_runners(self, letters: Sequence[Letter], step: _Step) -> None:
        """One pack for each stretch of letters that have the same head."""
        known = set(self._runners())
        for head, group in groupby(letters, lambda one: (one.plugin, one.project, one.ident, one.source, one.host)):
            if head[0] not in known:
                step.nobody[f"there is no runner {head[0]!r} in the config"] += len(list(group))
                continue
            some: list[tuple[Letter, int]] = []
            for letter in group:
                try:
                    some.append((letter, _stamps.decode(letter.raw).at))
                except msgspec.DecodeError as exc:
                    step.stay.append(_with_reason(letter, f"it is no stored event: {exc}"))
            for at in range(0, len(some), MAX_PACK_EVENTS):
                step.drafts.append(_draft(some[at : at + MAX_PACK_EVENTS]))
            step.causes += [letter.cause for letter, _ in some]


def _draft(letters: Sequence[tuple[Letter, int]]) -> Draft:
    """A pack for the runner that refused these events, and for nobody else."""
    first = letters[0][0]
    body = b"".join(letter.raw + b"\n" for letter, _ in letters)
    times = [at for _, at in letters]
    head = Head(
        project=first.project,
        ident=first.ident,
        source=first.source,
        host=first.host,
        accepted_ms=int(time.time() * 1000),
        min_ts=min(times),
        max_ts=max(times),
        count=len(letters),
        raw_bytes=len(body),
        only=first.plugin,
    )
    return Draft(head, body)


def _stamped(draft: Draft, batch: BatchId) -> Draft:
    draft.head = msgspec.structs.replace(draft.head, stream=batch.stream, seq=batch.seq, nonce=batch.nonce)
    return draft


def _with_reason(letter: Letter, reason: str) -> Letter:
    return msgspec.structs.replace(letter, reason=reason)


def _rest(letter: Letter, bad: Rejected) -> Letter:
    cause = f"{letter.cause}/{bad.line}"
    return msgspec.structs.replace(letter, cause=cause, reason=bad.reason, raw=bad.raw)


def _codec_of(name: str) -> Codec:
    try:
        return build_codec(name)
    except ValueError as exc:
        raise CodecError(f"no codec {name!r} without options") from exc
