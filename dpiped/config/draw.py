"""Pictures of a config: inputs, filters and outputs, and the idents that go between them.

Layers from left to right: inputs, filters by how many filters are before them, outputs.
"""

from __future__ import annotations

from html import escape

from dpiped.config.graph import Edge, Table, edges
from dpiped.config.schema import DaemonConfig

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 190, 48, 150, 26, 20
COLORS = {"input": "#dbeafe", "filter": "#fef3c7", "output": "#dcfce7"}


def draw_text(config: DaemonConfig) -> str:
    """One line for each way."""
    ways = edges(config)
    lines = []
    for table in config.tables:
        state = "  (disabled)" if table.options.disabled else ""
        lines.append(f"{table.kind:6} {table.name} ({table.type}){state}")
        lines += [f"       -> {way.target.name}  [{_idents(way)}]" for way in ways if way.source is table]
    return "\n".join(lines) + "\n"


def draw_mermaid(config: DaemonConfig) -> str:
    """A Mermaid flowchart."""
    shapes = {"input": ("([", "])"), "filter": ("[", "]"), "output": ("[(", ")]")}
    numbers = {table.name: f"n{number}" for number, table in enumerate(config.tables)}
    lines = ["flowchart LR"]
    for table in config.tables:
        left, right = shapes[table.kind]
        lines.append(f'  {numbers[table.name]}{left}"{_mermaid(table.name)}<br/>{_mermaid(table.type)}"{right}')
    for way in edges(config):
        lines.append(f'  {numbers[way.source.name]} -->|"{_mermaid(_idents(way))}"| {numbers[way.target.name]}')
    return "\n".join(lines) + "\n"


def draw_svg(config: DaemonConfig) -> str:
    """A picture that needs nothing else to be shown."""
    ways = edges(config)
    places = _places(config, ways)
    width = max((x for x, _ in places.values()), default=0) + BOX_WIDTH + MARGIN
    height = max((y for _, y in places.values()), default=0) + BOX_HEIGHT + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#64748b"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    parts += [_arrow(places[way.source.name], places[way.target.name], _idents(way)) for way in ways]
    parts += [_box(table, *places[table.name]) for table in config.tables]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _idents(way: Edge) -> str:
    """Without the patterns that another one covers: what codecs may add is not worth a label."""
    shown = [ident for ident in way.idents if not ident.endswith(".*") or ident[:-2] not in way.idents]
    return ", ".join(["any"] if "**" in shown else shown)


def _places(config: DaemonConfig, ways: list[Edge]) -> dict[str, tuple[int, int]]:
    """Upper left corner of each box."""
    layer = {table.name: 0 for table in config.inputs} | {table.name: 1 for table in config.filters}
    for _ in config.filters:
        for way in ways:
            if way.source.kind == way.target.kind == "filter":
                layer[way.target.name] = max(layer[way.target.name], layer[way.source.name] + 1)
    last = max(layer.values(), default=0) + 1
    layer |= {table.name: last for table in config.outputs}
    filled: dict[int, int] = {}
    places = {}
    for table in config.tables:
        column = layer[table.name]
        row = filled.get(column, 0)
        filled[column] = row + 1
        places[table.name] = (MARGIN + column * (BOX_WIDTH + GAP_X), MARGIN + row * (BOX_HEIGHT + GAP_Y))
    return places


def _box(table: Table, x: int, y: int) -> str:
    dashes = ' stroke-dasharray="4 3"' if table.options.disabled else ""
    middle = x + BOX_WIDTH // 2
    return (
        f'<g><rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" fill="{COLORS[table.kind]}" '
        f'stroke="#64748b"{dashes}/>'
        f'<text x="{middle}" y="{y + 20}" text-anchor="middle" font-weight="bold">{escape(_cut(table.name, 26))}</text>'
        f'<text x="{middle}" y="{y + 37}" text-anchor="middle" fill="#475569">{escape(_cut(table.type, 28))}</text></g>'
    )


def _arrow(source: tuple[int, int], target: tuple[int, int], label: str) -> str:
    x1, y1 = source[0] + BOX_WIDTH, source[1] + BOX_HEIGHT // 2
    x2, y2 = target[0], target[1] + BOX_HEIGHT // 2
    bend = max(40, (x2 - x1) // 2)
    return (
        f'<path d="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}" fill="none" stroke="#64748b" '
        f'marker-end="url(#tip)"/><text x="{x2 - 8}" y="{y2 - 5}" text-anchor="end" font-size="10" fill="#64748b">'
        f"{escape(_cut(label, 24))}</text>"
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _mermaid(text: str) -> str:
    """Inside of a quoted label."""
    return text.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
