"""What a store says, as one line for an operator, and whether somebody has to do something about it."""

from __future__ import annotations

from typing import Any

from dpiped.errors import TemporaryError

SLOW_SECS = 30.0
"""Until the next try where an operator has to do something."""
THERE = ("PreconditionFailed", "412")
"""The object is there already."""
NO_UPLOAD = "NoSuchUpload"
_CREDENTIALS = {
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "XAdminUserNotFound",
    "401",
    "403",
}
_REGION = {
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "301",
}
_SKEWED = {"RequestTimeTooSkewed", "RequestExpired"}
_NO_BUCKET = {"NoSuchBucket", "404"}
_UNKNOWN_HEADER = {"NotImplemented", "501"}
_BUSY = {"ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "SlowDown", "Throttling", "409", "429"}


def request_errors() -> tuple[type[Exception], ...]:
    """What a call of boto3 raises when the store or the way to it fails; anything else is a defect of ours."""
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError  # of TLS, while an object is read

    return (BotoCoreError, ClientError, HTTPError, OSError)


def code_of(exc: Any) -> str:
    """What the store calls the error; empty when it did not answer."""
    response: Any = getattr(exc, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def explained(exc: Exception, where: str) -> TemporaryError:
    """The error of a request, told in one line that begins with `where`; everything is tried again, and nothing
    dropped.
    """
    code = code_of(exc)
    if not code:
        slow = type(exc).__name__ in _WITHOUT_REQUEST
        advice = f"; {_WITHOUT_REQUEST[type(exc).__name__]}" if slow else ""
        return TemporaryError(f"{where}: {_said(exc)}{advice}", SLOW_SECS if slow else None)
    response: dict[str, Any] = getattr(exc, "response", {})
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = _said_by(response, code)
    if code in _BUSY or (status >= 500 and code not in _UNKNOWN_HEADER):
        return TemporaryError(f"{where}: {said}; it is tried again")
    return TemporaryError(f"{where}: {said}; {_advice(code, response)}", SLOW_SECS)


_WITHOUT_REQUEST = {
    "NoCredentialsError": "set access_key and secret_key, a profile, or what AWS looks for",
    "PartialCredentialsError": "complete the credentials",
    "ProfileNotFound": "set `profile` to one that is there",
    "CredentialRetrievalError": "mend the source of the credentials",
    "SSLError": "set `tls.ca`, or mend the certificate",
    "ParamValidationError": "mend the config",
}
"""Errors of boto3 that an operator has to mend."""


def _advice(code: str, response: dict[str, Any]) -> str:
    if code in _SKEWED:
        return "the clock of this machine or of the store is wrong: set it"
    if code in _CREDENTIALS:
        return "mend the credentials, or the rights of their user on the bucket"
    if code in _REGION:
        region = response.get("Error", {}).get("Region") or response.get("ResponseMetadata", {}).get(
            "HTTPHeaders", {}
        ).get("x-amz-bucket-region", "")
        return f"set region = {region!r}" if region else "set `region` to that of the bucket"
    if code in _NO_BUCKET:
        return "make the bucket, or mend its name"
    if code in _UNKNOWN_HEADER:
        return "if the store does not know If-None-Match, set create_only = false"
    return "an operator has to mend it"


def _said_by(response: dict[str, Any], code: str) -> str:
    message = " ".join(str(response.get("Error", {}).get("Message", "")).split())
    return f"{code} {message}".strip().rstrip(".")[:300]


def _said(exc: Exception) -> str:
    return f"{' '.join(str(exc).split()).rstrip('.')[:300] or type(exc).__name__}"
