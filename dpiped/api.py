"""All that a plugin may import from dpiped."""

from dpiped.aggregates import Aggregate
from dpiped.batch import Batch, BatchId
from dpiped.codecs.base import Codec
from dpiped.compression import DamagedError, TooLargeError, UnknownEncodingError, decompress, gzip_bytes
from dpiped.config.base import (
    Bytes,
    ConfigModel,
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
    DpipeError,
    FatalPluginError,
    LostTrackError,
    RejectedError,
    TemporaryError,
    UnavailableError,
)
from dpiped.expressions import Predicate, WhereError, check_where, compile_where
from dpiped.http_client import RETRY_LATER, bearer, retry_after
from dpiped.journal.append import LANE
from dpiped.journal.record import CONTENT_TYPE, Frame, FrameError, encode_frame, iter_frames
from dpiped.pack import encode_body
from dpiped.panes import (
    OTHER,
    FixedPeriods,
    PaneError,
    Periods,
    Sorted,
    WindowConfig,
    WindowedFilter,
    decode_pane,
    encode_pane,
)
from dpiped.plugin import Emit, Filter, Input, Output, PackDraft, PluginContext, Receipt, StatefulFilter
from dpiped.registry import register
from dpiped.sources.lines import LineCutter, read_lines
from dpiped.sources.noted import Noted
from dpiped.sources.options import SyslogOptions, TailOptions
from dpiped.sources.syslog import SyslogListener
from dpiped.sources.tail import Follower, follow
from dpiped.sources.tail_marks import Positions
from dpiped.sources.threads import finish_in_thread
from dpiped.telemetry.events import EventsDropped
from dpiped.templates import PathTemplate, check_path_template
from dpiped.view import PackView
from dpiped.windows import Watermark, WindowPolicy

__all__ = [
    "CONTENT_TYPE",
    "LANE",
    "OTHER",
    "RETRY_LATER",
    "Aggregate",
    "Batch",
    "BatchConflictError",
    "BatchId",
    "Bytes",
    "Codec",
    "CodecError",
    "ConfigModel",
    "DamagedError",
    "DpipeError",
    "Emit",
    "EventsDropped",
    "FatalPluginError",
    "Filter",
    "FixedPeriods",
    "Follower",
    "Frame",
    "FrameError",
    "Ident",
    "Input",
    "LineCutter",
    "Listen",
    "LostTrackError",
    "Name",
    "Noted",
    "Output",
    "PackDraft",
    "PackView",
    "PaneError",
    "PathTemplate",
    "Periods",
    "PluginConfig",
    "PluginContext",
    "Positions",
    "Predicate",
    "Receipt",
    "RejectedError",
    "Secs",
    "Sorted",
    "StatefulFilter",
    "SyslogListener",
    "SyslogOptions",
    "TailOptions",
    "TemporaryError",
    "TooLargeError",
    "UnavailableError",
    "UnknownEncodingError",
    "Watermark",
    "WhereError",
    "WindowConfig",
    "WindowPolicy",
    "WindowedFilter",
    "bearer",
    "check_path_template",
    "check_where",
    "compile_where",
    "decode_pane",
    "decompress",
    "encode_body",
    "encode_frame",
    "encode_pane",
    "finish_in_thread",
    "follow",
    "gzip_bytes",
    "is_ident",
    "is_loopback",
    "is_name",
    "iter_frames",
    "read_lines",
    "register",
    "retry_after",
    "split_listen",
]
