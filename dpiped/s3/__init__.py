"""Buckets of S3: who asks, a store that takes each object once, outputs that use it, and reading objects."""

from dpiped.s3.address import SCHEME, Address, parse_address
from dpiped.s3.config import AccessConfig, S3Config
from dpiped.s3.output import BucketOutput
from dpiped.s3.reader import ObjectError, ObjectReader, ObjectStream

__all__ = [
    "SCHEME",
    "AccessConfig",
    "Address",
    "BucketOutput",
    "ObjectError",
    "ObjectReader",
    "ObjectStream",
    "S3Config",
    "parse_address",
]
