"""Plugins that only have a config, so that these tests depend on no real plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from pydantic import Field, SecretStr

from dpiped import registry
from dpiped.batch import Batch
from dpiped.config.base import ConfigModel, Listen, PluginConfig, Secs, Token
from dpiped.config.load import load_daemon_config
from dpiped.config.schema import DaemonConfig
from dpiped.errors import ConfigError
from dpiped.plugin import Emit, Filter, Input, Output, PackDraft, StatefulFilter
from dpiped.tls import ServerTls
from dpiped.view import PackView


class WellConfig(PluginConfig):
    listen: Listen = Field(default="127.0.0.1:0", examples=["127.0.0.1:9800"])
    """Where it listens."""
    tokens: tuple[Token, ...] = ()
    """Who may send."""


class GateConfig(WellConfig):
    tls: ServerTls | None = None


class StoreConfig(PluginConfig):
    path: str = Field(examples=["var/out/%Y.ndjson"])
    """Template of the path."""
    flush_secs: Secs = 1.0
    """How often it is made durable."""
    level: Annotated[int, Field(ge=1, le=9)] = 3
    mode: str = "append"
    password: SecretStr | None = None
    headers: dict[str, SecretStr] = Field(default_factory=dict)


class Metric(ConfigModel):
    op: str
    field: str | None = None


class SumConfig(PluginConfig):
    window_secs: Annotated[float, Field(gt=0)] = 60.0
    metrics: dict[str, Metric] = Field(default_factory=dict)
    also: tuple[str, ...] = ()
    """More idents it emits."""


class MoveConfig(PluginConfig):
    to: str
    """The project that all it emits gets."""


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The registry holds these plugins only."""
    monkeypatch.setattr(registry, "_plugins", {})
    monkeypatch.setattr(registry, "_failed", {"s3": "No module named 'pytest_randomly'"})
    monkeypatch.setattr(registry, "_loaded", True)

    @registry.register("well")
    class Well(Input[WellConfig]):
        """Input `well`: for tests."""

        async def run(self, emit: Emit) -> None:
            """Ends at once."""

        @classmethod
        def idents(cls, config: WellConfig) -> Iterable[str]:
            return ()

    @registry.register("gate")
    class Gate(Input[GateConfig]):
        """Input `gate`: for tests."""

        async def run(self, emit: Emit) -> None:
            """Ends at once."""

    @registry.register("store")
    class Store(Output[StoreConfig]):
        """Output `store`: keeps nothing.

        Delivery: at least once.
        """

        @classmethod
        def exclusive(cls, config: StoreConfig) -> str | None:
            return f'path "{config.path}"'

        @classmethod
        def check(cls, config: StoreConfig) -> list[str]:
            return ["path: no %"] if config.path == "%" else []

        async def write(self, batch: Batch) -> None:
            """Takes everything."""

    @registry.register("sum")
    class Sum(StatefulFilter[SumConfig]):
        """Filter `sum`: for tests."""

        @classmethod
        def idents(cls, config: SumConfig) -> Iterable[str]:
            return config.also

        def process(self, pack: PackView) -> Iterable[PackDraft]:
            return ()

        def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
            return ()

        def restore(self, items: Iterable[tuple[bytes, bytes]]) -> None:
            """Nothing to keep."""

    @registry.register("pick")
    class Pick(Filter[PluginConfig]):
        """Filter `pick`: for tests."""

        stateful: ClassVar[bool] = False

        def process(self, pack: PackView) -> Iterable[PackDraft]:
            return ()

    @registry.register("move")
    class Move(Filter[MoveConfig]):
        """Filter `move`: for tests."""

        @classmethod
        def emitted(cls, config: MoveConfig, ident: str) -> Iterable[str]:
            return [f"{config.to}:{ident}"]

        def process(self, pack: PackView) -> Iterable[PackDraft]:
            return ()

    yield


class Files:
    """Writes a config and loads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, text: str, name: str = "d.toml") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def load(self, text: str, **environ: str) -> DaemonConfig:
        return load_daemon_config(self.write(text), environ)

    def problems(self, text: str, **environ: str) -> list[str]:
        """What is wrong with it, `LINE: text`."""
        path = self.write(text)
        with pytest.raises(ConfigError) as caught:
            load_daemon_config(path, environ)
        return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


Problems = Callable[[str], list[str]]
