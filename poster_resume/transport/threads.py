"""Calls that may wait for a disk, in worker threads that are never left behind.

They use descriptors of ours. A call that went on after its task was cancelled
would use them after they are closed, or those of another file that has got
their numbers since.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")

# Seconds between two looks at a call that is no longer wanted.
_LOOK = 0.002


async def in_thread(work: Callable[[], T]) -> T:
    """Call *work* in a worker thread; cancelled or not, return only when it is over.

    trio and anyio's own scopes wait for it by themselves. A cancelled task of
    asyncio's (``wait_for()``, Ctrl-C in ``asyncio.run()``) does not.
    """
    call = _Call(work)
    try:
        return await anyio.to_thread.run_sync(call)
    except asyncio.CancelledError:
        await call.over()
        raise


class _Call(Generic[T]):
    """One call, which a cancelled task can call off or wait for."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._running = threading.Lock()
        self._unwanted = False

    def __call__(self) -> T:
        with self._running:
            if self._unwanted:
                raise asyncio.CancelledError  # nobody will see it
            return self._work()

    async def over(self) -> None:
        """Wait until it has run; if it has not begun by now, it never will."""
        self._unwanted = True
        while not self._running.acquire(blocking=False):
            # Cancelled twice is cancelled, too: what called us raises it.
            with (
                anyio.CancelScope(shield=True),
                contextlib.suppress(asyncio.CancelledError),
            ):
                await asyncio.sleep(_LOOK)
        self._running.release()
