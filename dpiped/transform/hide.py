"""Steps for personal data: `hash` and `mask`. Whatever stands in such a field is hidden, objects, lists and numbers
too: an event never leaves with the field as it was, unless it is null or absent.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, Field, SecretStr, model_validator

from dpiped.transform.base import Step, Target, Work
from dpiped.transform.paths import FieldPath, is_null, plain
from dpiped.transform.sheet import Sheet

_encode = msgspec.json.Encoder(order="deterministic").encode
REMEMBERED = 20_000


def _check_salt(salt: SecretStr) -> SecretStr:
    if len(salt.get_secret_value()) < 8:
        raise ValueError("expected a secret of at least 8 characters")
    return salt


class HashStep(Step):
    """Texts, numbers and objects become a keyed hash (BLAKE2b) of themselves, in hexadecimal digits: equal ones stay
    equal, so that they can be counted and joined, and without the salt nobody can try out which they were. A number is
    as the text of its digits: 7, 7.0 and "7" have one hash, "7.0", "07" and " 7" have others. Of texts,
    lists and objects each byte counts.
    """

    do: Literal["hash"]
    fields: tuple[Target, ...] = Field(min_length=1, examples=[["user.id"]])
    """Their paths."""
    salt: Annotated[SecretStr, AfterValidator(_check_salt)] = Field(examples=["${env:DPIPE_SALT}"])
    """The key, at least 8 characters; write it as `${env:NAME}`. With another one all hashes are others."""
    digits: Annotated[int, Field(ge=8, le=128, multiple_of=2)] = 32
    """Length of a hash."""

    def uses(self) -> Iterable[str]:
        return self.fields

    def writes(self) -> Iterable[str]:
        return self.fields

    def make(self) -> Work:
        return _Hash(self)


class MaskStep(Step):
    """Hides a part of texts and numbers, and all of what it cannot take apart."""

    do: Literal["mask"]
    fields: tuple[Target, ...] = Field(min_length=1, examples=[["user.phone"]])
    """Their paths."""
    kind: Literal["text", "email", "ip"] = "text"
    """"email" keeps the first letter and the domain, "ip" sets the last octet to 0 (of IPv6 the last 80 bits)."""
    first: Annotated[int, Field(ge=0)] = 0
    """So many characters at the beginning of a text stay; a text that would stay whole is hidden whole."""
    last: Annotated[int, Field(ge=0)] = 0
    """So many at its end."""
    by: str = "***"
    """What stands for the rest, however long that is."""

    @model_validator(mode="after")
    def _check(self) -> MaskStep:
        if self.kind != "text" and {"first", "last"} & self.model_fields_set:
            raise ValueError('first, last: these are only for kind = "text"')
        return self

    def uses(self) -> Iterable[str]:
        return self.fields

    def writes(self) -> Iterable[str]:
        return self.fields

    def make(self) -> Work:
        return _Mask(self)


class _Hide(Work):
    """Puts something else in the place of whatever the fields hold."""

    def __init__(self, fields: Iterable[str]) -> None:
        self._paths = [FieldPath(path) for path in fields]
        self._known = lru_cache(maxsize=REMEMBERED)(self.hide)

    def run(self, sheet: Sheet) -> None:
        rows = sheet.rows()
        for path in self._paths:
            for at in sheet.chosen:
                path.replace(rows[at], self._change)
            sheet.touch(path.text)

    def _change(self, member: Any) -> Any:
        value = plain(member)
        if isinstance(value, str):
            return self._known(value)
        if value is None and is_null(member):
            return member
        return self.hide_other(_encode(member if value is None else value))

    @abstractmethod
    def hide(self, text: str) -> str:
        """What stands for a text."""

    @abstractmethod
    def hide_other(self, data: bytes) -> str:
        """What stands for a number, list or object, given as JSON."""


class _Hash(_Hide):
    def __init__(self, step: HashStep) -> None:
        super().__init__(step.fields)
        salt = step.salt.get_secret_value().encode()
        self._empty = blake2b(key=blake2b(salt).digest(), digest_size=step.digits // 2)

    def hide(self, text: str) -> str:
        return self._hash(text.encode())

    def _change(self, member: Any) -> Any:
        value = plain(member)
        if type(value) is float and value.is_integer():  # a user's id may be 7 here and 7.0 there
            return self.hide(str(int(value)))
        return super()._change(member if value is None else value)

    def hide_other(self, data: bytes) -> str:
        return self._hash(data)

    def _hash(self, data: bytes) -> str:
        hasher = self._empty.copy()
        hasher.update(data)
        return hasher.hexdigest()


class _Mask(_Hide):
    def __init__(self, step: MaskStep) -> None:
        super().__init__(step.fields)
        self._step = step

    def hide(self, text: str) -> str:
        if self._step.kind == "ip":
            return _mask_ip(text) or self._step.by
        if self._step.kind == "email":
            name, at, domain = text.rpartition("@")
            return f"{name[0]}{self._step.by}@{domain}" if name and at and domain else self._step.by
        first, last = self._step.first, self._step.last
        if len(text) <= first + last:
            return self._step.by
        return f"{text[:first]}{self._step.by}{text[len(text) - last :]}"

    def hide_other(self, data: bytes) -> str:
        text = data.decode()
        return self._step.by if text[0] in "[{tf" else self.hide(text)


def _mask_ip(text: str) -> str:
    """Empty if it is no address."""
    try:
        if ":" not in text:
            return inet_ntop(AF_INET, inet_pton(AF_INET, text)[:3] + bytes(1))
        return inet_ntop(AF_INET6, inet_pton(AF_INET6, text.partition("%")[0])[:6] + bytes(10))
    except (OSError, ValueError):  # a zero character is a ValueError
        return ""
