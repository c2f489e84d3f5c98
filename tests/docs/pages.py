"""The generated pages that need more than dpiped: the collector's config, codecs, metrics."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, get_args

from pydantic import BaseModel

from collector.config import INPUTS, CollectorConfig
from collector.status import StatusServer
from dpiped.aggregates import METRICS
from dpiped.codecs.config import CodecConfig
from dpiped.codecs.presets import PRESETS, Preset
from dpiped.config.describe import keys_in_depth, keys_of_model
from dpiped.config.render import key_table, sample_keys
from dpiped.telemetry import Telemetry
from dpiped.telemetry.metrics import Metrics
from dpiped.transform import STEPS

MADE = "Made by `./dev docs`: change the models, not this file."
SHOWN = "tail"
"""The input of the collector's sample that is not commented out."""
_FAMILY = re.compile(r"# HELP (dpipe_collector_\S+) (.*)\n# TYPE \S+ (\S+)\n\S+?\{(.*)\}")


def about(model: type[Any]) -> str:
    """The documentation of a model as one line."""
    return " ".join(inspect.cleandoc(model.__doc__ or "").split())


def collector_sample() -> str:
    """`etc/collector.toml`: all keys of the collector; one input is in use, the others are commented out."""
    lines = [f"# Config of dpipe-collector. {MADE}", "# A key that is commented out has its default.", ""]
    lines += [f"# {about(CollectorConfig)}", "[collector]", *_sample(CollectorConfig)]
    for name in sorted(INPUTS, key=lambda name: name != SHOWN):
        table = [f"# {about(INPUTS[name])}", "[[input]]", f'type = "{name}"', "", *_sample(INPUTS[name])]
        lines += table if name == SHOWN else [_hidden(line) for line in table]
    return "\n".join(lines).rstrip() + "\n"


def _hidden(line: str) -> str:
    return line if line.startswith("#") or not line else f"#{line}"


def _sample(model: type[BaseModel]) -> list[str]:
    return sample_keys(key for key in keys_of_model(model) if key.name != "type")


def collector_page() -> str:
    """`docs/collector.md`: the reference of the collector's config."""
    lines = [
        "# Config of the collector",
        "",
        f"<!-- {MADE} -->",
        "",
        "`dpipe-collector check FILE` finds all errors of a config; [collector.toml](../etc/collector.toml) is a",
        "sample with every key. What it has in common with the daemon's is told in [config](config.md).",
        "",
        "## `[collector]`",
        "",
        about(CollectorConfig),
        "",
        *key_table(keys_in_depth(CollectorConfig)),
    ]
    for name, model in INPUTS.items():
        keys = (key for key in keys_in_depth(model) if key.name != "type")
        lines += [f"## input {name}", "", about(model), "", *key_table(keys)]
    return "\n".join(lines).rstrip() + "\n"


def codecs_page() -> str:
    """`docs/codecs.md`: how bytes from outside become events."""
    lines = [
        "# Codecs",
        "",
        f"<!-- {MADE} -->",
        "",
        'How bytes from outside are read. An input names one, as `codec = "raw"` or as a table with options:',
        '`codec = { type = "syslog", zone = "Europe/Berlin" }`. A sender of the http input may name another with',
        "`?codec=raw`. What a codec cannot read goes to the dead letter, line by line, with the reason.",
        "",
    ]
    for model in get_args(CodecConfig):
        name = get_args(model.model_fields["type"].annotation)[0]
        lines += [f"## {name}", "", about(model), ""]
        keys = [key for key in keys_in_depth(model) if key.name != "type"]
        lines += key_table(keys) if keys else []
    lines += [
        "## Presets of regex",
        "",
        'Patterns for well-known logs: `codec = { type = "regex", preset = "nginx_error" }`. The time of a line',
        "becomes `@timestamp`; these are the other fields. One that a line does not have is absent; texts stay as",
        "they are written, with their escapes.",
        "",
        *(f"- `{name}`: {_fields_of(preset)}" for name, preset in PRESETS.items()),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _fields_of(preset: Preset) -> str:
    names = [name for name in re.findall(r"\(\?P<(\w+)>", preset.pattern) if name != preset.time_field]
    return ", ".join(f"`{name}` ({preset.types[name]})" if name in preset.types else f"`{name}`" for name in names)


def aggregates_page(text: str) -> str:
    """`docs/aggregates.md`, which is written by hand, with the keys of all ops in their place."""
    return _with_models(text, "ops", METRICS, "op")


def transform_page(text: str) -> str:
    """`docs/transform.md`, which is written by hand, with the keys of all steps in their place."""
    return _with_models(text, "steps", STEPS, "do")


def _with_models(text: str, place: str, models: Mapping[str, type[BaseModel]], chooser: str) -> str:
    """The page with the keys of models between the marks of a place; the key that chooses among them is left out."""
    lines = ["", ""]
    for name, model in models.items():
        keys = [key for key in keys_in_depth(model) if key.name != chooser]
        lines += [f"### {name}", "", about(model), "", *key_table(keys)]
    marked = rf"(<!-- {place}: [^\n]*)\n.*(<!-- end of {place})"
    return re.sub(marked, lambda match: match[1] + "\n".join(lines) + match[2], text, flags=re.DOTALL)


def metrics_page() -> str:
    """`docs/metrics.md`: every metric of daemon and collector."""
    lines = [
        "# Metrics",
        "",
        "<!-- Made by `./dev docs`: change dpiped/telemetry/metrics.py, not this file. -->",
        "",
        "`GET /metrics` on the admin address of dpiped (`127.0.0.1:9876`) and on the status address of the",
        "collector (`127.0.0.1:9877`), for Prometheus. `plugin` is the `name` of an input, filter or output.",
        "",
        "## dpiped",
        "",
        "| metric | kind | labels | what it tells |",
        "|---|---|---|---|",
    ]
    for metric in vars(Metrics()).values():
        if hasattr(metric, "_labelnames"):  # prometheus_client tells labels nowhere else before the first sample
            name = f"{metric._name}_total" if metric._type == "counter" else metric._name
            lines.append(_row(name, metric._type, ", ".join(metric._labelnames), metric._documentation))
    lines += [
        "",
        "## dpipe-collector",
        "",
        "It shows these, and those of dpiped that it has a use for.",
        "",
        "| metric | kind | labels | what it tells |",
        "|---|---|---|---|",
    ]
    for name, text, kind, labels in _FAMILY.findall(_collector_metrics()):
        lines.append(_row(name, kind, ", ".join(re.findall(r"(\w+)=", labels)), text))
    return "\n".join(lines) + "\n"


def _collector_metrics() -> str:
    """What a collector with one stream and one input shows."""
    lane = SimpleNamespace(stream=SimpleNamespace(id="x"), counts=Counter())
    feed = SimpleNamespace(name="x", bytes=0, counts=lambda: {"x": 0})
    collector: Any = SimpleNamespace(lanes=[lane], feeds=[feed], telemetry=Telemetry())
    return StatusServer(collector).metrics().decode()


def _row(name: str, kind: str, labels: str, text: str) -> str:
    return f"| `{name}` | {kind} | {labels} | {text} |"
