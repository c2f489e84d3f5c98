"""Buckets of S3: their config, and a store that takes each object once."""

from dpiped.s3.bucket import Bucket
from dpiped.s3.config import BucketConfig, S3Config
from dpiped.s3.store import make_client

__all__ = ["Bucket", "BucketConfig", "S3Config", "make_client"]
