"""What the input and the output `kafka` are made of, apart from the calls of the library."""

from dpiped.kafka.avro import AvroConfig, AvroReader, DamagedMessageError
from dpiped.kafka.blocks import Block, blocks_of, fields_of
from dpiped.kafka.client import SLOW_SECS, Troubles, first_contact, name_of, reason_of
from dpiped.kafka.config import TOPIC, DailyTopics, KafkaConfig
from dpiped.kafka.input_config import KafkaInputConfig
from dpiped.kafka.marker import Marker
from dpiped.kafka.messages import Messages, is_plain
from dpiped.kafka.outgoing import Outgoing
from dpiped.kafka.output_config import HEADER_FIELDS, KafkaOutputConfig
from dpiped.kafka.positions import KafkaPositions
from dpiped.kafka.shares import Shares, start_of
from dpiped.kafka.topics import check_topic, topic_names

__all__ = [
    "HEADER_FIELDS",
    "SLOW_SECS",
    "TOPIC",
    "AvroConfig",
    "AvroReader",
    "Block",
    "DailyTopics",
    "DamagedMessageError",
    "KafkaConfig",
    "KafkaInputConfig",
    "KafkaOutputConfig",
    "KafkaPositions",
    "Marker",
    "Messages",
    "Outgoing",
    "Shares",
    "Troubles",
    "blocks_of",
    "check_topic",
    "fields_of",
    "first_contact",
    "is_plain",
    "name_of",
    "reason_of",
    "start_of",
    "topic_names",
]
