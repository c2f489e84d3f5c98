"""Output `s3` in the whole engine: a batch that waits for more goes at once when all inputs have ended."""

from __future__ import annotations

import json
from pathlib import Path

from dpiped.testing import running, until
from tests.servers.s3_stub import S3Stub


async def test_the_end_of_all_inputs_is_not_waited_for_in_vain(tmp_path: Path) -> None:
    async with S3Stub().running() as stub:
        keys = "\n".join(f"{name} = {json.dumps(value)}" for name, value in stub.config(prefix="logs").items())
        output = f'[[output]]\ntype = "s3"\n{keys}\nbatch = {{ max_secs = 1_000 }}\n'
        async with running(f'[[input]]\ntype = "demo"\nrate = 50_000\ncount = 3_000\n{output}', tmp_path) as engine:
            await until(lambda: len(stub.events()) == 3_000)
            (runner,) = engine.runners
            await until(lambda: runner.saved.cursor == engine.journal.next)
        assert runner.report()["objects"] == len(stub.objects)
