"""Output `discard`: takes everything and keeps nothing; for benchmarks, and to let a filter run without a store.

Delivery: none.
"""

from __future__ import annotations

from dpiped.api import Batch, Output, PluginConfig, register


class DiscardConfig(PluginConfig):
    """It has no keys."""


@register("discard")
class DiscardOutput(Output[DiscardConfig]):
    takes_metadata = False

    async def write(self, batch: Batch) -> None:
        """Delivered."""
