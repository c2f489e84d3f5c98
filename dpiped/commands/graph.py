"""`dpiped graph`: who gives packs to whom, as text, Mermaid or SVG."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dpiped.config.draw import draw_mermaid, draw_svg, draw_text
from dpiped.config.load import load_daemon_config

DRAWERS = {"text": draw_text, "mermaid": draw_mermaid, "svg": draw_svg}


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the parser."""
    graph = commands.add_parser("graph", parents=[common], help="show who gives packs to whom")
    graph.add_argument("config", type=Path, metavar="FILE", help="config file, or folder of them")
    graph.add_argument("--format", choices=tuple(DRAWERS), default="text", help="text, mermaid or svg")
    graph.set_defaults(command=graph_command)


def graph_command(arguments: argparse.Namespace) -> int:
    """Prints the picture."""
    print(DRAWERS[arguments.format](load_daemon_config(arguments.config)), end="")
    return 0
