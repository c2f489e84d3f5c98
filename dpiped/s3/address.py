"""Addresses of objects, as people write them: s3://BUCKET/KEY."""

from __future__ import annotations

import re
from typing import NamedTuple

SCHEME = "s3://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class Address(NamedTuple):
    """Of an object, or of all whose keys match."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"


def is_bucket(text: str) -> bool:
    """Whether a bucket may have this name."""
    return _BUCKET.fullmatch(text) is not None and ".." not in text


def parse_address(text: str) -> Address:
    """Raises ValueError with what is wrong."""
    bucket, _, key = text.removeprefix(SCHEME).partition("/")
    if not text.startswith(SCHEME) or not is_bucket(bucket):
        raise ValueError(
            f'expected {SCHEME}BUCKET/KEY such as "{SCHEME}company-logs/2024/**/*.gz"; the name of a bucket is 3 to 63 '
            "small letters, digits, `.` and `-`"
        )
    return Address(bucket, key)
