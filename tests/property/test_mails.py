"""Whatever an event is, it makes a mail: no header, tag or line of its own, bounded, and stored as it is."""

from __future__ import annotations

import json
from email import message_from_bytes
from email.policy import default
from html.parser import HTMLParser
from typing import Any

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dpiped.pack import Head
from dpiped.plugin import PluginContext
from dpiped.pooled.compose import MAX_LISTED
from dpiped.pooled.entry import Entry, Reading, entry_of
from dpiped.telemetry import Telemetry
from plugins.outputs.mail import MailConfig, MailOutput
from tests.mailbox import part_of

KEYS = ("title", "message", "severity", "score", "state", "group", "values", "previous", "samples", "fingerprint")
TIMES = ("@timestamp", "window_start", "window_end")
HEADERS = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]
TAGS = {"html", "body", "p", "table", "tr", "th", "td", "b", "span", "br", "pre"}
SNIPPETS = (
    "\r\nBcc: x@y.z\r\n\r\n",
    "<script>x</script>",
    "{title}",
    "&amp;",
    "\x1b[2J",
    "\ud800",
    "\u2028",
    ".\r\n",
    "=?utf-8?q?x?=",
)
texts = st.one_of(st.text(max_size=20), st.sampled_from(SNIPPETS), st.sampled_from(("xä🐈" * 130, "y" * 5_000)))
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from((10**30, -(10**400), 1e308)), texts
)
values = st.recursive(
    leaves, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4))
)
events = st.dictionaries(st.one_of(st.sampled_from(KEYS + TIMES), texts), values, max_size=8)


class Tags(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)


def texts_of(entry: Entry) -> list[str]:
    flat = [entry.title, entry.state, entry.host, entry.group, entry.fingerprint, *entry.samples]
    return flat + [part for pair in entry.values for part in pair]


def output() -> MailOutput:
    keys = {"to": ["Ops <ops@example.com>"], "sender": "dpipe@example.com", "subject": "{title}{state}{group}{host}"}
    config = MailConfig.model_validate({**keys, "intro": "{title} {state} {group}", "timezone": "Asia/Kathmandu"})
    return MailOutput(config, PluginContext(name="mail", telemetry=Telemetry(), lane="mail.1"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example([{"window_start": 10**30, "window_end": 1, "@timestamp": -(10**30), "severity": 10**400}], True)
@given(st.lists(events, min_size=1, max_size=3), st.booleans())
def test_any_events_make_a_mail(found: list[dict[str, Any]], ascii_only: bool) -> None:
    plugin = output()
    entries = []
    for number, event in enumerate(found):
        line = json.dumps(event, ensure_ascii=ascii_only).encode("utf-8", "replace")
        made = entry_of(line, Head(project="p", ident="a.b", host="h"), f"n{number}", Reading("severity", 10.0), 5)
        assert not {
            char for text in texts_of(made) for char in text if ord(char) < 32 or char in "\x7f\x9b\u2028\u202e"
        }
        assert sum(map(len, texts_of(made))) < 6_000
        entries.append(made)
    plugin.pool.add(entries, 1, 0)
    again = output()
    again.pool.loads(plugin.pool.dumps())
    assert again.pool.digest() == plugin.pool.digest()
    mail: Any = message_from_bytes(again._compose(again.pool.digest()), policy=default)
    assert list(mail.keys()) == HEADERS
    assert mail.defects == []
    page = Tags()
    page.feed(part_of(mail, "html"))
    assert page.tags <= TAGS
    assert page.attributes <= {"style", "cellpadding", "border"}
    assert len(found) <= MAX_LISTED
    assert part_of(mail, "plain").count("  severity ") >= len(entries)


@given(st.binary(max_size=30))
def test_a_state_of_any_bytes_is_read_or_refused(data: bytes) -> None:
    try:
        output().pool.loads(data)
    except msgspec.DecodeError:
        return
    raise AssertionError("no 30 bytes are a pool")
