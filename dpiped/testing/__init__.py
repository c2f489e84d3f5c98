"""Test kit for plugins and configs: the real engine in-process, on free ports, with a folder of its own.

async with running(CONFIG, tmp_path) as engine:
    await post(engine, "rs/app", b'{"a": 1}')
    await until(lambda: lines(tmp_path / "out.ndjson") == [..])
"""

from dpiped.testing.kit import address_of, ask, events_in, post, request, running, until
from dpiped.testing.views import body_of, emitted, view_of

__all__ = ["address_of", "ask", "body_of", "emitted", "events_in", "post", "request", "running", "until", "view_of"]
