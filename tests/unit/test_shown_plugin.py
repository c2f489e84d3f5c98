"""The plugin that CONTRIBUTING shows: it works as a file that is dropped in, and from a package with an entry point."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.docs.markdown import ROOT, Block, blocks


def shown_plugin() -> tuple[Block, str, str, str]:
    """(its file, the config, what is sent, what is printed)."""
    found = blocks(ROOT / "CONTRIBUTING.md")
    code = next(block for block in found if block.language == "python")
    config = next(block.text for block in found if block.file == "redact.toml")
    shown = next(block.text for block in found if block.text.startswith("echo"))
    command, _, output = shown.partition("\n")
    return code, config, command.partition("echo '")[2].partition("'")[0], output


def run_shown(folder: Path, environ: dict[str, str], config: str, event: str) -> str:
    (folder / "redact.toml").write_text(f'[engine]\nadmin = "127.0.0.1:0"\n{config}', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "dpiped", "run", "-c", "redact.toml"],
        cwd=folder,
        env=environ,
        input=f"{event}\n",
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_shown_plugin_works_as_a_dropped_in_file(tmp_path: Path) -> None:
    code, config, event, output = shown_plugin()
    for name in ("dpiped", "plugins"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / code.file).write_text(code.text, encoding="utf-8")
    assert run_shown(tmp_path, dict(os.environ), config, event) == output


def test_the_shown_plugin_works_by_entry_point(tmp_path: Path) -> None:
    code, config, event, output = shown_plugin()
    package, info = tmp_path / "site/my_package", tmp_path / "site/my_package-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").touch()
    (package / "redact.py").write_text(code.text, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n", encoding="utf-8")
    lines = next(block.text for block in blocks(ROOT / "CONTRIBUTING.md") if "entry-points" in block.text)
    points = re.sub(r'.*\[project\.entry-points\."(.*)"\]', r"[\1]", lines.partition("\n")[2]).replace('"', "")
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    assert run_shown(tmp_path, environ, config, event) == output


def test_the_shown_plugin_is_short() -> None:
    assert len(shown_plugin()[0].text.splitlines()) <= 45
