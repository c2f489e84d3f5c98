"""Redshift by the Data API: for whoever has no way to its port, and for serverless workgroups. All calls block.

Statements of one call run in one transaction, one after the other. A call whose answer was lost may be under way when
the next one is made: that waits for its lock, and then fails for the manifest is there twice; the next try finds it.
"""

from __future__ import annotations

import time
from typing import Any

from dpiped.errors import TemporaryError
from dpiped.redshift.config import RedshiftConfig
from dpiped.redshift.statements import Statements, look, prepare
from dpiped.s3.client import make_client
from dpiped.s3.errors import explained, request_errors

SLOW_SECS = 30.0
"""Until the next try where an operator has to do something."""
FIRST_POLL_SECS, POLL_SECS = 0.2, 5.0
ENDED = ("FINISHED", "FAILED", "ABORTED")


class DataApi:
    """Loads by a cluster or workgroup."""

    def __init__(self, config: RedshiftConfig) -> None:
        self._config = config
        self._client: Any = None

    def prepare(self) -> None:
        """Makes the table of manifests if it is not there. Raises TemporaryError."""
        self._run([prepare(self._config)])

    def look(self) -> None:
        """Whether the table is there, with its columns. Raises TemporaryError."""
        self._run([look(self._config)])

    def load(self, statements: Statements) -> bool:
        """In one transaction; False: it was loaded before. Raises TemporaryError."""
        identity = self._run([statements.find])
        if self._number(identity):
            return False
        self._run(statements.transaction)
        return True

    def _run(self, statements: list[str]) -> str:
        """Returns the id when they have ended well. Raises TemporaryError."""
        try:
            client = self._connected()
            begun = (
                client.execute_statement(**self._target, Sql=statements[0])
                if len(statements) == 1
                else client.batch_execute_statement(**self._target, Sqls=statements)
            )
            found = self._ended(client, begun["Id"])
        except request_errors() as exc:
            raise explained(exc, self._shown) from None
        if found["Status"] == "FINISHED":
            return str(begun["Id"])
        said = " ".join(str(found.get("Error", found["Status"])).split())[:300]
        raise TemporaryError(f"{self._shown}: {said}; mend table, columns or rights, or see its errors", SLOW_SECS)

    @staticmethod
    def _ended(client: Any, identity: str) -> dict[str, Any]:
        pause = FIRST_POLL_SECS
        while True:
            found: dict[str, Any] = client.describe_statement(Id=identity)
            if found["Status"] in ENDED:
                return found
            time.sleep(pause)
            pause = min(2 * pause, POLL_SECS)

    def _number(self, identity: str) -> int:
        """The only number of a result."""
        try:
            records = self._connected().get_statement_result(Id=identity)["Records"]
        except request_errors() as exc:
            raise explained(exc, self._shown) from None
        return int(records[0][0]["longValue"])

    @property
    def _target(self) -> dict[str, str]:
        database = self._config.database
        given = {
            "ClusterIdentifier": database.cluster,
            "WorkgroupName": database.workgroup,
            "Database": database.name,
            "DbUser": database.user if database.cluster and not database.secret_arn else "",
            "SecretArn": database.secret_arn,
        }
        return {name: value for name, value in given.items() if value}

    @property
    def _shown(self) -> str:
        database = self._config.database
        return f"database {database.name!r} of {database.cluster or database.workgroup!r}"

    def _connected(self) -> Any:
        if self._client is None:
            url = self._config.database.endpoint_url
            self._client = make_client("redshift-data", self._config, 1, str(url) if url else None)
        return self._client
