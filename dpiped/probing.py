"""`check --connect`: asks each output whether its store is there and lets it in. Nothing is written."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from dpiped.config.lint import label
from dpiped.config.schema import DaemonConfig, OutputOptions, PluginTable
from dpiped.plugin import Output, PluginContext
from dpiped.runner import close_plugin, one_line
from dpiped.telemetry import Telemetry

PROBE_SECS = 20.0


async def probe_all(config: DaemonConfig) -> list[tuple[str, list[str]]]:
    """(which output, what is wrong with it) of all outputs that can be asked; all at once."""
    prefixes = {project.name: project.index_prefix for project in config.projects}
    tables = [table for table in config.outputs if _can_be_asked(table.plugin_class) and not table.options.disabled]
    found = await asyncio.gather(*(_probe(table, prefixes) for table in tables))
    return [(f"{table.place}: {label(table)}", problems) for table, problems in zip(tables, found, strict=True)]


def _can_be_asked(plugin_class: type[Any]) -> bool:
    return plugin_class.probe is not Output.probe


async def _probe(table: PluginTable[OutputOptions], prefixes: dict[str, str]) -> list[str]:
    telemetry = Telemetry()
    context = PluginContext(
        name=table.name, telemetry=telemetry, index_prefix=lambda project: prefixes.get(project, project)
    )
    plugin = cast("Output[Any]", table.plugin_class(table.config, context))
    try:
        async with asyncio.timeout(PROBE_SECS):
            return await plugin.probe()
    except TimeoutError:
        return [f"no answer within {PROBE_SECS:g} s"]
    except Exception as exc:  # whatever it is, the user wants to know it of all outputs
        return [one_line(exc)]
    finally:
        await close_plugin(plugin, table.name, telemetry)
