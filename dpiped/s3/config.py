"""Where buckets are, who asks, and how objects are kept in them."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from dpiped.config.base import Bytes, ConfigModel, PluginConfig, PositiveSecs, Url
from dpiped.extras import need
from dpiped.objects.config import FormatConfig, ObjectConfig
from dpiped.objects.keys import check_prefix
from dpiped.s3.address import is_bucket
from dpiped.tls import ClientTls

LEAST_PART_BYTES = 5 << 20
_ARN = re.compile(r"arn:[A-Za-z0-9:/._-]+")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")


def _check_bucket(text: str) -> str:
    if not (is_bucket(text) or _ARN.fullmatch(text)) or ".." in text:
        raise ValueError("expected the name of a bucket: 3 to 63 small letters, digits, `.` and `-`, or an ARN")
    return text


def _check_role(text: str) -> str:
    if text and not _ROLE.fullmatch(text):
        raise ValueError("expected the ARN of a role, such as arn:aws:iam::123456789012:role/logs")
    return text


class AccessConfig(ConfigModel):
    """Where buckets are, and who asks."""

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
    tls: ClientTls = ClientTls()
    """For https: which authorities are trusted, which certificate is shown."""
    timeout_secs: PositiveSecs = 60.0
    """So long the store may be silent within a request."""

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        if bool(self.access_key) != (self.secret_key is not None):
            raise ValueError("access_key: set access_key and secret_key, both or neither")
        if self.session_token is not None and not self.access_key:
            raise ValueError("session_token: it belongs to an access_key")
        if self.profile and self.access_key:
            raise ValueError("profile: set profile or access_key, not both")
        if self.role_external_id and not self.role:
            raise ValueError("role_external_id: it belongs to a role")
        return self

    @property
    def names_files(self) -> bool:
        """Whether there are certificates, which are only read when a client is made."""
        return bool(self.tls.ca or self.tls.cert)


class BucketConfig(AccessConfig):
    """Of every output that stores in a bucket."""

    bucket: Annotated[str, AfterValidator(_check_bucket)] = Field(examples=["company-logs"])
    """The bucket; it has to be there."""
    prefix: Annotated[str, AfterValidator(check_prefix)] = "{project}/{ident}/dt=%Y-%m-%d/hour=%H"
    """Keys begin with it: `{project}`, `{ident}`, `{host}` and strftime codes in UTC."""
    create_only: bool = True
    """An object that is there is left as it is (`If-None-Match`). For stores that do not know that: false, then it is
    replaced by the same events."""
    sse: Literal["", "AES256", "aws:kms", "aws:kms:dsse"] = ""
    """Encryption in the store; by default as the bucket says."""
    kms_key: str = Field(default="", examples=["alias/logs"])
    """Key of the encryption, for "aws:kms"."""
    storage_class: str = Field(default="", examples=["STANDARD_IA"])
    """Storage class of objects; by default STANDARD."""
    multipart_bytes: Annotated[Bytes, Field(ge=LEAST_PART_BYTES)] = 64 << 20
    """Larger objects are sent in parts, and go on with the next part after an error."""

    @model_validator(mode="after")
    def _check_bucket_keys(self) -> Self:
        need("boto3", "s3")
        if self.kms_key and not self.sse.startswith("aws:kms"):
            raise ValueError('kms_key: it needs sse = "aws:kms"')
        return self


class BucketOutputConfig(ObjectConfig, BucketConfig, PluginConfig):
    """What the config of every output says that stores objects in a bucket."""


class S3Config(FormatConfig, BucketOutputConfig):
    """Config of the output `s3`."""
