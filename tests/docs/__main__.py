"""`./dev docs`: writes the generated files anew; with `--check` it only says which are stale (status 1)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dpiped.config.render import generated_files
from tests.docs.pages import (
    aggregates_page,
    codecs_page,
    collector_page,
    collector_sample,
    metrics_page,
    transform_page,
)

ROOT = Path(__file__).resolve().parents[2]


def all_files() -> dict[str, str]:
    """Path below the project's root -> text."""
    return {
        **generated_files(),
        "etc/collector.toml": collector_sample(),
        "docs/collector.md": collector_page(),
        "docs/codecs.md": codecs_page(),
        "docs/metrics.md": metrics_page(),
        "docs/aggregates.md": aggregates_page((ROOT / "docs/aggregates.md").read_text("utf-8")),
        "docs/transform.md": transform_page((ROOT / "docs/transform.md").read_text("utf-8")),
    }


def stale(files: dict[str, str]) -> list[str]:
    """What is missing, differs, or lies among the samples without belonging there."""
    lost = {str(path.relative_to(ROOT)) for path in (ROOT / "etc/samples").glob("*")} - set(files)
    differs = [
        name for name, text in files.items() if not (ROOT / name).is_file() or (ROOT / name).read_text("utf-8") != text
    ]
    return sorted([*differs, *lost])


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev docs", description="Write the generated reference and samples anew.")
    parser.add_argument("--check", action="store_true", help="write nothing; say which files are stale")
    check = parser.parse_args().check
    files = all_files()
    for name in stale(files):
        print(f"{name} is stale: run ./dev docs" if check else name)
        if not check and name in files:
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_text(files[name], encoding="utf-8")
        elif not check:
            (ROOT / name).unlink()
    return int(check and bool(stale(files)))


if __name__ == "__main__":
    sys.exit(main())
