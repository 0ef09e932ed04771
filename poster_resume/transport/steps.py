"""What code that does I/O without blocking asks of whoever drives it.

Such code is a generator of steps. It tries first and yields only when it would
block, so one implementation serves threads, asyncio and trio; a driver performs
a step and sends back the outcome, or throws the exception that it raised.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")


class Wait(NamedTuple):
    """Wait for so many seconds (None: for ever) until a socket is ready.

    The outcome is a pair: is it readable, is it writable. Neither: time is up.
    """

    sock: socket.socket
    readable: bool
    writable: bool
    seconds: float | None


class InThread(NamedTuple):
    """Call something that may wait for a disk; the outcome is what it returns."""

    work: Callable[[], Any]


class Await(NamedTuple):
    """Await something, in async drivers; the outcome is what it returns."""

    awaitable: Awaitable[Any]


Step: TypeAlias = Wait | InThread | Await
Steps: TypeAlias = Generator[Step, Any, T]


class Failed(Exception):
    """Something went wrong that the HTTP clients have a name for.

    *kind* is the name of their exception class; the client's own is made of it
    at the border.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
