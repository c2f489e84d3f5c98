"""`./dev endure overload|isolation|reloads|soak --secs N`: runs one scenario for so long and prints what was seen."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.endurance.scenarios import SCENARIOS


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev endure", description=__doc__)
    parser.add_argument("scenario", choices=tuple(SCENARIOS))
    parser.add_argument("--secs", type=float, default=60.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dpipe-endure-") as folder:
        seen = asyncio.run(SCENARIOS[arguments.scenario](Path(folder), arguments.secs))
    figures = ", ".join(f"{key} {value:,.2f}" for key, value in seen.items())
    print(f"{arguments.scenario}, {arguments.secs:.0f} s: {figures}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
