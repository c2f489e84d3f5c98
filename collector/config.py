"""The config of a collector: models of `[collector]` and `[[input]]`, and the loader that reports all errors at
once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from collector.naming import check_template
from dpiped.codecs import CODEC_NAMES
from dpiped.config.base import (
    Bytes,
    ConfigModel,
    Host,
    Ident,
    Listen,
    Name,
    PositiveSecs,
    Secs,
    Token,
    is_loopback,
    parts_of_url,
    split_listen,
)
from dpiped.config.fields import secrets_of
from dpiped.config.locate import Path as KeyPath
from dpiped.config.source import Source, read_source
from dpiped.config.validate import did_you_mean, validate
from dpiped.hidden import hide
from dpiped.sources.options import SyslogOptions, TailOptions
from dpiped.tls import SERVER_EXAMPLE, ClientTls, ServerTls, problems_of, warnings_of


def check_endpoint(value: str) -> str:
    """As it is used. Raises ValueError, which does not show it: there may be a password in it."""
    parts = parts_of_url(value)
    if parts is None or parts.query or parts.fragment:
        raise ValueError('expected the URL of a daemon such as "http://10.0.0.5:9800"')
    if parts.username or parts.password:
        raise ValueError("no credentials belong into a URL, for URLs are shown: set token")
    return value.rstrip("/")


Endpoint = Annotated[str, AfterValidator(check_endpoint)]
Template = Annotated[str, AfterValidator(check_template)]


def _check_codec(value: str) -> str:
    if value not in CODEC_NAMES:
        raise ValueError(f"expected one of {', '.join(CODEC_NAMES)}{did_you_mean(value, CODEC_NAMES)}")
    return value


def _no_table(value: object) -> object:
    text = "expected the name of a codec; its options belong into the http input of the daemon"
    if isinstance(value, dict):
        raise ValueError(text)  # noqa: TRY004 - pydantic collects these
    return value


CodecName = Annotated[str, BeforeValidator(_no_table), AfterValidator(_check_codec)]


class CollectorConfig(ConfigModel):
    """`[collector]`: where to send, and how."""

    data_dir: str = "var/collector"
    """Folder of checkpoint and spool; one collector a folder."""
    endpoints: tuple[Endpoint, ...] = Field(min_length=1, examples=[["http://127.0.0.1:9800"]])
    """Daemons in order of preference; the next one is used when one does not answer."""
    token: Token | None = Field(default=None, examples=["${env:DPIPE_TOKEN}"])
    """Bearer token; write it as `${env:NAME}`."""
    tls: ClientTls = ClientTls()
    """For https endpoints: which authorities are trusted, which certificate is shown."""
    status: Listen = "127.0.0.1:9877"
    """Address of /metrics, /healthz and /status, which only read."""
    status_tls: ServerTls | None = Field(default=None, examples=[SERVER_EXAMPLE])
    """Certificate of the status address; with it, only https is spoken."""
    host: Host = Field(default="", examples=["web-1"])
    """Name of this machine in the events; empty: what the system says."""
    batch_bytes: Annotated[Bytes, Field(ge=4096)] = 1 << 20
    """A batch is sent when it holds so much."""
    batch_secs: PositiveSecs = 1.0
    """Or when its first line has waited so long."""
    parallel: Annotated[int, Field(ge=1, le=64)] = 1
    """Batches under way at one time; every file keeps to one of these streams, so its lines stay in order."""
    request_timeout_secs: PositiveSecs = 60.0
    """Time for one request; after it the batch is in doubt and sent again to the same daemon."""
    failover_after_secs: PositiveSecs = 600.0
    """A batch that may have arrived waits so long for its own daemon before another gets it, counted as `in_doubt`."""
    drain_timeout_secs: Secs = 5.0
    """At a stop, the batch under way gets so long to be acknowledged; after the next start it is sent again."""
    spool_max_bytes: Annotated[Bytes, Field(ge=1 << 20)] = 1 << 30
    """Room on disk for what syslog and stdin inputs received and no daemon has taken yet, for each input."""


class InputOptions(ConfigModel):
    """Keys that every `[[input]]` has."""

    name: Name = Field(default="", examples=["web"])
    """Name in metrics and checkpoint; the type if there is none."""
    disabled: bool = False
    """Keeps the table without using it."""
    project: Name = "default"
    """The project the events belong to."""
    host: Host = Field(default="", examples=["web-1"])
    """Name of the machine in the events, if it is not this one."""


class TailInput(InputOptions, TailOptions):
    """`type = "tail"`: follows files."""

    type: Literal["tail"]
    ident: Template = Field(examples=["rs.{logname}"])
    """Whole, as it will be matched; {stem} {logname} {dir} of the file may be used."""
    codec: CodecName = "raw"
    """How the daemon shall read the lines; `regex` and `csv` take the options that its http input has."""


class SpooledOptions(InputOptions):
    """Keys of inputs that cannot be read again."""

    ident: Ident = Field(examples=["rs.web"])
    """Whole, as it will be matched."""
    spool: Literal["disk", "memory"] = "disk"
    """"disk": what was received survives a kill of the collector; "memory": it does not."""


class SyslogInput(SpooledOptions, SyslogOptions):
    """`type = "syslog"`: receives syslog."""

    type: Literal["syslog"]
    codec: CodecName = "syslog"
    """How the daemon shall read the frames."""


class StdinInput(SpooledOptions):
    """`type = "stdin"`: reads standard input; when it ends and everything was acknowledged, the collector ends."""

    type: Literal["stdin"]
    codec: CodecName = "raw"
    """How the daemon shall read the lines; `regex` and `csv` take the options that its http input has."""
    max_line_bytes: Annotated[Bytes, Field(ge=1024)] = 1 << 20
    """Longer lines lose their rest, which is counted."""


Input = TailInput | SyslogInput | StdinInput
INPUTS: dict[str, type[TailInput] | type[SyslogInput] | type[StdinInput]] = {
    "tail": TailInput,
    "syslog": SyslogInput,
    "stdin": StdinInput,
}


@dataclass(frozen=True)
class Config:
    """A checked config."""

    collector: CollectorConfig
    inputs: tuple[Input, ...]
    warnings: tuple[str, ...] = ()
    """What is allowed but probably a mistake, one line each."""


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Reads a file, or all `*.toml` of a folder. Raises ConfigError with every problem found."""
    source = read_source(path, environ)
    for key in source.data:
        if key not in ("collector", "input"):
            source.report((key,), f"[{key}] is not known here{did_you_mean(key, ('collector', 'input'))}")
    top = None
    if not isinstance(source.data.get("collector"), dict):
        source.report(("collector",), "[collector]: the table is missing; it needs endpoints = [..]")
    else:
        top = validate(CollectorConfig, source, ("collector",), "[collector]")
    tables = source.data.get("input")
    inputs: list[Input] = []
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        source.report(("input",), "[[input]]: at least one is needed, written as [[input]]")
    else:
        inputs = [found for number in range(len(tables)) if (found := _input(source, number)) is not None]
    _check_names(source, inputs)
    hide(secrets_of((top, *inputs)))
    if top is not None:
        _check_certificates(source, top, inputs)
    source.raise_problems()
    assert top is not None
    return Config(top, tuple(inputs), tuple(_warnings(top, inputs)))


