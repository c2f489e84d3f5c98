"""The config of the output `redshift`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from dpiped.config.base import ConfigModel, Url
from dpiped.extras import need
from dpiped.s3.config import BucketOutputConfig

_PART = r"[A-Za-z_@][A-Za-z0-9_$@.]{0,126}"
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,126}(\.[A-Za-z_][A-Za-z0-9_$]{0,126}){0,2}")
_COLUMN = re.compile(_PART)
_WORKGROUP = re.compile(r"[a-z0-9-]{3,64}")
_ROLE = re.compile(r"default|arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_JSON = re.compile(r"auto|auto ignorecase|noshred|s3://[^\s'\\]+")


def _check_table(text: str) -> str:
    if not _TABLE.fullmatch(text):
        raise ValueError("expected a table such as public.events: letters, digits, `_`, `$`, and dots between parts")
    return text


def _check_columns(columns: tuple[str, ...]) -> tuple[str, ...]:
    for name in columns:
        if not _COLUMN.fullmatch(name):
            raise ValueError(f"expected the name of a column, not {name!r}")
    return columns


def _check_role(text: str) -> str:
    if not _ROLE.fullmatch(text):
        raise ValueError('expected "default" or the ARN of a role, such as arn:aws:iam::123456789012:role/copy')
    return text


def _check_json(text: str) -> str:
    if not _JSON.fullmatch(text):
        raise ValueError('expected "auto", "auto ignorecase", "noshred" or the s3:// address of a JSONPaths file')
    return text


Table = Annotated[str, AfterValidator(_check_table)]


class DatabaseConfig(ConfigModel):
    """Where the tables are: a host for the PostgreSQL protocol, or a cluster or workgroup for the Data API."""

    host: str = Field(default="", examples=["example.abc123.eu-central-1.redshift.amazonaws.com"])
    """Its address, to speak the PostgreSQL protocol."""
    port: Annotated[int, Field(gt=0, lt=65536)] = 5439
    """Port of the host."""
    cluster: str = Field(default="", examples=["example"])
    """Instead of host: the identifier of a cluster, by the Data API."""
    workgroup: str = Field(default="", examples=["example"])
    """Instead of host: a serverless workgroup, by the Data API."""
    name: str = Field(default="dev", min_length=1)
    """The database."""
    user: str = Field(default="", examples=["loader"])
    """Who loads; with a cluster, the database user of the temporary credentials."""
    password: SecretStr | None = None
    """For the host; write it as `${env:NAME}`."""
    secret_arn: str = Field(default="", examples=["arn:aws:secretsmanager:eu-central-1:123456789012:secret:loader"])
    """For the Data API: a secret with user and password."""
    sslmode: Literal["verify-full", "verify-ca", "require", "prefer", "disable"] = "verify-full"
    """For the host: whether it has to be encrypted, and its certificate to be right."""
    ca_file: str = Field(default="system", examples=["/etc/dpipe/redshift-ca.pem"])
    """For the host: PEM file of the authorities that are trusted; "system": those of the system."""
    endpoint_url: Url | None = Field(default=None, examples=["https://vpce.example.com"])
    """For the Data API: another address of it."""

    @model_validator(mode="after")
    def _check(self) -> DatabaseConfig:
        if sum(map(bool, (self.host, self.cluster, self.workgroup))) != 1:
            raise ValueError("host: set one of host, cluster and workgroup")
        if self.workgroup and not _WORKGROUP.fullmatch(self.workgroup):
            raise ValueError("workgroup: expected 3 to 64 small letters, digits and `-`")
        if self.host and not (self.user and self.password is not None):
            raise ValueError("user: host needs user and password")
        if self.host and self.secret_arn:
            raise ValueError("secret_arn: it is for cluster and workgroup")
        if not self.host and self.password is not None:
            raise ValueError("password: it is for host; the Data API takes secret_arn")
        return self


class RedshiftConfig(BucketOutputConfig):
    """Config of the output `redshift`."""

    table: Table = Field(examples=["public.events"])
    """Where events are loaded to; it has to be there."""
    columns: Annotated[tuple[str, ...], AfterValidator(_check_columns)] = Field(
        default=(), examples=[["at", "action", "price"]]
    )
    """Only these columns are loaded; by default all."""
    json_paths: Annotated[str, AfterValidator(_check_json)] = "auto"
    """How fields become columns, as COPY says it: "auto" takes those of the same name."""
    copy_role: Annotated[str, AfterValidator(_check_role)] = "default"
    """The role by which Redshift reads the bucket: "default" is that of the cluster."""
    max_errors: Annotated[int, Field(ge=0, le=100_000)] = 0
    """So many events of a batch may fail to load; Redshift skips them."""
    loaded_table: Table = "dpipe_loaded"
    """Table of the manifests that were loaded; made if it is not there."""
    database: DatabaseConfig = Field(examples=[{"host": "example.com", "user": "loader", "password": "${env:NAME}"}])
    """Where the tables are."""

    @model_validator(mode="after")
    def _check_library(self) -> RedshiftConfig:
        if self.database.host:
            need("psycopg", "redshift")
        return self
