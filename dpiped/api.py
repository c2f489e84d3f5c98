"""All that a plugin may import from dpiped."""

from dpiped.batch import Batch, BatchId
from dpiped.compression import DamagedError, TooLargeError, UnknownEncodingError, decompress
from dpiped.config.base import (
    Bytes,
    Ident,
    Listen,
    Name,
    PluginConfig,
    Secs,
    is_ident,
    is_loopback,
    is_name,
    split_listen,
)
from dpiped.errors import (
    BatchConflictError,
    CodecError,
    FatalPluginError,
    LostTrackError,
    RejectedError,
    TemporaryError,
    UnavailableError,
)
from dpiped.journal.record import Frame, FrameError, encode_frame, iter_frames
from dpiped.plugin import Emit, Filter, Input, Output, PackDraft, PluginContext, Receipt, StatefulFilter
from dpiped.registry import register
from dpiped.templates import PathTemplate, check_path_template
from dpiped.view import PackView

__all__ = [
    "Batch",
    "BatchConflictError",
    "BatchId",
    "Bytes",
    "CodecError",
    "DamagedError",
    "Emit",
    "FatalPluginError",
    "Filter",
    "Frame",
    "FrameError",
    "Ident",
    "Input",
    "Listen",
    "LostTrackError",
    "Name",
    "Output",
    "PackDraft",
    "PackView",
    "PathTemplate",
    "PluginConfig",
    "PluginContext",
    "Receipt",
    "RejectedError",
    "Secs",
    "StatefulFilter",
    "TemporaryError",
    "TooLargeError",
    "UnavailableError",
    "UnknownEncodingError",
    "check_path_template",
    "decompress",
    "encode_frame",
    "is_ident",
    "is_loopback",
    "is_name",
    "iter_frames",
    "register",
    "split_listen",
]
