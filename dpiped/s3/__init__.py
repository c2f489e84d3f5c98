"""What the outputs `s3` and `redshift` are made of: keys, objects, and a store that takes each object once."""

from dpiped.s3.body import write_ndjson
from dpiped.s3.config import ObjectConfig, S3Config
from dpiped.s3.deliver import OBJECT_BATCH, Deliverer, Stored
from dpiped.s3.keys import Partition
from dpiped.s3.parquet import write_parquet
from dpiped.s3.store import make_client

__all__ = [
    "OBJECT_BATCH",
    "Deliverer",
    "ObjectConfig",
    "Partition",
    "S3Config",
    "Stored",
    "make_client",
    "write_ndjson",
    "write_parquet",
]
