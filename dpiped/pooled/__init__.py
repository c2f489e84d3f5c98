"""What outputs for people share: a pool that gathers events, and the message that is made of it."""

from dpiped.pooled.compose import as_html, as_text, headline
from dpiped.pooled.entry import Entry
from dpiped.pooled.output import PooledConfig, PooledOutput
from dpiped.pooled.owed import Owed
from dpiped.pooled.pool import Digest
from dpiped.pooled.severity import DEFAULT_SEVERITY, SEVERITIES, severity_of

__all__ = [
    "DEFAULT_SEVERITY",
    "SEVERITIES",
    "Digest",
    "Entry",
    "Owed",
    "PooledConfig",
    "PooledOutput",
    "as_html",
    "as_text",
    "headline",
    "severity_of",
]
