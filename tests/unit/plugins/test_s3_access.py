"""Output `s3`: who asks, what an operator sees, and what `check` finds."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from pydantic import ValidationError

from dpiped.config.load import load_daemon_config
from dpiped.errors import ConfigError, TemporaryError
from dpiped.s3 import S3Config
from tests.servers.s3_stub import S3Stub, xml

from .test_s3 import AT, HOUR_MS, Use


@pytest.fixture
async def stub() -> AsyncIterator[S3Stub]:
    async with S3Stub().running() as stub:
        yield stub


# ---- what an operator sees -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("answer", "told", "slow"),
    [
        ((403, "SignatureDoesNotMatch"), "mend the credentials", True),
        ((403, "AccessDenied"), "mend the credentials", True),
        ((404, "NoSuchBucket"), "make the bucket", True),
        ((403, "RequestTimeTooSkewed"), "clock", True),
        ((400, "AuthorizationHeaderMalformed"), "set `region`", True),
        ((501, "NotImplemented"), "create_only = false", True),
        ((400, "InvalidStorageClass"), "an operator has to mend it", True),
        ((503, "SlowDown"), "tried again", False),
        ((500, "InternalError"), "tried again", False),
        ((400, "RequestTimeout"), "tried again", False),
    ],
)
async def test_what_goes_wrong_is_told_in_one_line(
    stub: S3Stub, answer: tuple[int, str], told: str, slow: bool
) -> None:
    stub.every = answer
    async with Use(stub) as use:
        with pytest.raises(TemporaryError, match=told) as failed:
            await use.plugin.write(use.batch([{"n": 0}]))
    assert (failed.value.retry_after_secs == 30.0) is slow
    assert f"{answer[1]} " in str(failed.value)
    assert ".;" not in str(failed.value)
    assert "\n" not in str(failed.value)
    assert "stub-secret" not in str(failed.value)


async def test_a_store_that_is_not_there(stub: S3Stub) -> None:
    async with Use(stub, endpoint_url="http://127.0.0.1:9") as use:
        with pytest.raises(TemporaryError, match=r"127\.0\.0\.1:9") as failed:
            await use.plugin.write(use.batch([{"n": 0}]))
    assert failed.value.retry_after_secs is None


async def test_no_credentials_are_told_at_the_first_batch(
    stub: S3Stub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    async with Use(stub, access_key="", secret_key=None) as use:
        with pytest.raises(TemporaryError, match="set access_key and secret_key"):
            await use.plugin.write(use.batch([{"n": 0}]))
    with pytest.raises(TemporaryError, match="set `profile` to one that is there"):
        await Use(stub, access_key="", secret_key=None, profile="nobody").plugin.open(None)


async def test_a_role_is_taken_on(stub: S3Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def assume(request: web.Request) -> web.Response:
        asked.append((await request.read()).decode())
        expires = "2999-01-01T00:00:00Z"
        keys = (
            f"<AccessKeyId>ROLEKEY</AccessKeyId><SecretAccessKey>s</SecretAccessKey><Expiration>{expires}</Expiration>"
        )
        inner = f"<Credentials>{keys}<SessionToken>role-token</SessionToken></Credentials>"
        return xml(f"<AssumeRoleResponse><AssumeRoleResult>{inner}</AssumeRoleResult></AssumeRoleResponse>")

    app = web.Application()
    app.router.add_post("/", assume)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{runner.addresses[0][1]}")
    role = "arn:aws:iam::123456789012:role/logs"
    async with Use(stub, role=role, role_external_id="ours", region="eu-central-1") as use:
        await use.plugin.write(use.batch([{"n": 0}, {"n": 1, "@timestamp": AT + HOUR_MS}]))
    await runner.cleanup()
    assert len(asked) == 1
    assert "ExternalId=ours" in asked[0]
    for headers in stub.headers.values():
        assert headers["x-amz-security-token"] == "role-token"
        assert "Credential=ROLEKEY/" in headers["authorization"]
        assert "/eu-central-1/s3/" in headers["authorization"]


async def test_the_certificate_of_the_store_is_checked(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with S3Stub().running(context) as stub:
        async with Use(stub) as use:
            with pytest.raises(TemporaryError, match=r"set `tls\.ca`"):
                await use.plugin.write(use.batch([{"n": 0}]))
        async with Use(stub, tls={"ca": str(tmp_path / "ca.pem")}) as use:
            await use.plugin.write(use.batch([{"n": 0}]))
            assert not use.plugin.renew()
    assert [event["n"] for event in stub.events()] == [0]


@pytest.mark.parametrize(("prefix", "meet"), [("logs/{ident}/%Y", True), ("logs/other", False)])
def test_two_outputs_whose_objects_could_be_taken_for_each_others(prefix: str, meet: bool, tmp_path: Path) -> None:
    table = '[[output]]\ntype = "s3"\nname = "NAME"\nbucket = "bucket"\nprefix = "PREFIX"\n'
    one = table.replace("NAME", "one").replace("PREFIX", "logs/{project}/%Y-%m")
    two = table.replace("NAME", "two").replace("PREFIX", prefix)
    file = tmp_path / "d.toml"
    file.write_text(f'[[input]]\ntype = "stdin"\n{one}{two}')
    if not meet:
        assert len(load_daemon_config(file).outputs) == 2
        return
    with pytest.raises(ConfigError, match=r"bucket 'bucket' with prefix 'logs/\*/\*'"):
        load_daemon_config(file)


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValidationError, match=r"pip install 'dpipe\[s3\]'"):
        S3Config.model_validate({"bucket": "bucket"})


# ---- check ---------------------------------------------------------------------------------------------------------
async def test_the_probe_stores_nothing(stub: S3Stub) -> None:
    use = Use(stub, prefix="logs/{ident}")
    assert await use.plugin.probe() == []
    assert (stub.objects, stub.uploads) == ({}, {})
    assert any(one.startswith("POST /bucket/logs/dpipe-check?uploads") for one in stub.requests)
    stub.every = (403, "AccessDenied")
    assert "no right to put objects" in (await use.plugin.probe())[0]
    stub.every = (404, "NoSuchBucket")
    with pytest.raises(TemporaryError, match="make the bucket"):
        await use.plugin.probe()
    await use.plugin.close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"bucket": "No_Bucket"}, "expected the name of a bucket"),
        ({"prefix": "/logs"}, "no slash at the begin"),
        ({"prefix": "logs/{uid}"}, "unknown field"),
        ({"prefix": "logs/%Q"}, "unknown time code"),
        ({"prefix": "a/../b"}, "not allowed"),
        ({"prefix": "a b"}, "expected letters"),
        ({"prefix": "a" * 500}, "too long"),
        ({"secret_key": None}, "both or neither"),
        ({"role": "logs"}, "ARN of a role"),
        ({"profile": "x"}, "not both"),
        ({"kms_key": "x"}, 'sse = "aws:kms"'),
        ({"format": "parquet"}, "needs columns"),
        ({"columns": {"a": "string"}}, "only it takes them"),
        ({"format": "parquet", "columns": {"a": "text"}}, "'string', 'int64'"),
        ({"multipart_bytes": 1000}, "5242880"),
    ],
)
def test_mistakes_of_the_config_are_found(options: dict[str, Any], told: str) -> None:
    whole = {"bucket": "bucket", "access_key": "a", "secret_key": "b", **options}
    with pytest.raises(ValidationError, match=told):
        S3Config.model_validate(whole)
