"""What outputs have in common that store objects: partitions of a batch, bodies that are the same again, delivery."""

from dpiped.objects.body import Body, bytes_body
from dpiped.objects.config import FormatConfig, ObjectConfig
from dpiped.objects.deliver import OBJECT_BATCH, Deliverer, Stored
from dpiped.objects.keys import check_prefix, pattern_of

__all__ = [
    "OBJECT_BATCH",
    "Body",
    "Deliverer",
    "FormatConfig",
    "ObjectConfig",
    "Stored",
    "bytes_body",
    "check_prefix",
    "pattern_of",
]
