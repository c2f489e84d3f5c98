"""Parquet objects: columns that the config names, of the types it says. Needs pyarrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO, Any

from dpiped.objects.keys import Partition

GROUP_ROWS = 50_000
"""Rows of a row group, about; so many are held as Python objects."""
_INT64 = 1 << 63


def _is_int(value: Any) -> bool:
    return type(value) is int and -_INT64 <= value < _INT64


_FITS: Mapping[str, Any] = {
    "string": lambda value: type(value) is str,
    "int64": _is_int,
    "timestamp": _is_int,
    "float64": lambda value: type(value) is float or _is_int(value),
    "boolean": lambda value: type(value) is bool,
    "strings": lambda value: type(value) is list and all(type(one) is str for one in value),
}


def write_parquet(file: IO[bytes], partition: Partition, columns: Mapping[str, str], compression: str) -> int:
    """Writes the columns; returns how many values were of another type and became null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {
        "string": pa.string(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "boolean": pa.bool_(),
        "timestamp": pa.timestamp("ms", tz="UTC"),
        "strings": pa.list_(pa.string()),
    }
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    wrong = 0
    rows: dict[str, list[Any]] = {name: [] for name in columns}
    with pq.ParquetWriter(file, schema, compression=compression.upper()) as writer:
        for number, piece in enumerate(partition.pieces, start=1):
            for name, kind in columns.items():
                column, misfits = _fitting(piece.column(name), kind)
                rows[name] += column
                wrong += misfits
            held = len(next(iter(rows.values())))
            if held >= GROUP_ROWS or (held and number == len(partition.pieces)):
                writer.write_table(pa.table(rows, schema))
                rows = {name: [] for name in columns}
    return wrong


def _fitting(values: Sequence[Any], kind: str) -> tuple[Sequence[Any], int]:
    """(values with None for those of another type, how many those were)."""
    fits = _FITS[kind]
    column = [value if value is not None and fits(value) else None for value in values]
    misfits = column.count(None) - list(values).count(None)
    if kind == "float64":  # pyarrow refuses whole numbers that a float cannot tell exactly
        column = [None if value is None else float(value) for value in column]
    return column, misfits
