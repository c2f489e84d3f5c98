"""The documentation is whole and true: what can be set, called or measured is in it; what it names is there.

Commands and configs are run by tests/e2e/test_readme.py.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from collector import cli as collector_cli
from collector.config import load as load_collector_config
from dpiped import cli, registry
from dpiped.config.load import load_daemon_config
from dpiped.config.schema import EngineConfig, JournalConfig, OutputOptions, ProjectConfig
from dpiped.errors import ConfigError
from dpiped.exit_code import ExitCode
from dpiped.web.admin import AdminServer
from tests.docs.markdown import PAGES, ROOT, Block, all_blocks, anchors, blocks, links, prose

ENVIRON = {"DPIPE_TOKEN": "geheim-5", "DPIPE_ADMIN_TOKEN": "geheim-6", "DPIPE_SALT": "geheim-7-salt"}
FRAGMENT_OF = '[[input]]\ntype = "http"\n'
SHOWN_ONLY = (
    "git",
    "python3",
    ". .venv",
    "./dev",
    ".ci/run",
    "sudo",
    "/opt/dpipe/bin/dpiped check",
    "echo",
    "{",
    "#",
    "[",
    "redact =",
    "kafka-topics.sh",
)
"""What a block of kind `console` may begin its lines with: what installs, needs root or runs for long."""
OTHER_WORDS = {
    "topic": "ident",
    "sink": "output",
    "message bus": "journal",
    "consumer offset": "cursor",
    "routing key": "ident",
    "savepoint": "snapshot",
    "tenant id": "project",
}
THEIRS = re.compile(r"Vector|[Kk]afka|Logstash|their ")
OF_KAFKA = ("kafka.md", "plugins.md")
"""Pages that speak of its topics."""


def ident(block: Block) -> str:
    return block.place


def page_ident(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(*names: str) -> str:
    return "\n".join((ROOT / name).read_text("utf-8") for name in names)


# ---- blocks --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("block", all_blocks("toml"), ids=ident)
def test_a_config_is_what_the_page_says(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if '"tls/' in block.text:  # made by a command of the page
        monkeypatch.chdir(tmp_path)
        write_certificates(tmp_path / "tls")
    file = tmp_path / "shown.toml"
    file.write_text((FRAGMENT_OF if "fragment" in block.words else "") + block.text, encoding="utf-8")
    load: Any = load_collector_config if "[collector]" in block.text else load_daemon_config
    known = registry.all_types()
    kinds = tomllib.loads(file.read_text("utf-8"))
    types = {(kind, table["type"]) for kind in ("input", "filter", "output") for table in kinds.get(kind, ())}
    if "wrong" in block.words:
        with pytest.raises(ConfigError):
            load(file, ENVIRON)
    elif ("filter", "redact") in types - set(known):
        assert block.page.name == "CONTRIBUTING.md"  # its plugin is on the page, see below
    else:
        load(file, ENVIRON)


@pytest.mark.parametrize("block", all_blocks("python"), ids=ident)
def test_python_compiles(block: Block) -> None:
    compile(block.text, block.place, "exec")


@pytest.mark.parametrize("block", all_blocks("conf"), ids=ident)
def test_a_config_of_another_program_is_the_file_in_etc(block: Block) -> None:
    assert block.text == text_of(block.file)


@pytest.mark.parametrize("block", all_blocks("console"), ids=ident)
def test_what_is_not_run_has_a_reason(block: Block) -> None:
    assert all(line.startswith(SHOWN_ONLY) for line in block.text.splitlines() if line)


@pytest.mark.parametrize("page", PAGES, ids=page_ident)
def test_every_block_is_of_a_known_kind(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= {"toml", "python", "conf", "console", "sh", "text", "mermaid"}


def write_certificates(folder: Path) -> None:
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name in ("server", "client"):
        issued = authority.issue_cert("localhost")
        issued.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
        issued.private_key_pem.write_to_path(str(folder / f"{name}.key"))


# ---- links ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", PAGES, ids=page_ident)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_is_reached_from_the_readme() -> None:
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page not in seen:
            seen.add(page)
            targets = ((page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link)
            todo += [target for target in targets if target in PAGES]
    assert set(PAGES) - seen == set()


def test_every_file_and_test_that_the_architecture_names_is_there() -> None:
    page = ROOT / "dpiped/README.md"
    for name, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", prose(page)):
        assert re.search(rf"def {test}\b", text_of(name)), f"{name}::{test}"
    for name in re.findall(r"`([\w/]+\.py)`", prose(page)):
        candidates = [ROOT / name, ROOT / "dpiped" / name, ROOT / "dpiped/sources" / name]
        assert any(path.is_file() for path in candidates), name


# ---- whole ---------------------------------------------------------------------------------------------------------
def commands_of(parser: argparse.ArgumentParser) -> list[str]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [f"{parser.prog} {name}" for action in actions for name in action.choices]


@pytest.mark.parametrize("command", [*commands_of(cli.build_parser()), *commands_of(collector_cli.build_parser())])
def test_every_command_is_documented(command: str) -> None:
    assert f"| `{command}" in text_of("README.md")


def test_no_command_is_documented_that_is_not_there() -> None:
    known = {*commands_of(cli.build_parser()), *commands_of(collector_cli.build_parser())}
    named = re.findall(r"(?:^|`)((?:dpiped|dpipe-collector) [a-z]+)\b", "\n".join(map(prose, PAGES)), re.MULTILINE)
    assert set(named) <= known


@pytest.mark.parametrize("status", ExitCode)
def test_every_exit_code_is_documented(status: ExitCode) -> None:
    assert f"\n| {status:d} | " in text_of("docs/operations.md")


def test_signals_are_what_the_page_says() -> None:
    page, handled = text_of("docs/operations.md"), set(re.findall(r"signal\.SIG(\w+)", text_of("dpiped/daemon.py")))
    assert handled == {"TERM", "INT", "USR1", "HUP"}
    assert all(name in page for name in handled)


def test_every_admin_path_is_documented() -> None:
    engine: Any = SimpleNamespace(config=SimpleNamespace(engine=EngineConfig()), telemetry=None)
    admin = AdminServer(engine)
    named = set(re.findall(r"^\| `(\w+ /[\w/.]+)`", text_of("docs/operations.md"), re.MULTILINE))
    assert named == {f"{method} {path}" for path, (method, _) in admin._uris.items()}
    shown = {(route.method, re.sub("{.*?}", "X", route.path)) for route in admin._routes}
    answers = text_of("docs/answers.md", "docs/behavior.md")
    told = {
        (method, re.sub("[A-Z]+", "X", path)) for method, path in re.findall(r"^\| `(\w+) (/api/[\w/]+)", answers, re.M)
    }
    assert {route for route in shown if route[1].rpartition("/")[2] not in ("unack", "unsilence")} <= told


def test_every_status_of_the_http_input_is_documented() -> None:
    source = text_of(
        "plugins/inputs/http.py", *(f"dpiped/web/{name}.py" for name in ("bodies", "places", "refused", "tokens"))
    )
    given = set(re.findall(r"Refused\(([45]\d\d)", source)) | {"200", "422"}
    named = set(re.findall(r"\d{3}", " ".join(re.findall(r"^\| ([\d, ]+) \|", text_of("docs/http.md"), re.MULTILINE))))
    assert given == named


def test_every_plugin_is_in_the_readme_with_its_headline() -> None:
    page = text_of("README.md")
    for (kind, name), cls in registry.all_types().items():
        if cls.__module__.startswith("plugins."):
            headline = (sys.modules[cls.__module__].__doc__ or "").partition("\n")[0].partition("`: ")[2].rstrip(".")
            assert f"| {kind} | [{name}](docs/plugins.md#{kind}-{name}) | {headline} |" in page


def test_every_dependency_is_explained_as_in_pyproject() -> None:
    project = text_of("pyproject.toml").partition("dependencies = [")[2].partition("\n]")[0]
    rows = re.findall(r'"([\w-]+)[^"]*",\s*# (.+)', project)
    assert len(rows) == len(tomllib.loads(text_of("pyproject.toml"))["project"]["dependencies"])
    dependencies = text_of("README.md").partition("## Dependencies")[2]
    shown = re.findall(r"^\| ([\w-]+) \| ([^|]+) \|$", dependencies, re.MULTILINE)
    assert [row for row in shown if row[0] not in ("package",)] == rows


def test_every_extra_is_explained_as_in_pyproject() -> None:
    extras = tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"]
    names = {extra: [re.sub(r"^dpipe\[(\w+)\]$|[\[>].*", r"\1", need) for need in extras[extra]] for extra in extras}
    reasons = dict(re.findall(r"^(\w+) = \[.+\] +# (.+)$", text_of("pyproject.toml"), re.MULTILINE))
    rows = [(extra, ", ".join(names[extra]), reasons[extra]) for extra in extras if extra not in ("test", "lint")]
    dependencies = text_of("README.md").partition("## Dependencies")[2]
    assert re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", dependencies, re.MULTILINE) == rows


def test_every_key_has_an_effect() -> None:
    models = (EngineConfig, JournalConfig, ProjectConfig, OutputOptions)
    keys = {name for model in models for name in model.model_fields}
    sources = [
        path
        for folder in ("dpiped", "plugins")
        for path in (ROOT / folder).rglob("*.py")
        if path.name not in ("schema.py", "load.py")
    ]
    read = {
        node.attr
        for path in sources
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert keys - read == set()


# ---- true ----------------------------------------------------------------------------------------------------------
def test_every_message_of_the_troubleshooting_table_exists() -> None:
    table = text_of("docs/operations.md").partition("## Troubleshooting")[2]
    sources = "".join(
        path.read_text("utf-8")
        for folder in ("dpiped", "plugins", "collector")
        for path in (ROOT / folder).rglob("*.py")
    )
    joined = re.sub(r'"\s*\n\s*f?"', "", sources)
    for message in re.findall(r"^\| `([^`]+)`", table, re.MULTILINE):
        system = os.strerror(98).lower()
        assert message in joined or message == system, message


@pytest.mark.parametrize("page", PAGES, ids=page_ident)
def test_our_words_are_used(page: Path) -> None:
    ours = "\n".join(line for line in prose(page).splitlines() if not THEIRS.search(line))
    for word, better in OTHER_WORDS.items():
        if word == "topic" and page.name in OF_KAFKA:
            continue
        found = re.search(rf"\b{word}s?\b", ours, re.IGNORECASE)
        assert found is None, f"{page.name}: say {better} for {word}"
