"""Reading the databases of a data_dir whose daemon does not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpiped.errors import DpipeError
from dpiped.leveldb import LevelDb
from dpiped.lock import DataDir
from dpiped.offline import copied


def test_a_damaged_database_is_named_with_what_becomes_of_it(tmp_path: Path) -> None:
    owner = DataDir(tmp_path)
    owner.lock()
    database = LevelDb(tmp_path / "state")
    database.write([(b"v", b"1")], sync=True)
    database.close()
    owner.unlock()
    (manifest,) = (tmp_path / "state").glob("MANIFEST-*")
    manifest.write_bytes(b"X" * manifest.stat().st_size)
    with pytest.raises(DpipeError) as failed, copied(tmp_path, "state"):
        pass
    assert (
        str(failed.value) == f"{tmp_path}/state is damaged: the next start of the daemon keeps what can be read of it"
    )
    assert manifest.read_bytes().strip(b"X") == b""
