"""Who may import whom: what keeps plugins small, the collector light, and either half replaceable."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpiped import api

ROOT = Path(__file__).resolve().parents[2]
COLLECTOR_MAY_USE = (
    "dpiped.batch",
    "dpiped.codecs",
    "dpiped.compression",
    "dpiped.arguments",
    "dpiped.command_line",
    "dpiped.config",
    "dpiped.certificates",
    "dpiped.crashpoint",
    "dpiped.descriptors",
    "dpiped.errors",
    "dpiped.exit_code",
    "dpiped.files",
    "dpiped.handshake",
    "dpiped.hidden",
    "dpiped.journal",
    "dpiped.lock",
    "dpiped.pack",
    "dpiped.patience",
    "dpiped.quarantine",
    "dpiped.signals",
    "dpiped.sources",
    "dpiped.standard_streams",
    "dpiped.telemetry",
    "dpiped.tls",
)
ONE_HOME = {
    "plyvel": "dpiped/leveldb.py",
    "re2": "dpiped",
    "isal": "dpiped/gzip.py",
    "prometheus_client": "dpiped/telemetry",
    "psutil": ("dpiped/web", "plugins/inputs/selfsys.py"),
    "uvloop": ("dpiped/daemon.py", "collector/cli.py"),
}
"""Libraries that could be exchanged, and where all access to them is."""


def imports_of(path: Path) -> Iterator[str]:
    """All modules that a file imports, also inside functions and for type checking."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""


def imports_in(*folders: str) -> list[tuple[str, str]]:
    """(file, module) of everything below the folders."""
    return [
        (str(path.relative_to(ROOT)), module)
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        for module in imports_of(path)
    ]


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def test_plugins_import_only_the_api() -> None:
    wrong = [
        (file, module)
        for file, module in imports_in("plugins")
        if within(module, "dpiped", "collector", "plugins", "tests") and module != "dpiped.api"
    ]
    assert wrong == []


def test_dpiped_imports_no_plugin_by_name_and_nothing_of_the_collector() -> None:
    wrong = [
        (file, module)
        for file, module in imports_in("dpiped")
        if within(module, "collector", "tests")
        or (within(module, "plugins") and (file, module) != ("dpiped/registry.py", "plugins"))
    ]
    assert wrong == []


def test_the_collector_imports_no_plugin_and_no_engine() -> None:
    wrong = [
        (file, module)
        for file, module in imports_in("collector")
        if within(module, "dpiped", "plugins", "tests") and not within(module, *COLLECTOR_MAY_USE)
    ]
    assert wrong == []


@pytest.mark.parametrize("library", ONE_HOME)
def test_a_library_has_one_home(library: str) -> None:
    home = ONE_HOME[library]
    files = {file for file, module in imports_in("dpiped", "collector", "plugins") if within(module, library)}
    assert files
    assert all(file.startswith(home) for file in files), files


def test_the_api_exports_what_it_imports() -> None:
    tree = ast.parse((ROOT / "dpiped/api.py").read_text("utf-8"))
    nodes = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    imported = {alias.asname or alias.name for node in nodes for alias in node.names}
    assert set(api.__all__) == imported
    assert all(hasattr(api, name) for name in api.__all__)


def test_a_running_collector_loads_nothing_of_the_engine() -> None:
    """What an import pulls in behind its back costs memory on every server."""
    code = "import sys, collector.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {"aiohttp", "plyvel", "numpy", "plugins", "dpiped.engine", "dpiped.registry", "dpiped.runner", "rich"}
    assert heavy & loaded == set()


def test_a_config_loads_only_what_it_names(tmp_path: Path) -> None:
    """Libraries of other plugins cost memory, and time at each start."""
    file = tmp_path / "dpiped.toml"
    file.write_text(
        '[[input]]\ntype = "http"\nlisten = "127.0.0.1:0"\n[[filter]]\ntype = "alarm"\nwhen = "count > 1"\n'
        '[[output]]\ntype = "file"\npath = "out/a.ndjson"\n'
    )
    code = (
        "import sys, dpiped.daemon; from pathlib import Path; from dpiped.config.load import load_daemon_config; "
        f"load_daemon_config(Path({str(file)!r})); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {"apprise", "boto3", "confluent_kafka", "elastic_transport", "maxminddb", "psycopg", "pyarrow", "ua_parser"}
    assert (heavy | {"aiosmtplib", "fastavro"}) & loaded == set()
    assert {name for name in loaded if name.startswith("plugins.") and name.count(".") == 2} == {
        "plugins.filters.alarm",
        "plugins.inputs.http",
        "plugins.outputs.file",
    }