def _input(source: Source, number: int) -> Input | None:
    table = source.data["input"][number]
    label = source.label("input", number)
    kind = table.get("type")
    model = INPUTS.get(kind) if isinstance(kind, str) else None
    if model is None:
        hint = did_you_mean(kind, INPUTS) if isinstance(kind, str) else ""
        source.report(("input", number, "type"), f'{label}: key "type": expected "tail", "syslog" or "stdin"{hint}')
        return None
    return validate(model, source, ("input", number), label, {"name": kind, **table})


def _check_names(source: Source, inputs: list[Input]) -> None:
    names = [found.name for found in inputs]
    for number, name in enumerate(names):
        if name in names[:number]:
            source.report(("input", number), f'[[input]] "{name}": the name stands twice: give each input a name')
    if sum(found.type == "stdin" for found in inputs) > 1:
        source.report(("input",), "[[input]]: there is only one standard input")


def _all_tls(top: CollectorConfig, inputs: list[Input]) -> Iterator[tuple[KeyPath, str, ServerTls | ClientTls]]:
    """(path in the file, label, value) of every table of TLS."""
    yield ("collector", "tls"), '[collector]: key "tls"', top.tls
    if top.status_tls is not None:
        yield ("collector", "status_tls"), '[collector]: key "status_tls"', top.status_tls
    for number, found in enumerate(inputs):
        if isinstance(found, SyslogInput) and found.tls is not None and not found.disabled:
            yield ("input", number, "tls"), f'[[input]] "{found.name}" (syslog): key "tls"', found.tls


def _check_certificates(source: Source, top: CollectorConfig, inputs: list[Input]) -> None:
    for path, label, tls in _all_tls(top, inputs):
        for text in problems_of(tls):
            source.report(path, f"{label}: {text}")


def _warnings(top: CollectorConfig, inputs: list[Input]) -> Iterator[str]:
    for _, label, tls in _all_tls(top, inputs):
        for text in warnings_of(tls):
            yield f"{label}: {text}"
    if not is_loopback(split_listen(top.status)[0]) and not (top.status_tls and top.status_tls.client_ca):
        yield f'[collector]: key "status" = "{top.status}": everybody who reaches it can read it: set status_tls'
    for endpoint in top.endpoints if top.token is not None else ():
        parts = urlsplit(endpoint)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            yield f'[collector]: key "endpoints" = "{endpoint}": the token travels in clear text: use https'
    for found in inputs:
        if isinstance(found, SyslogInput) and "unix" not in found.transport and not found.disabled:
            is_locked = found.tls is not None and found.tls.client_ca
            if not is_loopback(split_listen(found.listen)[0]) and not is_locked:
                text = 'whoever reaches this address can send events: use transport "tls" with client_ca, or a firewall'
                yield f'[[input]] "{found.name}" (syslog): key "listen" = "{found.listen}": {text}'
