"""What objects are made of, whatever they are stored in."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from dpiped.config.base import ConfigModel
from dpiped.extras import need

ColumnType = Literal["string", "int64", "float64", "boolean", "timestamp", "strings"]


class ObjectConfig(ConfigModel):
    """Of every output that makes objects of batches."""

    time: Literal["event", "accepted"] = "event"
    """Whether strftime codes mean the time of each event, or that of acceptance."""
    compression: Literal["gzip", "zstd", "none"] = "gzip"
    """How the events are compressed."""
    gzip_level: Annotated[int, Field(ge=1, le=9)] = 6
    """How hard gzip tries."""
    max_uploads: Annotated[int, Field(gt=0, le=64)] = 4
    """So many are made and sent at once."""

    @property
    def ending(self) -> str:
        """Of the names."""
        return ".ndjson" + {"gzip": ".gz", "zstd": ".zst", "none": ""}[self.compression]


class FormatConfig(ObjectConfig):
    """Of those that also know Parquet."""

    format: Literal["ndjson", "parquet"] = "ndjson"
    """Events one a line, or Parquet with the columns below; Parquet needs the extra `parquet`."""
    columns: dict[str, ColumnType] = Field(
        default={}, examples=[{"@timestamp": "timestamp", "user.id": "int64", "action": "string"}]
    )
    """Columns of Parquet: field of the event and its type. A value of another type is null, and counted."""

    @field_validator("columns")
    @classmethod
    def _named(cls, columns: dict[str, ColumnType]) -> dict[str, ColumnType]:
        if any(not name.strip() for name in columns):
            raise ValueError("expected the names of fields")
        return columns

    @model_validator(mode="after")
    def _check_format(self) -> FormatConfig:
        if (self.format == "parquet") != bool(self.columns):
            raise ValueError('columns: format = "parquet" needs columns, and only it takes them')
        if self.format == "parquet":
            need("pyarrow", "parquet")
        return self

    @property
    def ending(self) -> str:
        return ".parquet" if self.format == "parquet" else super().ending
