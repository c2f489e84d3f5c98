"""All that a plugin may import from dpiped."""

from dpiped.aggregates import Aggregate
from dpiped.alarms import AlarmConfig, AlarmingFilter
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
from dpiped.hdfs import HdfsConfig, WebHdfs
from dpiped.http_client import RETRY_LATER, bearer, retry_after, text_of
from dpiped.journal.append import LANE
from dpiped.journal.record import CONTENT_TYPE, Frame, FrameError, encode_frame, iter_frames
from dpiped.keys import KeyFields, keys_of
from dpiped.normalise import Normaliser, NormaliseRule
from dpiped.objects import OBJECT_BATCH, Body, Deliverer, bytes_body, pattern_of
from dpiped.objects import Stored as StoredObject
from dpiped.pack import encode_body
from dpiped.panes import (
    OTHER,
    FixedPeriods,
    PaneError,
    Parts,
    Periods,
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
from dpiped.redshift import DataApi, RedshiftConfig
from dpiped.redshift import Session as RedshiftSession
from dpiped.redshift import Statements as RedshiftStatements
from dpiped.registry import register
from dpiped.s3 import Bucket, S3Config
from dpiped.sources.lines import LineCutter, read_lines
from dpiped.sources.noted import Noted
from dpiped.sources.options import SyslogOptions, TailOptions
from dpiped.sources.syslog import SyslogListener
from dpiped.sources.tail import Follower, follow
from dpiped.sources.tail_marks import Chunk, Positions
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
from dpiped.workers import Workers

__all__ = [
    "CONTENT_TYPE",
    "DEFAULT_SEVERITY",
    "LANE",
    "NOTHING",
    "OBJECT_BATCH",
    "OTHER",
    "PAUSE",
    "RETRY_LATER",
    "SERVER_EXAMPLE",
    "SEVERITIES",
    "Aggregate",
    "AlarmConfig",
    "Alarming",
    "AlarmingFilter",
    "Answering",
    "AnyStep",
    "Batch",
    "BatchConflictError",
    "BatchId",
    "Body",
    "BodyReader",
    "Bucket",
    "Bytes",
    "Chunk",
    "ClientTls",
    "Codec",
    "CodecError",
    "ConfigModel",
    "DamagedError",
    "DataApi",
    "Deliverer",
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
    "HdfsConfig",
    "HttpListener",
    "Ident",
    "IndexNames",
    "Input",
    "Judged",
    "KeyFields",
    "LineCutter",
    "Listen",
    "LostTrackError",
    "Name",
    "NormaliseRule",
    "Normaliser",
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
    "Receipt",
    "RedshiftConfig",
    "RedshiftSession",
    "RedshiftStatements",
    "Refused",
    "RejectedError",
    "S3Config",
    "Secs",
    "ServerTls",
    "Sheet",
    "Span",
    "StatefulFilter",
    "StoredObject",
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
    "UnavailableError",
    "UnknownEncodingError",
    "Url",
    "Watermark",
    "WebHdfs",
    "WhereError",
    "WindowConfig",
    "WindowPolicy",
    "WindowedFilter",
    "Workers",
    "as_html",
    "as_text",
    "batch_of",
    "bearer",
    "bytes_body",
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
    "iter_frames",
    "judge",
    "keys_of",
    "lifecycle_policy",
    "mistakes",
    "pattern_of",
    "read_lines",
    "register",
    "retry_after",
    "severity_of",
    "split_listen",
    "stranger_logger",
    "text_of",
    "unavailable",
]
