"""What the output sets up at the server: a composable index template, and what deletes old data."""

from __future__ import annotations

from typing import Any

KEYWORD_CHARS = 1_024
"""Longer texts are stored and shown, but cannot be searched as keywords."""


def index_template(
    pattern: str,
    *,
    stream: bool,
    priority: int,
    shards: int | None,
    replicas: int | None,
    policy: str,
    keep_days: int | None,
) -> dict[str, Any]:
    """Times are dates, texts keywords, `message` is full text. `policy`: of ILM, for indexes; a data stream has its
    lifecycle itself.
    """
    settings: dict[str, Any] = {}
    if shards is not None:
        settings["number_of_shards"] = shards
    if replicas is not None:
        settings["number_of_replicas"] = replicas
    if policy:
        settings["index.lifecycle.name"] = policy
    strings = {"match_mapping_type": "string", "mapping": {"type": "keyword", "ignore_above": KEYWORD_CHARS}}
    template: dict[str, Any] = {
        "settings": settings,
        "mappings": {
            "dynamic_templates": [{"strings": strings}],
            "properties": {"@timestamp": {"type": "date"}, "message": {"type": "text"}},
        },
    }
    if stream and keep_days is not None and not policy:
        template["lifecycle"] = {"data_retention": f"{keep_days}d"}
    made = {
        "index_patterns": [pattern],
        "priority": priority,
        "template": template,
        "_meta": {"description": "made by dpipe"},
    }
    return {**made, "data_stream": {}} if stream else made


def lifecycle_policy(keep_days: int) -> dict[str, Any]:
    """An ILM policy that deletes an index so many days after it was made."""
    return {
        "policy": {
            "phases": {"hot": {"actions": {}}, "delete": {"min_age": f"{keep_days}d", "actions": {"delete": {}}}}
        }
    }
