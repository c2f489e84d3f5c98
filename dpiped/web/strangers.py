"""What aiohttp logs of requests that are no HTTP, or break off, is counted instead: whoever reaches an address could
otherwise fill the log, an error with its traceback for each request. What is a defect of ours stays in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

THEIRS = (HttpProcessingError, web.RequestPayloadError, ConnectionError, UnicodeDecodeError)
"""Errors that a sender makes."""


def stranger_logger(note: Callable[[str], None]) -> logging.Logger:
    """The `logger` of an aiohttp server; `note` is called with "bad_request" for each error of a sender."""
    logger = logging.Logger("aiohttp.server", logging.WARNING)
    logger.parent = logging.getLogger()

    def is_ours(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, THEIRS):
            return True
        note("bad_request")
        return False

    logger.addFilter(is_ours)
    return logger
