"""Which daemon a command is about: a config, a data_dir, and the admin API where one runs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from dpiped.admin_client import AdminClient
from dpiped.config.base import split_listen
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
        parser.add_argument("--admin", metavar="URL", help="its admin API; by default as the config says")
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
            return AdminClient(self._admin, self._find_token())
        if not is_running(self.data_dir):
            return None
        if self.config is None or split_listen(self.config.engine.admin)[1] == 0:
            raise DpipeError(f"a daemon runs on {self.data_dir}: name its config by -c FILE, or its --admin URL")
        return AdminClient(self.config.engine.admin, self._find_token())

    def _find_token(self) -> str:
        token = self.config.engine.admin_token if self.config is not None else None
        return self._token or (token.get_secret_value() if token else "") or os.environ.get(TOKEN_VARIABLE, "")
