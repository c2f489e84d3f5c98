"""All that a plugin may import from dpiped."""

from dpiped.batch import Batch, BatchId
from dpiped.config.base import Bytes, Ident, Listen, Name, PluginConfig, Secs, split_listen
from dpiped.errors import (
    BatchConflictError,
    CodecError,
    FatalPluginError,
    RejectedError,
    TemporaryError,
    UnavailableError,
)
from dpiped.plugin import Emit, Filter, Input, Output, PackDraft, PluginContext, Receipt, StatefulFilter
from dpiped.registry import register
from dpiped.view import PackView

__all__ = [
    "Batch",
    "BatchConflictError",
    "BatchId",
    "Bytes",
    "CodecError",
    "Emit",
    "FatalPluginError",
    "Filter",
    "Ident",
    "Input",
    "Listen",
    "Name",
    "Output",
    "PackDraft",
    "PackView",
    "PluginConfig",
    "PluginContext",
    "Receipt",
    "RejectedError",
    "Secs",
    "StatefulFilter",
    "TemporaryError",
    "UnavailableError",
    "register",
    "split_listen",
]
