"""Routes that describe themselves: one table says what a path takes and answers, and the OpenAPI document is made of
it. What is checked and what is written is the same.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from dpiped import __version__
from dpiped.web.refused import Refused

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Query = TypeVar("Query", bound=msgspec.Struct)


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """A query without keys."""


class Problem(msgspec.Struct):
    """Why there is no answer."""

    error: str


@dataclass(frozen=True, slots=True)
class Route:
    """One path and method; the first line of the handler's docstring says what it does."""

    method: str
    path: str
    handler: Handler
    answer: type[msgspec.Struct]
    query: type[msgspec.Struct] = Nothing
    parts: Mapping[str, str] = field(default_factory=dict)
    """Name of a part of the path -> what it is."""
    forms: tuple[str, ...] = ("application/json",)
    """Media types that it can answer."""
    problems: Mapping[int, str] = field(default_factory=dict)
    """Other status -> why, beside those that any route can answer."""


_UNLIKE_PATTERN = re.compile(r"matching regex .* at `\$\.(\w+)`$")
COMMON_PROBLEMS = {401: "the admin token is needed", 422: "the query cannot be read"}


def read_query(request: web.Request, kind: type[Query]) -> Query:
    """The query as a struct. Raises Refused (422)."""
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name in given:
            raise Refused(422, f"{name}: given twice")
        given[name] = value
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as exc:
        raise Refused(422, _in_words(str(exc), kind, given)) from exc


def _in_words(problem: str, kind: type[msgspec.Struct], given: Mapping[str, str]) -> str:
    """What is wrong with a query; of a field with a pattern, its description tells people more."""
    unlike = _UNLIKE_PATTERN.search(problem)
    if unlike is None:
        return f"query: {problem}"
    name = unlike[1]
    fields = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"]
    return f"{name} {given[name]!r}: expected {fields[name]['description']}"


def describe(routes: Iterable[Route]) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    routes = list(routes)
    kinds = [*dict.fromkeys(route.answer for route in routes), Problem]
    _, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "dpipe", "version": __version__, "description": "Answers of a running daemon."},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "The admin token."}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(route: Route) -> dict[str, Any]:
    text = (route.handler.__doc__ or "").strip()
    schema = {"$ref": f"#/components/schemas/{route.answer.__name__}"}
    plain = {"type": "string"}
    content = {form: {"schema": schema if form == "application/json" else plain} for form in route.forms}
    answers: dict[str, Any] = {"200": {"description": "the answer", "content": content}}
    if len(route.forms) > 1:
        answers["304"] = {"description": "as the ETag in `If-None-Match` says"}
    for status, why in {**COMMON_PROBLEMS, **route.problems}.items():
        problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
        answers[str(status)] = {"description": why, "content": {"application/json": problem}}
    unread = "the head of the request cannot be read, or is too long"
    answers["400"] = {"description": unread, "content": {"text/plain": {"schema": plain}}}
    name = f"{route.method.lower()}_{route.path.strip('/').replace('/', '_').replace('{', '').replace('}', '')}"
    return {
        "operationId": name,
        "summary": text.splitlines()[0],
        "parameters": [*_path_parameters(route), *_query_parameters(route.query)],
        "responses": answers,
    }


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1}
    return [
        {"name": name, "in": "path", "required": True, "description": text, "schema": schema}
        for name, text in route.parts.items()
    ]


def _query_parameters(kind: type[msgspec.Struct]) -> list[dict[str, Any]]:
    _, components = msgspec.json.schema_components((kind,))
    schema = components[kind.__name__]
    found = []
    for name, described in schema.get("properties", {}).items():
        described = dict(described)
        text = described.pop("description", "")
        required = name in schema.get("required", ())
        found.append({"name": name, "in": "query", "required": required, "description": text, "schema": described})
    return found
