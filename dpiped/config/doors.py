"""Who could get in from other machines: addresses without a lock, certificates that cannot be used.

An address that only this machine can reach may be open; any other needs a token or `client_ca`. Syslog knows no tokens,
so an open one is a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel, HttpUrl

from dpiped.config.base import is_loopback, split_listen
from dpiped.config.schema import DaemonConfig, EngineConfig, PluginTable, TableOptions
from dpiped.hidden import blot
from dpiped.tls import ClientTls, ServerTls, problems_of, warnings_of

Table = PluginTable[TableOptions]


class Finding(NamedTuple):
    """Something about a key; `table` is None for `[engine]`."""

    table: Table | None
    key: str
    text: str


def open_doors(config: DaemonConfig) -> Iterator[Finding]:
    """What must be locked and is not."""
    engine = config.engine
    if not is_loopback(split_listen(engine.admin)[0]) and not admin_tokens(engine) and not _mutual(engine.admin_tls):
        ways = "set admin_token, or client_ca in admin_tls, or use 127.0.0.1"
        yield Finding(None, "admin", f'key "admin" = "{engine.admin}" is open to other machines: {ways}')
    for table, listen in _outside(config):
        if not hasattr(table.config, "tokens") or _mutual(getattr(table.config, "tls", None)):
            continue
        if not table.config.tokens and not all(project.tokens for project in config.projects):
            ways = "set tokens, or client_ca in tls, or use 127.0.0.1"
            yield Finding(table, "listen", f'key "listen" = "{listen}" is open to other machines: {ways}')


def bad_certificates(config: DaemonConfig) -> Iterator[Finding]:
    """Files of TLS that cannot be used."""
    for table, key, tls in _all_tls(config):
        for text in problems_of(tls):
            yield Finding(table, key, f'key "{key}": {text}')


def door_warnings(config: DaemonConfig) -> Iterator[Finding]:
    """What is allowed, and probably not meant. `config` has no problems."""
    for table, key, tls in _all_tls(config):
        for text in warnings_of(tls):
            yield Finding(table, key, f'key "{key}": {text}')
    engine = config.engine
    if not is_loopback(split_listen(engine.admin)[0]) and engine.admin_tls is None:
        yield Finding(None, "admin", f'key "admin" = "{engine.admin}": tokens travel in clear text: set admin_tls')
    for table, listen in _outside(config):
        server_tls: ServerTls | None = getattr(table.config, "tls", None)
        text = ""
        if hasattr(table.config, "tokens"):
            text = "events and tokens travel in clear text: set tls" if server_tls is None else ""
        elif not _mutual(server_tls):
            text = 'whoever reaches this address can send events: use transport "tls" with client_ca, or a firewall'
        if text:
            yield Finding(table, "listen", f'key "listen" = "{listen}": {text}')
    yield from _sent_in_clear(config)


def _sent_in_clear(config: DaemonConfig) -> Iterator[Finding]:
    """Inputs and outputs whose credentials anybody on the way can read."""
    for table in (*config.inputs, *config.outputs):
        if any(getattr(table.config, key, None) is not None for key in ("token", "password")):
            for key, value, better in _clear_ways(table.config):
                text = f'key "{key}" = "{value}": the credentials travel in clear text: use {better}'
                yield Finding(table, key, text)


def _clear_ways(config: Any) -> Iterator[tuple[str, str, str]]:
    """(key, its value, what is better) of what leads to another machine without encryption."""
    for key in ("url", "endpoints"):
        value = getattr(config, key, ())
        for url in value if isinstance(value, tuple) else (value,):
            if isinstance(url, HttpUrl) and url.scheme == "http" and not is_loopback(url.host or ""):
                yield key, blot(str(url)), "https"
    security, server = getattr(config, "security", ""), getattr(config, "server", None)
    peers = [*([server] if server else []), *getattr(config, "brokers", ())]
    if security in ("none", "plaintext") and not all(is_loopback(split_listen(peer)[0]) for peer in peers):
        yield "security", security, '"tls"'


def admin_tokens(engine: EngineConfig) -> list[str]:
    """All that open the admin API."""
    every = (*([engine.admin_token] if engine.admin_token is not None else []), *engine.admin_tokens)
    return [token.get_secret_value() for token in every]


def _outside(config: DaemonConfig) -> Iterable[tuple[Table, str]]:
    """(input, listen) of those that other machines can reach."""
    for table in config.inputs:
        listen = listen_of(table)
        if listen is not None and not table.options.disabled and not is_loopback(split_listen(listen)[0]):
            yield table, listen


def listen_of(table: Table) -> str | None:
    """The address that a plugin binds; None if it binds none."""
    listen = getattr(table.config, "listen", None)
    is_used = "unix" not in getattr(table.config, "transport", "")
    return listen if is_used and isinstance(listen, str) and listen.rpartition(":")[2].isdigit() else None


def _mutual(tls: ServerTls | None) -> bool:
    return tls is not None and bool(tls.client_ca)


def _all_tls(config: DaemonConfig) -> Iterator[tuple[Table | None, str, ServerTls | ClientTls]]:
    """(table, key, value) of every table of TLS."""
    models: list[tuple[Table | None, BaseModel]] = [(None, config.engine)]
    models += [(table, table.config) for table in config.tables if not table.options.disabled]
    for table, model in models:
        for key in type(model).model_fields:
            value = getattr(model, key)
            if isinstance(value, ServerTls | ClientTls):
                yield table, key, value
