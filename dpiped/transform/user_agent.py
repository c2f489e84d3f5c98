"""Step `user_agent`: browser, system and device of the text that browsers say about themselves. Needs `ua-parser`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from dpiped.extras import need
from dpiped.transform.base import OneField, Reason, Target, Work
from dpiped.transform.lookup import Found, Lookup
from dpiped.transform.paths import NOTHING

if TYPE_CHECKING:
    from ua_parser import Parser

_UNKNOWN = Reason("unknown")


class UserAgentStep(OneField):
    """Makes PATH_browser, PATH_version (its first part), PATH_os and PATH_device (`Spider` for robots) of the text by
    which a browser names itself; what is not known is left out. If nothing is, it is counted as `user_agent_unknown`.
    """

    do: Literal["user_agent"]
    into: Target | Literal[""] = Field(default="", examples=["ua"])
    """What PATH is there; by default the path of the field."""

    @model_validator(mode="after")
    def _check(self) -> UserAgentStep:
        need("ua_parser", "user_agent")
        parser()  # compiles its thousand patterns while nobody waits
        return self

    def writes(self) -> Iterable[str]:
        return [f"{self.into or self.field}_{part}" for part in ("browser", "version", "os", "device")]

    def make(self) -> Work:
        return _UserAgent(self)


@lru_cache(maxsize=1)
def parser() -> Parser:
    """RE2, which takes linear time on any text."""
    from ua_parser import Parser
    from ua_parser.loaders import load_builtins
    from ua_parser.re2 import Resolver

    return Parser(Resolver(load_builtins()))


class _UserAgent(Lookup):
    refused = Reason("not_a_text")
    at_once = 10

    def __init__(self, step: UserAgentStep) -> None:
        super().__init__("user_agent", step.field, [*step.writes()])

    def look(self, text: str) -> Found:
        said: Any = parser().parse(text)
        browser, device = said.user_agent, said.device
        parts = (
            browser and browser.family,
            browser and browser.major,
            said.os and said.os.family,
            device and device.family,
        )
        found = tuple(NOTHING if part in (None, "Other") else part for part in parts)
        return found if any(part is not NOTHING for part in found) else _UNKNOWN
