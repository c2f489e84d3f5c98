"""A real Elasticsearch node, built of tests/servers/elasticsearch by `mvn package`; DPIPE_ELASTICSEARCH names the
folder.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Program, free_port, wait_until

BUILT = os.environ.get("DPIPE_ELASTICSEARCH", "")
READY_SECS = 90.0


class Elasticsearch(Program):
    """One node on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        target = f"{BUILT}/target"
        jars = f"{target}/es-node-1.jar:{target}/lib/*"
        command = ["java", "-Xms384m", "-Xmx384m", "-XX:+UseSerialGC", "-cp", jars, "EsNode"]
        super().__init__(folder, "elastic", [*command, str(folder / "es"), str(self.port), f"{target}/modules"])

    def start(self) -> None:
        super().start()
        wait_until(self._ready, "the server gets ready", READY_SECS)

    def _ready(self) -> bool:
        assert self.running, self.text()[-3000:]
        try:
            return bool(self.ask("GET", "/_cluster/health?wait_for_status=yellow&timeout=30s")["status"] != "red")
        except (OSError, ValueError):
            return False

    def ask(self, method: str, path: str, data: object = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def numbers(self, pattern: str) -> Counter[int]:
        """How often each `n` is stored."""
        self.ask("POST", f"/{pattern}/_refresh")
        found: Counter[int] = Counter()
        after: list[Any] = []
        while True:
            query: dict[str, Any] = {"size": 5_000, "_source": ["n"], "sort": [{"n": "asc"}, {"@timestamp": "asc"}]}
            hits = self.ask("POST", f"/{pattern}/_search", {**query, **({"search_after": after} if after else {})})
            if not hits["hits"]["hits"]:
                return found
            found.update(hit["_source"]["n"] for hit in hits["hits"]["hits"])
            after = hits["hits"]["hits"][-1]["sort"]
