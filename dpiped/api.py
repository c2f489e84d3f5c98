"""All that a plugin may import from dpiped."""

from dpiped.aggregates import Aggregate
from dpiped.alarms import AlarmConfig, AlarmingFilter
from dpiped.archive import ArchivePath, DamagedFileError, Lines, Plan, Reader, Spot, is_in_bucket
from dpiped.archive import Places as ArchivePlaces
from dpiped.batch import Batch, BatchId
from dpiped.behavior.fields import Reading, TypedField, parse_field
from dpiped.behavior.table import BehaviorTable, WrongTableError
from dpiped.claims import Claims
from dpiped.codecs.base import Codec
from dpiped.codecs.syslog import FACILITIES
from dpiped.codecs.syslog import SEVERITIES as SYSLOG_SEVERITIES
from dpiped.compression import DamagedError, TooLargeError, UnknownEncodingError, decompress
from dpiped.config.base import (
    Bytes,
    ConfigModel,
    Host,
    Ident,
    Listen,
    Name,
    PluginConfig,
    PositiveSecs,
    Secs,
    Token,
    Url,
    WindowSecs,
    is_ident,
    is_loopback,
    is_name,
    split_listen,
)
from dpiped.elastic import (
    ElasticsearchConfig,
    ElasticsearchEvents,
    Judged,
    Pace,
    index_names,
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
    MessageRefusedError,
    RejectedError,
    TemporaryError,
    UnavailableError,
)
from dpiped.expressions import Predicate, WhereError, check_where, compile_where
from dpiped.files import make_folder, sync_folder, write_all
from dpiped.gzip import pack as gzip_bytes
from dpiped.hdfs import HdfsConfig, WebHdfs
from dpiped.http_client import RETRY_LATER, bearer, retry_after, text_of
from dpiped.journal.append import LANE
from dpiped.journal.record import CONTENT_TYPE, Frame, FrameError, encode_frame, iter_frames
from dpiped.kafka import (
    HEADER_FIELDS,
    SLOW_SECS,
    TOPIC,
    AvroReader,
    Block,
    DailyTopics,
    KafkaConfig,
    KafkaInputConfig,
    KafkaOutputConfig,
    KafkaPositions,
    Marker,
    Messages,
    Outgoing,
    Shares,
    Troubles,
    blocks_of,
    check_topic,
    fields_of,
    first_contact,
    is_plain,
    name_of,
    reason_of,
    start_of,
    topic_names,
)
from dpiped.keyed import KeyTemplate, Lacking, check_key
from dpiped.keys import KeyFields, keys_of
from dpiped.leveldb import LevelDb, LevelDbError, is_reserved
from dpiped.long_texts import LONGEST as LONGEST_TEXT
from dpiped.long_texts import held_with_lists
from dpiped.normalise import Normaliser, NormaliseRule
from dpiped.objects import OBJECT_BATCH, Body, Deliverer, bytes_body, pattern_of
from dpiped.objects import Stored as StoredObject
from dpiped.pack import ENCODINGS, NO_PROJECT, Head, encode_body
from dpiped.panes import (
    OTHER,
    FixedPeriods,
    PaneError,
    PaneShape,
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
    Owed,
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
from dpiped.s3 import AccessConfig as S3AccessConfig
from dpiped.s3 import BucketOutput, S3Config
from dpiped.sources.follow_input import FollowConfig, FollowInput
from dpiped.sources.gatherer import Block as SyslogBlock
from dpiped.sources.lines import LineCutter, read_lines
from dpiped.sources.noted import Noted
from dpiped.sources.options import SyslogOptions
from dpiped.sources.syslog import SyslogListener
from dpiped.sources.tail_marks import Chunk
from dpiped.sources.threads import finish_in_thread
from dpiped.telemetry.events import DeliveryRetried, EventsDropped
from dpiped.templates import PathTemplate, check_path_template
from dpiped.text import printable
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
    "ENCODINGS",
    "FACILITIES",
    "HEADER_FIELDS",
    "LANE",
    "LONGEST_TEXT",
    "NOTHING",
    "NO_PROJECT",
    "OBJECT_BATCH",
    "OTHER",
    "PAUSE",
    "RETRY_LATER",
    "SERVER_EXAMPLE",
    "SEVERITIES",
    "SLOW_SECS",
    "SYSLOG_SEVERITIES",
    "TOPIC",
    "Aggregate",
    "AlarmConfig",
    "Alarming",
    "AlarmingFilter",
    "Answering",
    "AnyStep",
    "ArchivePath",
    "ArchivePlaces",
    "AvroReader",
    "Batch",
    "BatchConflictError",
    "BatchId",
    "BehaviorTable",
    "Block",
    "Body",
    "BodyReader",
    "BucketOutput",
    "Bytes",
    "Chunk",
    "Claims",
    "ClientTls",
    "Codec",
    "CodecError",
    "ConfigModel",
    "DailyTopics",
    "DamagedError",
    "DamagedFileError",
    "DataApi",
    "Deliverer",
    "DeliveryRetried",
    "Digest",
    "DpipeError",
    "ElasticsearchConfig",
    "ElasticsearchEvents",
    "Emit",
    "EventsDropped",
    "FatalPluginError",
    "Filter",
    "FixedPeriods",
    "FollowConfig",
    "FollowInput",
    "Frame",
    "FrameError",
    "HdfsConfig",
    "Head",
    "Host",
    "HttpListener",
    "Ident",
    "Input",
    "Judged",
    "KafkaConfig",
    "KafkaInputConfig",
    "KafkaOutputConfig",
    "KafkaPositions",
    "KeyFields",
    "KeyTemplate",
    "Lacking",
    "LevelDb",
    "LevelDbError",
    "LineCutter",
    "Lines",
    "Listen",
    "LostTrackError",
    "Marker",
    "MessageRefusedError",
    "Messages",
    "Name",
    "NormaliseRule",
    "Normaliser",
    "Noted",
    "Outgoing",
    "Output",
    "Owed",
    "Pace",
    "PackDraft",
    "PackView",
    "PaneError",
    "PaneShape",
    "Parts",
    "PathTemplate",
    "Periods",
    "Place",
    "Places",
    "Plan",
    "PluginConfig",
    "PluginContext",
    "PooledConfig",
    "PooledOutput",
    "PositiveSecs",
    "Predicate",
    "Program",
    "Question",
    "Reader",
    "Reading",
    "Receipt",
    "RedshiftConfig",
    "RedshiftSession",
    "RedshiftStatements",
    "Refused",
    "RejectedError",
    "S3AccessConfig",
    "S3Config",
    "Secs",
    "ServerTls",
    "Shares",
    "Sheet",
    "Span",
    "Spot",
    "StatefulFilter",
    "StoredObject",
    "SyslogBlock",
    "SyslogListener",
    "SyslogOptions",
    "Target",
    "TemporaryError",
    "Tls",
    "TlsError",
    "Token",
    "Tokens",
    "TooLargeError",
    "Troubles",
    "TypedField",
    "UnavailableError",
    "UnknownEncodingError",
    "Url",
    "Watermark",
    "WebHdfs",
    "WhereError",
    "WindowConfig",
    "WindowPolicy",
    "WindowSecs",
    "WindowedFilter",
    "Workers",
    "WrongTableError",
    "as_html",
    "as_text",
    "batch_of",
    "bearer",
    "blocks_of",
    "bytes_body",
    "check_key",
    "check_path_template",
    "check_topic",
    "check_where",
    "client_tls",
    "compile_where",
    "decode_pane",
    "decompress",
    "encode_body",
    "encode_frame",
    "encode_pane",
    "fields_of",
    "finish_in_thread",
    "first_contact",
    "gzip_bytes",
    "headline",
    "held_with_lists",
    "host_of",
    "index_names",
    "index_template",
    "is_ident",
    "is_in_bucket",
    "is_loopback",
    "is_name",
    "is_plain",
    "is_reserved",
    "iter_frames",
    "judge",
    "keys_of",
    "lifecycle_policy",
    "make_folder",
    "mistakes",
    "name_of",
    "parse_field",
    "pattern_of",
    "printable",
    "read_lines",
    "reason_of",
    "register",
    "retry_after",
    "severity_of",
    "split_listen",
    "start_of",
    "stranger_logger",
    "sync_folder",
    "text_of",
    "topic_names",
    "unavailable",
    "write_all",
]
