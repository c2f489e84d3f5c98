"""The configs of buckets and of the objects in them."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from dpiped.config.base import Bytes, ConfigModel, PluginConfig, Url
from dpiped.extras import need
from dpiped.s3.keys import check_prefix

ColumnType = Literal["string", "int64", "float64", "boolean", "timestamp", "strings"]
LEAST_PART_BYTES = 5 << 20
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]|arn:[A-Za-z0-9:/._-]+")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")


def _check_bucket(text: str) -> str:
    if not _BUCKET.fullmatch(text) or ".." in text:
        raise ValueError("expected the name of a bucket: 3 to 63 small letters, digits, `.` and `-`, or an ARN")
    return text


def _check_role(text: str) -> str:
    if text and not _ROLE.fullmatch(text):
        raise ValueError("expected the ARN of a role, such as arn:aws:iam::123456789012:role/logs")
    return text


class BucketConfig(ConfigModel):
    """Where a bucket is, and who asks."""

    bucket: Annotated[str, AfterValidator(_check_bucket)] = Field(examples=["company-logs"])
    """The bucket; it has to be there."""
    region: str = Field(default="", examples=["eu-central-1"])
    """Of the bucket; by default what the environment or the profile of AWS says, else us-east-1."""
    endpoint_url: Url | None = Field(default=None, examples=["https://s3.example.com"])
    """A store other than Amazon's that speaks S3."""
    addressing: Literal["auto", "path", "virtual"] = "auto"
    """Whether the bucket stands in the path or in the host name; many stores other than Amazon's want "path"."""
    profile: str = Field(default="", examples=["logs"])
    """Profile in the files of AWS."""
    access_key: str = Field(default="", examples=["AKIAIOSFODNN7EXAMPLE"])
    """By default what AWS looks for: environment, profile, container, machine."""
    secret_key: SecretStr | None = None
    """The secret of the access key; write it as `${env:NAME}`."""
    session_token: SecretStr | None = None
    """Of temporary credentials; write it as `${env:NAME}`."""
    role: Annotated[str, AfterValidator(_check_role)] = Field(
        default="", examples=["arn:aws:iam::123456789012:role/logs"]
    )
    """Role to take on; it is renewed before it expires."""
    role_external_id: str = Field(default="", examples=["dpipe"])
    """Where the role asks for one."""
    ca_file: str = Field(default="", examples=["/etc/dpipe/ca.pem"])
    """Authorities that are trusted for https; by default those of the system."""
    timeout_secs: Annotated[float, Field(gt=0)] = 60.0
    """So long the store may be silent within a request."""

    @model_validator(mode="after")
    def _check_credentials(self) -> BucketConfig:
        if bool(self.access_key) != (self.secret_key is not None):
            raise ValueError("access_key: set access_key and secret_key, both or neither")
        if self.session_token is not None and not self.access_key:
            raise ValueError("session_token: it belongs to an access_key")
        if self.profile and self.access_key:
            raise ValueError("profile: set profile or access_key, not both")
        if self.role_external_id and not self.role:
            raise ValueError("role_external_id: it belongs to a role")
        return self


class ObjectConfig(BucketConfig):
    """What objects are named and made of."""

    prefix: Annotated[str, AfterValidator(check_prefix)] = "{project}/{ident}/dt=%Y-%m-%d/hour=%H"
    """Keys begin with it: `{project}`, `{ident}`, `{host}` and strftime codes in UTC."""
    time: Literal["event", "accepted"] = "event"
    """Whether strftime codes mean the time of each event, or that of acceptance."""
    compression: Literal["gzip", "zstd", "none"] = "gzip"
    """Of objects; of Parquet, of its pages."""
    gzip_level: Annotated[int, Field(ge=1, le=9)] = 6
    """How hard gzip tries."""
    create_only: bool = True
    """An object that is there is left as it is (`If-None-Match`). For stores that do not know that: false, then it is
    replaced by the same bytes."""
    sse: Literal["", "AES256", "aws:kms", "aws:kms:dsse"] = ""
    """Encryption in the store; by default as the bucket says."""
    kms_key: str = Field(default="", examples=["alias/logs"])
    """Key of the encryption, for "aws:kms"."""
    storage_class: str = Field(default="", examples=["STANDARD_IA"])
    """Storage class of objects; by default STANDARD."""
    multipart_bytes: Annotated[Bytes, Field(ge=LEAST_PART_BYTES)] = 64 << 20
    """Larger objects are sent in parts of about this size, and go on with the next part after an error."""
    max_uploads: Annotated[int, Field(gt=0, le=64)] = 4
    """So many objects are compressed and sent at once."""

    @model_validator(mode="after")
    def _check_objects(self) -> ObjectConfig:
        if self.kms_key and not self.sse.startswith("aws:kms"):
            raise ValueError('kms_key: it needs sse = "aws:kms"')
        return self


class S3Config(ObjectConfig, PluginConfig):
    """Config of the output `s3`."""

    format: Literal["ndjson", "parquet"] = "ndjson"
    """Events one a line, or Parquet with the columns below; Parquet needs the extra `parquet`."""
    columns: dict[str, ColumnType] = Field(
        default={}, examples=[{"@timestamp": "timestamp", "user.id": "int64", "action": "string"}]
    )
    """Columns of Parquet: field of the event and its type. A value of another type is null, and counted."""

    @field_validator("columns")
    @classmethod
    def _named(cls, columns: dict[str, ColumnType]) -> dict[str, ColumnType]:
        if any(not name.strip() for name in columns):
            raise ValueError("expected the names of fields")
        return columns

    @model_validator(mode="after")
    def _check_format(self) -> S3Config:
        if (self.format == "parquet") != bool(self.columns):
            raise ValueError('columns: format = "parquet" needs columns, and only it takes them')
        if self.format == "parquet":
            need("pyarrow", "parquet")
        return self

    @property
    def ending(self) -> str:
        """Of the names of objects."""
        if self.format == "parquet":
            return ".parquet"
        return ".ndjson" + {"gzip": ".gz", "zstd": ".zst", "none": ""}[self.compression]
