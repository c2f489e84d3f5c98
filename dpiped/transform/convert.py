"""Step `convert`: values of another type."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, Field, model_validator

from dpiped.codecs.times import TimeReader, TimeSpec, check_format, find_zone
from dpiped.codecs.values import to_bool, to_float, to_int
from dpiped.transform.base import Step, Target, Work
from dpiped.transform.paths import NOTHING
from dpiped.transform.sheet import GONE, Sheet

Type = Literal["int", "float", "string", "bool", "time"]
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
"""What stores and other programs take for a whole number."""


def _check_zone(name: str) -> str:
    find_zone(name)
    return name


class ConvertStep(Step):
    """Makes the values of fields another type. What cannot be converted is counted as `convert_failed`: text that is no
    number, a number with a fraction that should be whole, an object. Absent fields and nulls are left alone, and what
    is of the type already. To "int": of texts `" 5 "` and `"+5"` become 5, while `"1e3"`, `"5.0"`, `"0x10"` and
    `"1_000"` cannot be converted; the numbers 1e3 and 5.0 become 1000 and 5. Both only from -9223372036854775808 to
    18446744073709551615.
    """

    do: Literal["convert"]
    fields: tuple[Target, ...] = Field(min_length=1, examples=[["status"]])
    """Their paths."""
    to: Type
    """"time" is milliseconds since the epoch. To "bool": true, t, yes, y, on, 1 and their opposites."""
    format: Annotated[str, AfterValidator(check_format)] = "rfc3339"
    """How a "time" is written: "rfc3339", "unix", "unix_ms" or a strptime format."""
    zone: Annotated[str, AfterValidator(_check_zone)] = "UTC"
    """IANA zone of times that name none."""
    on_error: Literal["keep", "drop"] = "keep"
    """What cannot be converted stays as it is, or the event loses the field."""

    @model_validator(mode="after")
    def _check(self) -> ConvertStep:
        if self.to != "time" and {"format", "zone"} & self.model_fields_set:
            raise ValueError('format, zone: these are only for to = "time"')
        return self

    def reads(self) -> Iterable[str]:
        return self.fields

    def writes(self) -> Iterable[str]:
        return self.fields

    def make(self) -> Work:
        return _Convert(self)


class _Convert(Work):
    def __init__(self, step: ConvertStep) -> None:
        self._fields = step.fields
        self._bad = NOTHING if step.on_error == "keep" else GONE
        self._left = {type(None), *_LEFT[step.to]}
        self._times = TimeReader(TimeSpec("-", step.format, step.zone))
        self._accepted_ms = 0
        self._convert: Callable[[Any], Any] = self._time if step.to == "time" else _CONVERTERS[step.to]

    def run(self, sheet: Sheet) -> None:
        self._accepted_ms = sheet.accepted_ms
        for path in self._fields:
            self._run(sheet, path)

    def _run(self, sheet: Sheet, path: str) -> None:
        values = sheet.column(path)
        failed = sheet.hidden(path, values)
        if failed or not self._left.issuperset(map(type, values)):
            written = [NOTHING if type(value) in self._left else self._one(value) for value in values]
            failed += [at for at, value in enumerate(written) if value is _FAILED]
            for at in failed:
                written[at] = self._bad
            sheet.write(path, written, "convert")
            sheet.fail("convert", "failed", sorted(failed))

    def _one(self, value: Any) -> Any:
        try:
            return self._convert(value)
        except (ValueError, OverflowError):
            return _FAILED

    def _time(self, value: Any) -> int:
        ms = self._times.read(value, self._accepted_ms)
        if ms is None:
            raise ValueError(value)
        return ms


_FAILED = object()
_LEFT: dict[Type, tuple[type, ...]] = {"int": (int,), "float": (float,), "string": (str,), "bool": (bool,), "time": ()}
"""What is of the type already."""


def _int(value: Any) -> int:
    if isinstance(value, str):
        return to_int(value)
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    number = int(_number(value))
    if not _SMALLEST <= number <= _LARGEST:
        raise ValueError(value)
    return number


def _float(value: Any) -> float:
    return to_float(value) if isinstance(value, str) else float(_number(value))


def _string(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _bool(value: Any) -> bool:
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    return to_bool(value if isinstance(value, str) else "")


def _number(value: Any) -> int | float:
    if not isinstance(value, int | float):  # true is 1
        raise ValueError(value)  # noqa: TRY004 - a value that cannot be converted, of whatever type
    return value


_CONVERTERS: dict[Type, Callable[[Any], Any]] = {"int": _int, "float": _float, "string": _string, "bool": _bool}
