"""Buckets of S3: their config, a store that takes each object once, and outputs that use them."""

from dpiped.s3.config import S3Config
from dpiped.s3.output import BucketOutput

__all__ = ["BucketOutput", "S3Config"]
