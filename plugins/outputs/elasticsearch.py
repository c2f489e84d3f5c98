"""Output `elasticsearch`: stores events in Elasticsearch or OpenSearch, by bulk requests.

Delivery: exactly once. The id of an event is its place in the journal, so that one which is sent again is recognised.
A data stream or a rollover alias is exact unless it rolls over between a try and its repeat; an index by event time
always is. What other outputs call `_source` is `_file` here.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec
from elastic_transport import AiohttpHttpNode, AsyncTransport, NodeConfig, Serializer, TransportError
from elastic_transport.client_utils import parse_cloud_id, url_to_node_config

from dpiped.api import (
    Batch,
    ElasticsearchConfig,
    ElasticsearchEvents,
    Judged,
    Output,
    Pace,
    RejectedError,
    TemporaryError,
    Tls,
    client_tls,
    gzip_bytes,
    index_names,
    index_template,
    judge,
    lifecycle_policy,
    register,
    retry_after,
)

BULK = "_bulk?filter_path=errors,items.*.status,items.*.error"
SLOW_SECS = 30.0
"""Until the next try where an operator has to do something."""
PRIVILEGES = {"create": ["create_doc", "auto_configure"], "index": ["index", "auto_configure"]}
logging.getLogger("elastic_transport").setLevel(logging.WARNING)  # else a line for every request


class _Bytes(Serializer):
    """Answers stay bytes: they are read once, and only what is wanted of them."""

    mimetype: ClassVar[str] = "application/json"

    def loads(self, data: bytes) -> bytes:
        return data

    def dumps(self, data: bytes) -> bytes:
        return data


RAW = {kind: _Bytes() for kind in ("application/json", "application/x-ndjson", "text/plain", "text/html")}


@register("elasticsearch")
class ElasticsearchOutput(Output[ElasticsearchConfig]):
    metadata_names: ClassVar[Mapping[str, str]] = {"_source": "_file"}
    """In Elasticsearch `_source` is the event itself, and an event with such a field is refused."""
    _events: ElasticsearchEvents | None = None
    """What is left of the batch that is being delivered."""

    def __init__(self, config: ElasticsearchConfig, context: Any) -> None:
        super().__init__(config, context)
        self._names = index_names(config.target, context.index_prefix)

    @classmethod
    def notes(cls, config: ElasticsearchConfig) -> list[str]:
        if config.data_stream is None:
            return []
        return ["exactly once, unless the data stream rolls over between a try and its repeat"]

    def fields(self) -> Sequence[str]:
        return (*self._names.fields, *((self.config.id_field,) if self.config.id_field else ()))

    # ---- connection ------------------------------------------------------------------------------------------------
    async def open(self, saved: bytes | None) -> None:
        config = self.config
        self._tls = await client_tls(config.tls, [str(host) for host in config.hosts])
        self._transport = AsyncTransport(
            [self._node(url) for url in self._urls()],
            node_class=AiohttpHttpNode,
            serializers=RAW,
            max_retries=len(config.hosts),
            retry_on_status=(),
            meta_header=False,
        )
        self._pace = Pace(config.max_requests)
        if config.setup.enabled:
            await self._set_up()

    def _urls(self) -> list[str]:
        if not self.config.cloud_id:
            return [str(host) for host in self.config.hosts]
        cloud = parse_cloud_id(self.config.cloud_id)
        host, port = cloud.es_address or ("", 443)
        return [f"https://{host}:{port}"]

    def _node(self, url: str) -> NodeConfig:
        node = url_to_node_config(url, use_default_ports_for_scheme=True)
        return node.replace(
            connections_per_node=self.config.max_requests,
            request_timeout=self.config.timeout_secs,
            ssl_context=self._tls.context if self._tls is not None and node.scheme == "https" else None,
        )

    def _headers(self) -> dict[str, str]:
        config = self.config
        if config.api_key is not None:
            return {"authorization": f"ApiKey {config.api_key.get_secret_value()}"}
        if config.user:
            password = config.password.get_secret_value() if config.password is not None else ""
            return {"authorization": "Basic " + base64.b64encode(f"{config.user}:{password}".encode()).decode()}
        return {}

    async def _ask(
        self, method: str, target: str, body: bytes | None = None, kind: str = "application/json"
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """(status, answer, headers). Raises TemporaryError when there is no answer."""
        headers = {"accept": "application/json", **self._headers()}
        if body is not None:
            headers["content-type"] = kind
            if self.config.compression == "gzip":
                body = await asyncio.to_thread(gzip_bytes, body)
                headers["content-encoding"] = "gzip"
        try:
            answer = await self._transport.perform_request(method, target, body=body, headers=headers)
        except TransportError as exc:
            raise TemporaryError(f"{self._shown}: {exc.message}") from None
        found = answer.body if isinstance(answer.body, bytes) else b""
        return answer.meta.status, found, answer.meta.headers

    @property
    def _shown(self) -> str:
        return self.config.cloud_id.partition(":")[0] or ", ".join(url.partition("?")[0] for url in self._urls())

    # ---- setup -----------------------------------------------------------------------------------------------------
    async def _set_up(self) -> None:
        config, setup, name = self.config, self.config.setup, quote(self.context.name, safe="")
        policy = setup.ilm_policy
        if setup.delete_after_days is not None and config.data_stream is None:
            policy = self.context.name
            await self._put(f"/_ilm/policy/{name}", lifecycle_policy(setup.delete_after_days))
        template = index_template(
            self._names.pattern,
            stream=config.data_stream is not None,
            priority=setup.priority,
            shards=setup.shards,
            replicas=setup.replicas,
            policy=policy,
            keep_days=setup.delete_after_days,
        )
        await self._put(f"/_index_template/{name}", template)

    async def _put(self, target: str, data: dict[str, Any]) -> None:
        status, answer, headers = await self._ask("PUT", target, msgspec.json.encode(data))
        if status < 300:
            return
        reason = f"PUT {target} answered {status}: {_reason(answer)}"
        if status in (401, 403):
            reason += "; mend the credentials, or set `setup.enabled = false`"
        raise TemporaryError(f"{self._shown}: {reason}", retry_after(headers) or SLOW_SECS)

    async def probe(self) -> list[str]:
        """Connects, and asks whether the rights suffice."""
        config, setup = self.config, self.config.setup
        self.config = config.model_copy(update={"setup": setup.model_copy(update={"enabled": False})})
        await self.open(None)
        status, answer, _ = await self._ask("GET", "/")
        if status in (401, 403):
            return [f"{self._shown} answered {status}: {_reason(answer)}"]
        wanted = {
            "index": [{"names": [self._names.pattern], "privileges": PRIVILEGES[config.op]}],
            "cluster": ["manage_index_templates"] if setup.enabled else [],
        }
        body = msgspec.json.encode(wanted)
        status, answer, _ = await self._ask("POST", "/_security/user/_has_privileges", body)
        if status != 200:  # a server without security, or OpenSearch
            return []
        said = msgspec.json.decode(answer)
        rights = {**said.get("cluster", {}), **said.get("index", {}).get(self._names.pattern, {})}
        return [f"the user has no right {name!r} on {self._names.pattern}" for name, has in rights.items() if not has]

    # ---- events ----------------------------------------------------------------------------------------------------
    async def write(self, batch: Batch) -> None:
        if self._events is None or self._events.batch is not batch:
            indexes = [self._names.of(view) for view in batch.views]
            self._events = ElasticsearchEvents(batch, self.config.op, self.config.id_field, indexes)
        events = self._events
        requests = list(events.cut(self.config.request_bytes, self.config.request_events))
        judged: list[Judged] = []
        try:
            await self._send_all(events, requests, judged)
        finally:  # what was answered is not sent again, whatever became of the others
            self._take(events, judged)
        blocked = next((one.reason for one in judged if one.blocked), "")
        if blocked:
            raise TemporaryError(f"{self._shown} does not store: {blocked}", SLOW_SECS)
        if events.left:
            busy = next(one.reason for one in judged if one.again)
            raise TemporaryError(f"{self._shown} has no room for {len(events.left)} events: {busy}")
        self._events = None
        if events.refused:
            raise RejectedError(events.refused)

    async def _send_all(self, events: ElasticsearchEvents, requests: list[Sequence[int]], judged: list[Judged]) -> None:
        """As many requests at once as the server bears; what is too large is halved."""
        requests.reverse()
        running: set[asyncio.Task[list[Sequence[int]]]] = set()
        try:
            while requests or running:
                while requests and len(running) < self._pace.width:
                    running.add(asyncio.create_task(self._send(events, requests.pop(), judged), name="bulk request"))
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    requests += task.result()
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)

    async def _send(
        self, events: ElasticsearchEvents, places: Sequence[int], judged: list[Judged]
    ) -> list[Sequence[int]]:
        """Sends one request; returns what is to be sent in halves. Raises TemporaryError."""
        target = f"/{quote(events.index, safe='')}/{BULK}" if events.index else f"/{BULK}"
        started = time.monotonic()
        status, answer, headers = await self._ask("POST", target, events.body(places), "application/x-ndjson")
        if status == 413:
            if len(places) == 1:
                too_large = {places[0]: "413: the event is larger than the server takes"}
                judged.append(Judged(settled=places, refused=too_large))
                return []
            middle = len(places) // 2
            return [places[middle:], places[:middle]]
        if status >= 300:
            self._pace.full()
            again = retry_after(headers) or (None if status == 429 or status >= 500 else SLOW_SECS)
            raise TemporaryError(f"{self._shown} answered {status}: {_reason(answer)}", again)
        try:
            one = judge(answer, places, self.config.op)
        except ValueError as exc:
            raise TemporaryError(f"{self._shown}: {exc}") from exc
        if one.again:
            self._pace.full()
        else:
            self._pace.took(time.monotonic() - started)
        judged.append(one)
        return []

    def _take(self, events: ElasticsearchEvents, judged: Sequence[Judged]) -> None:
        """What is settled is not sent again."""
        for one in judged:
            events.settle(one)
            if one.repeats:
                noted = self.context.telemetry.metrics.noted
                noted.labels(self.context.name, "stored_before").inc(one.repeats)

    def renew(self) -> bool:
        tls: Tls | None = getattr(self, "_tls", None)
        return tls is None or tls.renew()

    async def close(self) -> None:
        if hasattr(self, "_transport"):
            await self._transport.close()


def _reason(answer: bytes) -> str:
    """What an error of the server says, in one line."""
    try:
        error = msgspec.json.decode(answer)["error"]
        return str(error["reason"] if isinstance(error, dict) else error)[:300]
    except (msgspec.DecodeError, KeyError, TypeError):
        return answer[:200].decode("utf-8", "replace").replace("\n", " ")
