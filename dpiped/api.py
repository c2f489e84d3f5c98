"""All that a plugin may import from dpiped."""

from dpiped.aggregates import Aggregate
from dpiped.batch import Batch, BatchId
from dpiped.behavior.fields import Reading, TypedField, parse_field
from dpiped.behavior.table import BehaviorTable, WrongTableError
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
    Token,
    Url,
    is_ident,
    is_loopback,
    is_name,
    split_listen,
)
from dpiped.elastic import (
    ElasticsearchConfig,
    ElasticsearchEvents,
    IndexNames,
    Judged,
    Pace,
    index_template,
    judge,
    lifecycle_policy,
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
from dpiped.http_client import RETRY_LATER, bearer, retry_after, text_of
from dpiped.journal.append import LANE
from dpiped.journal.record import CONTENT_TYPE, Frame, FrameError, encode_frame, iter_frames
from dpiped.keyed import KeyTemplate, Lacking, check_key
from dpiped.keys import KeyFields, keys_of
from dpiped.leveldb import LevelDb, LevelDbError, is_reserved
from dpiped.pack import encode_body
from dpiped.panes import (
    OTHER,
    FixedPeriods,
    PaneError,
    Parts,
    Periods,
    Sorted,
    Span,
    WindowConfig,
    WindowedFilter,
    decode_pane,
    encode_pane,
)
from dpiped.plugin import PAUSE, Emit, Filter, Input, Output, PackDraft, PluginContext, Receipt, StatefulFilter
from dpiped.pooled import (
    DEFAULT_SEVERITY,
    SEVERITIES,
    Digest,
    PooledConfig,
    PooledOutput,
    as_html,
    as_text,
    headline,
    severity_of,
)
from dpiped.questions import Alarming, Answering, Question
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
from dpiped.tls import SERVER_EXAMPLE, ClientTls, ServerTls, Tls, TlsError, client_tls
from dpiped.transform import NOTHING, AnyStep, Program, Sheet, Target, mistakes
from dpiped.view import PackView
from dpiped.web.bodies import BodyReader
from dpiped.web.listener import HttpListener
from dpiped.web.places import Place, Places, batch_of, host_of
from dpiped.web.refused import Refused, unavailable
from dpiped.web.strangers import stranger_logger
from dpiped.web.tokens import Tokens
from dpiped.windows import Watermark, WindowPolicy

__all__ = [
    "CONTENT_TYPE",
    "DEFAULT_SEVERITY",
    "LANE",
    "NOTHING",
    "OTHER",
    "PAUSE",
    "RETRY_LATER",
    "SERVER_EXAMPLE",
    "SEVERITIES",
    "Aggregate",
    "Alarming",
    "Answering",
    "AnyStep",
    "Batch",
    "BatchConflictError",
    "BatchId",
    "BehaviorTable",
    "BodyReader",
    "Bytes",
    "ClientTls",
    "Codec",
    "CodecError",
    "ConfigModel",
    "DamagedError",
    "Digest",
    "DpipeError",
    "ElasticsearchConfig",
    "ElasticsearchEvents",
    "Emit",
    "EventsDropped",
    "FatalPluginError",
    "Filter",
    "FixedPeriods",
    "Follower",
    "Frame",
    "FrameError",
    "HttpListener",
    "Ident",
    "IndexNames",
    "Input",
    "Judged",
    "KeyFields",
    "KeyTemplate",
    "Lacking",
    "LevelDb",
    "LevelDbError",
    "LineCutter",
    "Listen",
    "LostTrackError",
    "Name",
    "Noted",
    "Output",
    "Pace",
    "PackDraft",
    "PackView",
    "PaneError",
    "Parts",
    "PathTemplate",
    "Periods",
    "Place",
    "Places",
    "PluginConfig",
    "PluginContext",
    "PooledConfig",
    "PooledOutput",
    "Positions",
    "Predicate",
    "Program",
    "Question",
    "Reading",
    "Receipt",
    "Refused",
    "RejectedError",
    "Secs",
    "ServerTls",
    "Sheet",
    "Sorted",
    "Span",
    "StatefulFilter",
    "SyslogListener",
    "SyslogOptions",
    "TailOptions",
    "Target",
    "TemporaryError",
    "Tls",
    "TlsError",
    "Token",
    "Tokens",
    "TooLargeError",
    "TypedField",
    "UnavailableError",
    "UnknownEncodingError",
    "Url",
    "Watermark",
    "WhereError",
    "WindowConfig",
    "WindowPolicy",
    "WindowedFilter",
    "WrongTableError",
    "as_html",
    "as_text",
    "batch_of",
    "bearer",
    "check_key",
    "check_path_template",
    "check_where",
    "client_tls",
    "compile_where",
    "decode_pane",
    "decompress",
    "encode_body",
    "encode_frame",
    "encode_pane",
    "finish_in_thread",
    "follow",
    "gzip_bytes",
    "headline",
    "host_of",
    "index_template",
    "is_ident",
    "is_loopback",
    "is_name",
    "is_reserved",
    "iter_frames",
    "judge",
    "keys_of",
    "lifecycle_policy",
    "mistakes",
    "parse_field",
    "read_lines",
    "register",
    "retry_after",
    "severity_of",
    "split_listen",
    "stranger_logger",
    "text_of",
    "unavailable",
]
