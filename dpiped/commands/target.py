"""Which daemon a command is about: a config, a data_dir, and the admin API where one runs."""

from __future__ import annotations

import argparse
import os
import ssl
from pathlib import Path

from dpiped.admin_client import AdminClient, trusting
from dpiped.arguments import url
from dpiped.config.base import split_listen
from dpiped.config.doors import admin_tokens
from dpiped.config.load import load_daemon_config
from dpiped.config.schema import DaemonConfig
from dpiped.errors import ConfigError, DpipeError
from dpiped.offline import is_running

TOKEN_VARIABLE = "DPIPE_ADMIN_TOKEN"
"""Where the token is looked for when neither argument nor config has one."""


def add_target(parser: argparse.ArgumentParser, *, admin: bool = True) -> None:
    """The arguments that `Target` reads."""
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="config of the daemon")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="its data_dir; by default as the config says")
    if admin:
        parser.add_argument("--admin", type=url, metavar="URL", help="its admin API; by default as the config says")
        parser.add_argument("--ca", metavar="FILE", help="whom to believe over https; by default its own certificate")
        parser.add_argument("--cert", metavar="FILE", default="", help="client certificate, if it is asked for")
        parser.add_argument("--key", metavar="FILE", default="", help="its key; by default in the same file")
        parser.add_argument("--token", default="", help=f"admin token; by default the config's, or ${TOKEN_VARIABLE}")


class Target:
    """Raises ConfigError when the arguments name neither a config nor a data_dir, nor, if that will do, `--admin`."""

    def __init__(self, arguments: argparse.Namespace, *, admin_will_do: bool = False) -> None:
        self.config: DaemonConfig | None = load_daemon_config(arguments.config) if arguments.config else None
        self._data_dir: Path | None = arguments.data_dir
        if self._data_dir is None and self.config is not None:
            self._data_dir = Path(self.config.engine.data_dir)
        self._admin: str | None = getattr(arguments, "admin", None)
        self._token: str = getattr(arguments, "token", "")
        self._ca: str | None = getattr(arguments, "ca", None)
        self._client: tuple[str, str] = (getattr(arguments, "cert", ""), getattr(arguments, "key", ""))
        if self._data_dir is None and not (admin_will_do and self._admin):
            also = ", or a running daemon by --admin URL" if admin_will_do else ""
            raise ConfigError([f"dpiped: name a config by -c FILE, or a data_dir by --data-dir DIR{also}"])

    @property
    def data_dir(self) -> Path:
        if self._data_dir is None:
            raise ConfigError(["dpiped: name a data_dir by --data-dir DIR, or a config by -c FILE"])
        return self._data_dir

    def admin(self) -> AdminClient | None:
        """The admin API if a daemon runs or `--admin` was said, else None. Raises DpipeError when a daemon runs and
        nobody knows its address.
        """
        if self._admin:
            return AdminClient(self._admin, self._find_token(), self._tls())
        if not is_running(self.data_dir):
            return None
        if self.config is None or split_listen(self.config.engine.admin)[1] == 0:
            raise DpipeError(f"a daemon runs on {self.data_dir}: name its config by -c FILE, or its --admin URL")
        return AdminClient(self.config.engine.admin, self._find_token(), self._tls())

    def running(self) -> AdminClient:
        """The admin API of a daemon that has to run. Raises DpipeError."""
        admin = self.admin()
        if admin is None:
            raise DpipeError(f"no daemon runs on {self.data_dir}: start it, or name another by --admin URL")
        return admin

    def _tls(self) -> ssl.SSLContext | None:
        tls = self.config.engine.admin_tls if self.config is not None else None
        ca = self._ca or (tls.cert if tls is not None else "")
        return trusting(ca, *self._client) if ca else None

    def _find_token(self) -> str:
        known = admin_tokens(self.config.engine) if self.config is not None else []
        return self._token or next(iter(known), "") or os.environ.get(TOKEN_VARIABLE, "")
