"""The samples in etc/ are what the models say, and are accepted; so are all keys in them that are commented out."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from collector.config import load as load_collector_config
from dpiped import registry
from dpiped.config.load import load_daemon_config

ROOT = Path(__file__).resolve().parents[2]
ENVIRON = dict.fromkeys(("NAME", "DPIPE_TOKEN", "DPIPE_ADMIN_TOKEN"), "geheim-5")
SAMPLES = sorted((ROOT / "etc/samples").glob("*.toml"))
UNITS = sorted((ROOT / "etc/systemd").glob("*.service"))
EXCLUSIVE = {
    "output-http": ("user",),
    "output-elasticsearch": ("cloud_id", "data_stream", "id_field", "api_key", "setup.ilm_policy"),
    "output-hdfs": ("columns",),
    "output-redshift": ("profile", "kms_key"),
    "output-s3": ("profile", "kms_key", "columns"),
    "input-archive": ("s3.profile",),
    "input-docker": ("multiline",),
    "input-kafka": ("tls.ca", "tls.cert", "tls.key"),
    "output-kafka": ("tls.ca", "tls.cert", "tls.key"),
    "input-syslog": ("path", "tls"),
    "collector": ("tls",),
    "filter-alarm": ("silence_secs", "forget_secs", "ignore_field"),
}
"""Keys of a sample that cannot be used together with others in it."""


def with_every_key(path: Path) -> str:
    """The sample with its comments taken off the keys; comments that are text have a blank behind their sign."""
    skipped = tuple(f"#{key} =" for key in EXCLUSIVE.get(path.stem, ()))
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith(skipped or "\0")]
    return "\n".join(re.sub(r"^#(?=[a-z\[])", "", line) for line in lines)


def with_certificates(text: str, folder: Path) -> str:
    """The files of TLS that a sample names are made, and named."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    for name in ("ca", "clients"):
        authority.cert_pem.write_to_path(str(folder / f"{name}.pem"))
    for name in ("server", "client"):
        issued.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
        issued.private_key_pem.write_to_path(str(folder / f"{name}.key"))
    return text.replace("/etc/dpipe/", f"{folder}/")


def test_generated_files_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_plugin_has_a_sample() -> None:
    mine = {(kind, name) for (kind, name), cls in registry.all_types().items() if cls.__module__.startswith("plugins.")}
    assert {tuple(path.stem.split("-", 1)) for path in SAMPLES} == mine


@pytest.mark.parametrize("path", [ROOT / "etc/dpiped.toml", *SAMPLES], ids=lambda path: path.stem)
def test_a_sample_of_the_daemon_is_accepted(path: Path) -> None:
    load_daemon_config(path, ENVIRON)


@pytest.mark.parametrize("path", [ROOT / "etc/dpiped.toml", *SAMPLES], ids=lambda path: path.stem)
def test_every_key_of_a_sample_is_accepted(path: Path, tmp_path: Path) -> None:
    text = with_every_key(path)
    if path.parent.name == "samples":
        text += '\n[[project]]\nname = "rs"\n'
    if path.stem == "dpiped":  # each table brings the same example of a name
        text = text.replace('name = "main"', 'name = "other"', 1)
    if path.stem in ("filter-aggregate", "filter-alarm", "filter-merge"):  # instead of window_secs
        text = text.replace('window = "hour"\n', "", 1)
    everything = tmp_path / "all.toml"
    everything.write_text(with_certificates(text, tmp_path), encoding="utf-8")
    load_daemon_config(everything, ENVIRON)


def test_the_sample_of_the_collector_is_accepted(tmp_path: Path) -> None:
    path = ROOT / "etc/collector.toml"
    assert [found.type for found in load_collector_config(path, ENVIRON).inputs] == ["tail"]
    everything = tmp_path / "all.toml"
    numbers = iter("123")
    text = re.sub('name = "web"', lambda _: f'name = "web{next(numbers)}"', with_every_key(path))
    everything.write_text(with_certificates(text, tmp_path), encoding="utf-8")
    assert {found.type for found in load_collector_config(everything, ENVIRON).inputs} == {"tail", "syslog", "stdin"}


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_our_command_without_root(path: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(path, "utf-8")
    service = unit["Service"]
    command = service["ExecStart"].split()
    assert Path(command[0]).name == path.stem
    assert command[1:] == ["run", "-c", f"/etc/dpipe/{'dpiped' if path.stem == 'dpiped' else 'collector'}.toml"]
    assert service.get("User", "root") != "root"
    assert {"NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp", "CapabilityBoundingSet"} <= set(service)
    assert service["Restart"] == "on-failure"
    assert set(service["RestartPreventExitStatus"].split()) == {"2", "3"}


def test_there_are_units() -> None:
    assert [path.stem for path in UNITS] == ["dpipe-collector", "dpiped"]


HARDENED = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "MemoryDenyWriteExecute": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "SystemCallArchitectures": "native",
    "UMask": "0027",
    "StateDirectoryMode": "0750",
}
MOST_EXPOSED = 20
"""Tenths, as `systemd-analyze security` counts them: 10 is a service without any protection."""


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_hardened(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert {f"{key}={value}" for key, value in HARDENED.items()} <= set(lines)
    assert {"SystemCallFilter=@system-service", "SystemCallFilter=~@privileged"} <= set(lines)
    assert any(line.startswith("LimitNOFILE=") for line in lines)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_systemd_finds_no_fault_with_a_unit(path: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    unit = tmp_path / path.name
    unit.write_text(path.read_text("utf-8").replace("/opt/dpipe/bin/", f"{Path(sys.executable).parent}/"), "utf-8")
    verify = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (verify.returncode, verify.stderr) == (0, "")
    security = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", unit]
    done = subprocess.run(security, capture_output=True, text=True, check=False)
    if "nrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze judges no files")
    assert done.returncode == 0, done.stdout[-200:] + done.stderr
