"""The command line: exit statuses, one line for an error, and what each command prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dpiped import __version__, registry
from dpiped.batch import Batch
from dpiped.cli import main
from dpiped.config.base import PluginConfig
from dpiped.errors import DpipeError, LockedError
from dpiped.plugin import Output


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """One plugin, so that these tests depend on no real one."""
    monkeypatch.setattr(registry, "_plugins", {})
    monkeypatch.setattr(registry, "_failed", {"broken": "No module named 'nowhere'"})
    monkeypatch.setattr(registry, "_loaded", True)

    class StoreConfig(PluginConfig):
        path: str = "x"
        """Where."""

    @registry.register("store")
    class Store(Output[StoreConfig]):
        """Output `store`: keeps nothing."""

        async def write(self, batch: Batch) -> None:
            """Takes everything."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "d.toml"
    path.write_text('[engine]\nadmin_token = "geheim5"\n[[output]]\ntype = "store"\n')
    return path


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for the engine; `error` is raised by it."""
    told = SimpleNamespace(error=None, calls=[])

    def run_daemon(config: Any, path: Path) -> int:
        told.calls.append((config, path))
        if told.error is not None:
            raise told.error
        return 0

    module = ModuleType("dpiped.daemon")
    module.run_daemon = run_daemon  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dpiped.daemon", module)
    monkeypatch.setattr("dpiped.commands.run.setup_logging", lambda *args, **kwargs: None)
    return told


def test_check_tells_a_summary(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(config)]) == 0
    out, err = capsys.readouterr()
    assert out == f"ok: {config}: 0 inputs, 0 filters, 1 output; journal on disk in var/dpiped\n"
    assert err == "warning: there is no [[input]]\n"


def test_check_tells_all_errors_of_all_files(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('[[output]]\ntype = "store"\npth = 1\n[engine]\nx = 1\n')
    assert main(["check", str(bad), str(config), str(tmp_path / "none.toml")]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("ok: ")
    lines = [line for line in err.splitlines() if not line.startswith("warning")]
    assert [line.partition(": ")[0] for line in lines] == [f"{bad}:3", f"{bad}:3", f"{bad}:5", f"{tmp_path}/none.toml"]


def test_run_gives_the_config_to_the_engine(config: Path, engine: SimpleNamespace) -> None:
    assert main(["run", "-c", str(config)]) == 0
    assert engine.calls[0][0].outputs[0].name == "store"
    assert engine.calls[0][1] == config


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (LockedError("var/dpiped is used by another"), 3, "dpiped: var/dpiped is used by another\n"),
        (DpipeError("no room"), 1, "dpiped: no room\n"),
        (OSError(98, "Address in use"), 1, "dpiped: [Errno 98] Address in use\n"),
        (ValueError("x"), 1, "dpiped: defect: ValueError: x; run it again with -v to see where\n"),
        (
            ExceptionGroup("tasks", [ExceptionGroup("more", [RuntimeError("no thread")])]),
            1,
            "dpiped: defect: RuntimeError: no thread; run it again with -v to see where\n",
        ),
    ],
)
def test_an_error_is_one_line(
    config: Path, engine: SimpleNamespace, capsys: pytest.CaptureFixture[str], error: Exception, status: int, line: str
) -> None:
    engine.error = error
    assert main(["run", "-c", str(config)]) == status
    assert capsys.readouterr().err == line


def test_verbose_shows_the_traceback(config: Path, engine: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    engine.error = DpipeError("no room")
    assert main(["-v", "run", "-c", str(config)]) == main(["run", "-c", str(config), "-v"]) == 1
    assert capsys.readouterr().err.count("Traceback") == 2


def test_an_interrupt_is_no_defect(config: Path, engine: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    engine.error = KeyboardInterrupt()
    assert main(["run", "-c", str(config)]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["chek"], 'dpiped: command "chek" is not known; did you mean "check"?; see dpiped --help'),
        (["graph", "x", "--format", "sgv"], '--format "sgv" is not known; did you mean "svg"?'),
        (["run"], "dpiped run: the following arguments are required: -c/--config; see dpiped run --help"),
        ([], "dpiped: the following arguments are required: COMMAND; see dpiped --help"),
    ],
)
def test_wrong_arguments(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1


def test_plugins(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    out = capsys.readouterr().out
    assert "output store          keeps nothing." in out
    assert "broken         cannot be loaded: No module named 'nowhere'" in out


def test_describe_and_create(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["describe", "store"]) == 0
    assert '  path  (text; default "x")' in capsys.readouterr().out
    assert main(["create", "output/store"]) == 0
    path = tmp_path / "s.toml"
    path.write_text(capsys.readouterr().out)
    assert main(["check", str(path)]) == 0


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("stor", 'dpiped: plugin "stor" is not known; did you mean "store"?\n'),
        ("entirely_other", 'dpiped: plugin "entirely_other" is not known; `dpiped plugins` lists them\n'),
        ("input/store", 'dpiped: plugin "input/store" is not known; did you mean "store"?\n'),
        ("broken", "dpiped: plugin \"broken\" is not known: it cannot be loaded: No module named 'nowhere'\n"),
    ],
)
def test_a_plugin_that_is_not_there(text: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", text]) == 2
    assert capsys.readouterr().err == line


def test_create_writes_all_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create", "--write-all", str(tmp_path)]) == 0
    written = capsys.readouterr().out.split()
    assert written == [
        str(tmp_path / name) for name in ("etc/dpiped.toml", "docs/plugins.md", "etc/samples/output-store.toml")
    ]
    assert main(["check", written[2]]) == 0
    assert main(["create"]) == 2


@pytest.mark.parametrize("form", ["text", "mermaid", "svg"])
def test_graph(form: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", str(config), "--format", form]) == 0
    assert "store" in capsys.readouterr().out


def test_version_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "dpiped", "version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"dpiped {__version__}\n", "")


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as closed:  # noqa: PTH123 - a descriptor, no path
        done = subprocess.run(
            [sys.executable, "-m", "dpiped", "version"], stdout=closed, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("verbose", [True, False])
def test_no_error_shows_a_secret_with_or_without_a_traceback(
    config: Path, engine: SimpleNamespace, capsys: pytest.CaptureFixture[str], verbose: bool
) -> None:
    engine.error = DpipeError("the store refused geheim5 of http://me:hush@store")
    assert main(["run", "-c", str(config), *(["-v"] if verbose else [])]) == 1
    told = "".join(capsys.readouterr())
    assert ("Traceback" in told) is verbose
    assert "the store refused *** of http://***@store" in told
    assert not {"geheim5", "hush"} & set(told.replace("@", " ").replace(":", " ").split())


BIG = "9" * 5_000


@pytest.mark.parametrize(
    ("command", "values"),
    [
        ("leveldb scan DIR --limit", ["-1", "0", "x", "1.5", BIG, "٣"]),
        ("deadletter ls --data-dir DIR --limit", ["-1", "0", "1001", BIG]),
        ("deadletter ls --data-dir DIR --since", ["12", "x", BIG, f"-{BIG}d", "2026-13-01", ""]),
        ("query f --admin 127.0.0.1:1 --limit", ["-1", "0", "10001", BIG]),
        ("query f --admin 127.0.0.1:1 --watch", ["-1", "0", "nan", "inf", "1e300", "x"]),
        ("query f --admin 127.0.0.1:1 --from", ["-5", BIG, f"-{BIG}d", "x"]),
        ("query f --admin 127.0.0.1:1 --to", ["-5", BIG, f"-{BIG}d", "x"]),
        ("funnel --table t --steps a,b --admin 127.0.0.1:1 --limit", ["-1", "0", "10001"]),
        ("funnel --table t --steps a,b --admin 127.0.0.1:1 --from", ["x", BIG]),
        ("funnel --table t --steps a,b --admin 127.0.0.1:1 --within", ["x", "-5", "5", "1w", "", BIG]),
        ("deadletter ls --admin 127.0.0.1:1 --ident", ["a b", "", "x:y:z", "a."]),
        ("journal export --data-dir DIR --ident", ["a b", "", "a."]),
        ("top --admin 127.0.0.1:1 --every", ["-1", "0", "nan", "inf", "1e300"]),
        (
            "top --admin",
            ["127.0.0.1:99999", "127.0.0.1:x", "http://:1", "127.0.0.1:-5", "http://[::1", "ftp://x:1", "h:0"],
        ),
        ("journal export --data-dir DIR --from", ["-5", BIG, f"-{BIG}d", "2026-13-01", ""]),
        ("journal export --data-dir DIR --from 10 --to", ["5", "-5"]),
        ("journal export --data-dir DIR --from -1h --to", ["-2h"]),
        ("journal drop --data-dir DIR --before", ["-5", BIG, f"-{BIG}d"]),
        ("replay -c FILE --from 10 --to", ["5", BIG]),
    ],
)
def test_numbers_and_times_that_are_none(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str], command: str, values: list[str]
) -> None:
    *words, option = [{"DIR": str(tmp_path), "FILE": str(config)}.get(word, word) for word in command.split()]
    for value in values:
        try:
            status = main([*words, f"{option}={value}"])
        except SystemExit as exc:
            status = exc.code  # type: ignore[assignment]
        out, err = capsys.readouterr()
        assert (status, out, err.count("\n")) == (2, "", 1), value
        assert "expected" in err or "is not behind" in err
        assert len(err) < 300


def test_files_that_cannot_be_written_or_read_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    assert main(["create", "--write-all", str(file)]) == 1
    assert capsys.readouterr().err == f"dpiped: {file}/etc: Not a directory\n"
    certificate = tmp_path / "none.pem"
    assert main(["query", "--admin", "https://127.0.0.1:1", "--ca", str(certificate)]) == 1
    assert capsys.readouterr().err == f"dpiped: certificates {certificate}: No such file or directory\n"


@pytest.mark.parametrize("command", ["ls", "retry --all", "drop --all"])
def test_filters_of_dead_letters_may_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main(["deadletter", *command.split(), "--data-dir", str(tmp_path)]) == 1
    assert "no daemon runs" in (err := capsys.readouterr().err) or "is no data_dir" in err
