"""The configuration of codecs: one model each, and the one place where a codec is built of it.

Light on purpose: the collector reads these models too, so a codec's own module (and numpy, re2) is imported when it
is built.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, model_validator

from dpiped.codecs.base import Codec
from dpiped.codecs.times import TimeSpec, check_format, check_spec, find_zone
from dpiped.config.base import ConfigModel

FieldKind = Literal["str", "int", "float", "bool"]


def _check_zone(name: str) -> str:
    find_zone(name)
    return name


Zone = Annotated[str, AfterValidator(_check_zone)]
"""IANA name of a time zone."""
TimeFormat = Annotated[str, AfterValidator(check_format)]
"""How a time is written: rfc3339, unix, unix_ms or a strptime format."""
TimeConfig = Annotated[TimeSpec, AfterValidator(check_spec)]
"""`time = { field = "ts", format = "unix", zone = "UTC" }` of an input."""
OneCharacter = Annotated[str, Field(min_length=1, max_length=1)]


class JsonCodecConfig(ConfigModel):
    """JSON objects: one a line, in an array or an array a line, pretty-printed, or with nothing between them. That is
    for bodies, which are read as a whole; inputs that read streams and files by the block want lines that are whole.
    """

    type: Literal["json"] = "json"


class AlsCodecConfig(ConfigModel):
    """Lines `area,ts,{json}`, optionally with `:category,` in front."""

    type: Literal["als"] = "als"


class RawCodecConfig(ConfigModel):
    """Each line is the `message` of an event."""

    type: Literal["raw"] = "raw"


class SyslogCodecConfig(ConfigModel):
    """RFC 3164 and RFC 5424, found out line by line. A priority counts without a time, too.

    Line breaks inside of a frame are kept.
    """

    type: Literal["syslog"] = "syslog"
    zone: Zone = "UTC"
    """Zone of times that name none."""


class CsvCodecConfig(ConfigModel):
    """Comma-separated values; each row is an event."""

    type: Literal["csv"] = "csv"
    columns: Annotated[list[str], Field(min_length=1)] | None = None
    """Names of the columns; a row that repeats them is no event. Without it the first row of the data names them: only
    for inputs that get data whole, such as the body of a request."""
    delimiter: OneCharacter = ","
    """Stands between two values."""
    quote: OneCharacter = '"'
    """Stands around values that hold a delimiter or a line break; doubled inside. Values with line breaks need data
    that comes whole: an input that cuts it behind any line may tear them, and the halves go to the dead letter."""
    types: dict[str, FieldKind] = Field(default_factory=dict)
    """Kind of a column, "str" if it is not named; a value of another kind is left out of the event and counted."""

    @model_validator(mode="after")
    def _check(self) -> CsvCodecConfig:
        if self.delimiter == self.quote:
            raise ValueError("delimiter and quote must differ")
        if self.delimiter in "\r\n" or self.quote in "\r\n":
            raise ValueError("delimiter and quote cannot be line breaks")
        if self.columns is None:
            return self
        if "" in self.columns or len(set(self.columns)) < len(self.columns):
            raise ValueError("columns: expected names that differ, none of them empty")
        unknown = sorted(set(self.types) - set(self.columns))
        if unknown:
            raise ValueError(f"types: there is no column {unknown[0]!r}")
        return self


class RegexCodecConfig(ConfigModel):
    """Lines taken apart by the named groups of a pattern (google-re2, so every pattern runs in linear time)."""

    type: Literal["regex"] = "regex"
    pattern: str | None = None
    """Named groups become fields; a suffix `_int`, `_float` or `_bool` of a name types the field and is cut off."""
    preset: str | None = None
    """Name of a pattern that dpipe brings, instead of `pattern`."""
    types: dict[str, FieldKind] = Field(default_factory=dict)
    """Kind of a field, by the name of its group."""
    time_field: str | None = None
    """Field that holds the time; it is left out of the event when it could be read."""
    time_formats: list[TimeFormat] | None = None
    """How the time is written; the first that fits counts. Without it: rfc3339."""
    zone: Zone = "UTC"
    """Zone of times that name none."""
    on_mismatch: Literal["keep", "reject"] = "keep"
    """What becomes of a line that does not match: an event with `message` (counted), or the dead letter."""

    @model_validator(mode="after")
    def _check(self) -> RegexCodecConfig:
        from dpiped.codecs.regex import compile_config  # here, because it needs re2

        compile_config(self)
        return self


CodecConfig = JsonCodecConfig | AlsCodecConfig | RawCodecConfig | SyslogCodecConfig | CsvCodecConfig | RegexCodecConfig
CODEC_NAMES = ("als", "csv", "json", "raw", "regex", "syslog")
"""What `codec = ".."` and `?codec=..` may say."""


def _from_name(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


CodecSpec = Annotated[CodecConfig, Field(discriminator="type"), BeforeValidator(_from_name)]
"""A codec in a config: its name, or a table with its `type` and options."""

_adapter: TypeAdapter[CodecConfig] = TypeAdapter(CodecSpec)


def build_codec(spec: CodecConfig | str | dict[str, Any]) -> Codec:
    """The codec of a checked config, of a name or of a table.

    Raises pydantic.ValidationError for an unknown name or option.
    """
    config = _adapter.validate_python(spec)
    module = import_module(f"dpiped.codecs.{config.type}")
    build: Callable[[CodecConfig], Codec] = module.build
    codec = build(config)
    codec.name = config.type
    return codec
