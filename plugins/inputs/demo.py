"""Input `demo`: makes realistic events, the same ones for the same seed.

Delivery: exactly once; after a restart it goes on with the next event.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Annotated, ClassVar, Literal

import msgspec
from pydantic import Field

from dpiped.api import Emit, Input, PluginConfig, register

AREAS = ("us", "de", "fr", "th", "ae", "br")
PAGES = ("/", "/friends", "/shop/item/7", "/map/2/cell/4", "/quest/12", "/inbox")
ACTIONS = ("view", "view", "view", "click", "levelup", "buy", "login")
PROGRAMS = ("sshd", "nginx", "cron", "kernel", "php-fpm")
TEXTS = (
    "Accepted publickey for deploy",
    "upstream timed out",
    "session opened for user root",
    "out of memory",
    "Failed password for invalid user admin",
)
TICKS_PER_SEC = 10
"""Events of a second come in so many blocks."""
_json = msgspec.json.Encoder().encode


class DemoConfig(PluginConfig):
    format: Literal["als", "syslog"] = "als"
    """Lines `area,ts,{json}`, or RFC 5424; `codec` follows it by itself."""
    rate: Annotated[int, Field(gt=0, le=1_000_000)] = 1_000
    """Events a second."""
    count: Annotated[int, Field(ge=0)] = 0
    """Ends after so many events; 0: never."""
    seed: int = 1
    """Equal seeds give equal events, apart from their times."""


@register("demo")
class DemoInput(Input[DemoConfig]):
    replayable: ClassVar[bool] = True
    default_codec: ClassVar[str] = "als"

    @classmethod
    def idents(cls, config: DemoConfig) -> tuple[str, ...]:
        return ()

    async def run(self, emit: Emit) -> None:
        done = int(self.context.start_position or 0)
        codec = self.context.codec(self.config.format) if self.context.codec is not None else None
        block = max(1, self.config.rate // TICKS_PER_SEC)
        due = time.monotonic()
        while not self.config.count or done < self.config.count:
            size = min(block, self.config.count - done) if self.config.count else block
            now = int(time.time() * 1000)
            data = b"".join(self._line(done + number, now) for number in range(size))
            done += size
            await emit(data, source="demo", codec=codec, position=str(done))
            due = max(due + size / self.config.rate, time.monotonic() - 1.0)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _line(self, number: int, now_ms: int) -> bytes:
        """Event `number`; a function of seed and number, apart from its time."""
        chance = random.Random(self.config.seed * 1_000_003 + number)
        return als_line(chance, now_ms) if self.config.format == "als" else syslog_line(chance, now_ms)


def als_line(chance: random.Random, now_ms: int) -> bytes:
    """`area,ts,{json}` of one action of a player."""
    area, uid = chance.choice(AREAS), int(chance.paretovariate(1.1) * 1000) % 50_000
    event = {
        "action": chance.choice(ACTIONS),
        "uri": chance.choice(PAGES),
        "_log_info": {
            "uid": uid,
            "level": uid % 60,
            "elapsed": round(chance.lognormvariate(-3, 0.8), 6),
            "host": f"172.31.{uid % 4}.{uid % 32}",
        },
    }
    return b"%s,%d,%s\n" % (area.encode(), now_ms, _json(event))


def syslog_line(chance: random.Random, now_ms: int) -> bytes:
    """One RFC 5424 line."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_ms / 1000))
    priority, host, program = (
        chance.choice((13, 30, 38, 86, 131)),
        f"web-{chance.randrange(8)}",
        chance.choice(PROGRAMS),
    )
    return (
        f"<{priority}>1 {stamp}.{now_ms % 1000:03d}Z {host} {program} {chance.randrange(1, 32768)} - - "
        f"{chance.choice(TEXTS)}\n"
    ).encode()
