"""Input `stdin`: reads standard input to its end.

Delivery: what was read before a kill and is not in the journal yet is lost, for a pipe cannot be read again. When the
input has ended, and no other input is left, the daemon delivers everything and stops.
"""

from __future__ import annotations

import socket
from collections import Counter
from typing import Annotated

from pydantic import Field

from dpiped.api import Bytes, Emit, Host, Input, LineCutter, Noted, PluginConfig, read_lines, register


class StdinConfig(PluginConfig):
    max_line_bytes: Annotated[Bytes, Field(ge=256)] = 1 << 20
    """Longer lines lose their rest, and are counted."""
    host: Host = ""
    """Name of the machine in the events; empty: what the system says."""


@register("stdin")
class StdinInput(Input[StdinConfig]):
    default_codec = "raw"
    descriptor = 0

    async def open(self) -> None:
        self._cutter = LineCutter(self.config.max_line_bytes)
        self._host = self.config.host or socket.gethostname()

    async def run(self, emit: Emit) -> None:
        noted = Noted(self.context.telemetry, self.context.name)
        async for data in read_lines(self.descriptor, self._cutter):
            await emit(data, host=self._host)
            noted.tell(Counter(line_cut=self._cutter.cut))
