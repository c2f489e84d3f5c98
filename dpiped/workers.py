"""Threads for libraries that block: they die with the process, and a stop does not wait for a store that hangs."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class _Job(NamedTuple):
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]
    call: Callable[[], Any]


class Workers:
    """At most so many threads, started when they are needed.

    A caller that is cancelled goes on at once: a call that has not begun is forgotten, one that has begun runs to its
    end, and nobody hears of it. So a call may only do what may be done twice.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = 0
        self._waiting = 0

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """What the function returns or raises, called in one of the threads. On the event loop only."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._waiting += 1
        if self._waiting > self._threads and self._threads < self._most:
            self._threads += 1
            name = f"{self._name} {self._threads}"
            threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True).start()
        self._jobs.put(_Job(loop, answer, lambda: function(*arguments)))
        try:
            return await answer
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Threads end with what they are doing. Nothing may be called after it."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = self._most = 0


def _work(jobs: queue.SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        if job.answer.cancelled():
            continue
        try:
            result, error = job.call(), None
        except BaseException as exc:  # it belongs to the caller, whatever it is
            result, error = None, exc
        try:
            job.loop.call_soon_threadsafe(_settle, job.answer, result, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return
        del job, result, error


def _settle(answer: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)
