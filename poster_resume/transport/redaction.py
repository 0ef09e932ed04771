"""Keeps upload URLs out of the logs of httpx, httpx2 and their cores.

httpx logs whole URLs at INFO, httpcore whole response heads at DEBUG; the URL
of an upload resource is a capability. Records of requests made inside
``redacting()`` are redacted, all others stay as they are.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from http.client import responses
from typing import Final

from ..errors import redacted

_inside: ContextVar[bool] = ContextVar("poster_resume_redacting", default=False)

_CLIENTS: Final = ("httpx", "httpx2")
_CORES: Final = tuple(
    f"{core}.{part}"
    for core in ("httpcore", "httpcore2")
    for part in ("connection", "http11", "http2", "proxy", "socks")
)
# HTTP/2's header compression logs every field, :path and authorization too.
_CODERS: Final = ("hpack.hpack", "hpack.table")


@contextlib.contextmanager
def redacting() -> Iterator[None]:
    """Redact what HTTP clients log in here."""
    _install()
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)


class _Filter(logging.Filter):
    """Rewrites a client's record: URLs lose path and query.

    The reason phrase, which follows the status, can hold whatever a broken
    server wrote there: it becomes the one that is registered for the status.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if _inside.get() and isinstance(record.args, tuple):
            shown: list[object] = []
            for each in record.args:
                if shown and isinstance(shown[-1], int):
                    shown.append(responses.get(shown[-1], ""))
                else:
                    shown.append(redacted(str(each)) if "://" in str(each) else each)
            record.args = tuple(shown)
        return True


class _Silence(logging.Filter):
    """Drops records that hold nothing but header fields."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _inside.get()


class _CoreFilter(logging.Filter):
    """Rewrites a core's record: what was received is not shown."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _inside.get():
            message = record.getMessage()
            for received in (" return_value=", " exception="):
                message, _, _ = message.partition(received)
            record.msg, record.args = message, ()
        return True


_FILTER, _CORE_FILTER, _SILENCE = _Filter(), _CoreFilter(), _Silence()


def _install() -> None:
    # A logger ignores a filter that it has already.
    for name in _CLIENTS:
        logging.getLogger(name).addFilter(_FILTER)
    for name in _CORES:
        logging.getLogger(name).addFilter(_CORE_FILTER)
    for name in _CODERS:
        logging.getLogger(name).addFilter(_SILENCE)
