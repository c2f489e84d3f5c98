"""Clients of boto3; outside of this package nobody knows it."""

from __future__ import annotations

import threading
from typing import Any

from dpiped.errors import TemporaryError
from dpiped.s3.config import AccessConfig
from dpiped.s3.errors import explained, request_errors

CONNECT_SECS = 10.0


class Connection:
    """A client of S3 that is made when it is needed. Thread-safe."""

    def __init__(self, config: AccessConfig, connections: int) -> None:
        self._config = config
        self._connections = connections
        self._client: Any = None
        self._making = threading.Lock()

    @property
    def place(self) -> str:
        """Where buckets are, for messages."""
        config = self._config
        region = self._client.meta.region_name if self._client is not None else config.region
        return str(config.endpoint_url).rstrip("/") if config.endpoint_url else (region or "AWS")

    def client(self, bucket: str) -> Any:
        """The client; making it asks nobody but, for a role, STS. Raises TemporaryError, which names the bucket."""
        with self._making:
            if self._client is None:
                try:
                    url = str(self._config.endpoint_url) if self._config.endpoint_url else None
                    self._client = make_client("s3", self._config, self._connections, url)
                except request_errors() as exc:
                    raise self.told(exc, bucket) from None
        return self._client

    def told(self, exc: Exception, bucket: str) -> TemporaryError:
        """The error of a request, for an operator."""
        return explained(exc, f"bucket {bucket!r} at {self.place}")

    def close(self) -> None:
        """What is under way in a thread is left to its time limit."""
        if self._client is not None:
            self._client.close()


def make_client(service: str, config: AccessConfig, connections: int, endpoint_url: str | None) -> Any:
    """A client of boto3 with the credentials of the config; raises its errors."""
    import boto3
    import botocore.config

    secret, token = config.secret_key, config.session_token
    session = boto3.session.Session(
        aws_access_key_id=config.access_key or None,
        aws_secret_access_key=secret.get_secret_value() if secret is not None else None,
        aws_session_token=token.get_secret_value() if token is not None else None,
        region_name=config.region or None,
        profile_name=config.profile or None,
    )
    if config.role:
        session = _with_role(session, config)
    options = botocore.config.Config(
        connect_timeout=min(CONNECT_SECS, config.timeout_secs),
        read_timeout=config.timeout_secs,
        max_pool_connections=connections,
        retries={"total_max_attempts": 1, "mode": "standard"},  # the runner tries again
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": config.addressing},
        client_cert=(config.tls.cert, config.tls.key or config.tls.cert) if config.tls.cert else None,
        user_agent_extra="dpipe",
    )
    return session.client(
        service,
        region_name=session.region_name or "us-east-1",
        endpoint_url=endpoint_url,
        verify=config.tls.ca or (None if config.tls.verify else False),
        config=options,
    )


def _with_role(session: Any, config: AccessConfig) -> Any:
    """A session with the credentials of the role, fetched when they are needed and again before they expire."""
    import boto3
    import botocore.credentials
    import botocore.session

    arguments = {"RoleSessionName": "dpipe"}
    if config.role_external_id:
        arguments["ExternalId"] = config.role_external_id
    inner = session._session
    fetcher = botocore.credentials.AssumeRoleCredentialFetcher(
        client_creator=inner.create_client,
        source_credentials=session.get_credentials(),
        role_arn=config.role,
        extra_args=arguments,
    )
    taken = botocore.session.Session()
    taken._credentials = botocore.credentials.DeferredRefreshableCredentials(
        refresh_using=fetcher.fetch_credentials, method="assume-role"
    )
    return boto3.session.Session(botocore_session=taken, region_name=session.region_name)
