"""Runs steps on a few events, as the filter does."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from dpiped.testing import view_of
from dpiped.transform import AnyStep, Program
from dpiped.view import PackView

AT = 1_700_000_000_000
_steps: TypeAdapter[Any] = TypeAdapter(tuple[AnyStep, ...])


def program_of(*steps: dict[str, Any], mark: str = "") -> Program:
    return Program(_steps.validate_python(steps), mark)


def seen_by(program: Program, lines: list[str]) -> PackView:
    body = "".join(f"{line}\n" for line in lines).encode()
    return view_of(body, program.columns, project="rs", ident="app", accepted_ms=AT)


def change(program: Program, *events: Any) -> tuple[list[Any], dict[str, int]]:
    """(events behind the steps, what failed); events are objects without `@timestamp`, or lines."""
    lines = [each if isinstance(each, str) else json.dumps({"@timestamp": AT, **each}) for each in events]
    sheet = program.run(seen_by(program, lines))
    body = sheet.body()
    assert body.endswith(b"}\n")
    assert body.count(b"\n") == len(events)
    out = [json.loads(line) for line in body.splitlines()]
    assert all(event.pop("@timestamp") == AT for event in out)
    return out, dict(sheet.failures)


def one(step: dict[str, Any], event: dict[str, Any]) -> tuple[Any, list[str]]:
    """The same for one step and one event; the failures by name."""
    out, failures = change(program_of(step), event)
    return out[0], sorted(failures)
