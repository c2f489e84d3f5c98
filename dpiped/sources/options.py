"""The config keys that an input of the daemon and one of the collector have in common."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from dpiped.config.base import Bytes, ConfigModel, Listen, PositiveSecs, Secs, split_listen
from dpiped.sources.syslog import ListenOptions
from dpiped.sources.tail_options import FollowOptions
from dpiped.sources.tail_shape import compile_start
from dpiped.tls import SERVER_EXAMPLE, ServerTls


def _check_start(pattern: str) -> str:
    compile_start(pattern)
    return pattern


def _absolute(pattern: str) -> str:
    if not pattern or "\0" in pattern:
        raise ValueError('expected a path or glob such as "/var/log/nginx/*.log"')
    return pattern


def _parse_mode(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"0?[0-7]{3}", value):
        return int(value, 8)
    raise ValueError('expected a file mode such as "0660"')


class MultilineConfig(ConfigModel):
    """Several lines are one event."""

    start: Annotated[str, AfterValidator(_check_start)]
    """Pattern (RE2) of the first line of an event; it may match anywhere in the line."""
    timeout_secs: PositiveSecs = 1.0
    """An event is complete when its file was silent for so long."""


class TailOptions(ConfigModel):
    """What to follow."""

    paths: tuple[Annotated[str, AfterValidator(_absolute)], ...] = Field(
        min_length=1, examples=[["/var/log/nginx/*.log"]]
    )
    """Globs of the files to follow, looked up again every second; `**` is any number of folders. One that matches no
    file in the first ten seconds is told. Of compressed files only those in `.gz` are read; others, such as `.zst`, are
    left out and told.
    """
    exclude: tuple[str, ...] = ()
    """Globs of files to leave out: with a slash they are compared with the whole path, else with the name."""
    read_from: Literal["start", "end"] = "start"
    """Where to begin with files that are there at the very first start; later ones are always read from the start."""
    follow: bool = True
    """False: read what is there, then end."""
    max_line_bytes: Annotated[Bytes, Field(ge=256)] = 1 << 20
    """Longer lines are cut, and counted."""
    multiline: MultilineConfig | None = Field(default=None, examples=[{"start": r"^\d{4}-"}])
    """When events have several lines; they come as `message` with newlines in it, whatever the codec."""
    max_open_files: Annotated[int, Field(ge=1)] = 512
    """Files held open; others are opened when they change."""
    rotate_wait_secs: Secs = 5.0
    """A file that was renamed or deleted is let go when it was silent for so long; then an unfinished last line is
    sent.
    """

    def follow_options(self, *, checksums: bool) -> FollowOptions:
        """For the Follower. `checksums`: what is read may have to be read again."""
        return FollowOptions(
            paths=self.paths,
            exclude=self.exclude,
            from_end=self.read_from == "end",
            follow=self.follow,
            max_line_bytes=self.max_line_bytes,
            max_open_files=self.max_open_files,
            rotate_wait_secs=self.rotate_wait_secs,
            multiline_start=self.multiline.start if self.multiline else None,
            multiline_timeout_secs=self.multiline.timeout_secs if self.multiline else 1.0,
            checksums=checksums,
        )


class SyslogOptions(ConfigModel):
    """Where to listen."""

    transport: Literal["tcp", "tls", "udp", "unix", "unixgram"] = "tcp"
    """How senders connect; the framing (RFC 6587) is found out frame by frame."""
    listen: Listen = "127.0.0.1:5514"
    """Address of tcp, tls and udp."""
    path: str = Field(default="", examples=["/run/dpipe/log.sock"])
    """Socket file of unix and unixgram."""
    socket_mode: Annotated[int, BeforeValidator(_parse_mode)] = Field(default=0o666, validate_default=False)
    """Permissions of the socket file, in quotes: "0660"."""
    max_frame_bytes: Annotated[Bytes, Field(ge=480)] = 64 << 10
    """Longer frames are cut, and counted."""
    max_connections: Annotated[int, Field(ge=1)] = 4096
    """Connections above it are closed at once, and counted."""
    idle_secs: PositiveSecs = 3600.0
    """A connection that is silent for so long is closed."""
    receive_buffer_bytes: Annotated[Bytes, Field(ge=4096)] = 8 << 20
    """Buffer of the kernel for datagrams; what does not fit is lost, and counted."""
    tls: ServerTls | None = Field(default=None, examples=[SERVER_EXAMPLE])
    """Certificate of transport "tls"."""

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        if self.transport in ("unix", "unixgram") and not self.path:
            raise ValueError(f'transport "{self.transport}" needs path = "/run/NAME.sock"')
        if (self.transport == "tls") != (self.tls is not None):
            raise ValueError('transport "tls" needs tls = { cert = FILE }, and no other transport can have it')
        return self

    def listen_options(self) -> ListenOptions:
        """For the SyslogListener."""
        host, port = split_listen(self.listen)
        return ListenOptions(
            transport=self.transport,
            host=host,
            port=port,
            path=self.path if "unix" in self.transport else "",
            socket_mode=self.socket_mode,
            max_frame_bytes=self.max_frame_bytes,
            max_connections=self.max_connections,
            idle_secs=self.idle_secs,
            receive_buffer_bytes=self.receive_buffer_bytes,
            tls=self.tls,
        )
