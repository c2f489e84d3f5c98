"""Redshift by the PostgreSQL protocol. All calls block; psycopg is used nowhere else.

A session for each manifest: there is one a minute or so, and none that is idle can be cut off by a firewall.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from dpiped.errors import TemporaryError
from dpiped.redshift.config import RedshiftConfig
from dpiped.redshift.statements import Statements, look, prepare

SLOW_SECS = 30.0
"""Until the next try where an operator has to do something."""
CONNECT_SECS = 10
_BY_ITSELF = ("08", "40", "53", "57", "55P03")
"""Classes of SQLSTATE that go away: connection, conflict, no room, shutdown, a lock."""
_ADVICE = {
    "22": "an event does not fit its column; mend the table, or let `max_errors` pass",
    "28": "mend user and password",
    "42": "mend table, columns or the rights of the user",
    "3D": "mend the name of the database",
    "XX": "what COPY found wrong is in sys_load_error_detail; mend the table, or let `max_errors` pass",
}


class Session:
    """Loads by a host."""

    def __init__(self, config: RedshiftConfig) -> None:
        self._config = config

    def prepare(self) -> None:
        """Makes the table of manifests if it is not there. Raises TemporaryError."""
        self._run(lambda connection: connection.execute(prepare(self._config)))

    def look(self) -> None:
        """Whether the table is there, with its columns. Raises TemporaryError."""
        self._run(lambda connection: connection.execute(look(self._config)))

    def load(self, statements: Statements) -> bool:
        """In one transaction; False: it was loaded before. Raises TemporaryError."""

        def work(connection: Any) -> bool:
            with connection.transaction():
                connection.execute(statements.lock)
                if connection.execute(statements.find).fetchone() != (0,):
                    return False
                for statement in (statements.insert, statements.copy):
                    connection.execute(statement)
            return True

        return bool(self._run(work))

    def _run(self, work: Any) -> Any:
        import psycopg

        try:
            with self._connect() as connection:
                return work(connection)
        except psycopg.Error as exc:
            raise self._told(exc) from None

    def _connect(self) -> AbstractContextManager[Any]:
        import psycopg

        database = self._config.database
        password = database.password
        verify = database.sslmode in ("verify-full", "verify-ca")
        return psycopg.connect(
            host=database.host,
            port=database.port,
            dbname=database.name,
            user=database.user,
            password=password.get_secret_value() if password is not None else None,
            sslmode=database.sslmode,
            sslrootcert=database.ca_file if verify else None,
            client_encoding="UTF8",  # Redshift says UNICODE, which Python does not know
            connect_timeout=CONNECT_SECS,
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=6,
            application_name="dpipe",
            autocommit=True,
            prepare_threshold=None,
            cursor_factory=psycopg.ClientCursor,
        )

    def _told(self, exc: Any) -> TemporaryError:
        database, state = self._config.database, str(exc.sqlstate or "")
        said = " ".join(str(exc).split())[:300]
        where = f"database {database.name!r} at {database.host}:{database.port}"
        if state.startswith(_BY_ITSELF) or not (state or "authentication" in said or "certificate" in said):
            return TemporaryError(f"{where}: {said}; it is tried again")
        advice = _ADVICE.get(state[:2], "mend user, password or certificate" if not state else "an operator mends it")
        return TemporaryError(f"{where}: {' '.join(filter(None, (state, said)))}; {advice}", SLOW_SECS)
