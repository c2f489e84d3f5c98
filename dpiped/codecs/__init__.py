"""Codecs: bytes from outside to canonical bodies, and back. Importing this stays light; see dpiped.codecs.config."""

from dpiped.codecs.base import Codec, DecodeContext, Decoded, Part, Rejected
from dpiped.codecs.config import CODEC_NAMES, CodecConfig, CodecSpec, TimeConfig, build_codec
from dpiped.codecs.times import TimeSpec

__all__ = [
    "CODEC_NAMES",
    "Codec",
    "CodecConfig",
    "CodecSpec",
    "DecodeContext",
    "Decoded",
    "Part",
    "Rejected",
    "TimeConfig",
    "TimeSpec",
    "build_codec",
]
