"""What leaves in clear text, with the real outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpiped import registry
from dpiped.config.load import load_daemon_config


@pytest.fixture(autouse=True)
def plugins() -> None:
    """In place of those for tests of configs: the real ones."""
    registry.load()


def test_credentials_that_travel_in_clear_text_are_warned_of(tmp_path: Path) -> None:
    config = tmp_path / "out.toml"
    text = '[[input]]\ntype = "demo"\n'
    for number, url in enumerate(("http://10.0.0.9:1", "https://10.0.0.9:1", "http://127.0.0.1:1")):
        text += f'[[output]]\ntype = "dpipe"\nname = "d{number}"\nendpoints = ["{url}"]\ntoken = "hush-hush"\n'
        text += f'[[output]]\ntype = "http"\nname = "h{number}"\nurl = "{url}"\npassword = "hush-hush"\n'
    for number, broker in enumerate(("kafka-1:9092", "127.0.0.1:9092")):
        for kind, keys in (("input", 'topics = ["t"]\ngroup = "g"\n'), ("output", 'topic = "t"\n')):
            text += f'[[{kind}]]\ntype = "kafka"\nname = "k{kind}{number}"\nbrokers = ["{broker}"]\n{keys}'
            text += 'user = "dpipe"\npassword = "hush-hush"\n'
    config.write_text(text)
    warnings = load_daemon_config(config, {}).warnings
    plain = 'key "security" = "plaintext": the credentials travel in clear text: use "tls"'
    assert sorted(warning.partition("(")[2] for warning in warnings) == [
        'dpipe): key "endpoints" = "http://10.0.0.9:1/": the credentials travel in clear text: use https',
        'http): key "url" = "http://10.0.0.9:1/": the credentials travel in clear text: use https',
        f"kafka): {plain}",
        f"kafka): {plain}",
    ]
