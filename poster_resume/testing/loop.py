"""Sockets that are waited for and things to do later, in one thread.

The link's whole life is one loop, so nothing in it needs a lock.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import socket
import time
from collections.abc import Callable

#: Bytes that one read asks for.
BLOCK = 512 * 1024


class Loop:
    """Sockets that are waited for, and things to do later; one thread's."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.held = False
        #: Reads go here first; nothing stays in it.
        self.block = memoryview(bytearray(BLOCK))
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Have *action* called in *seconds*."""
        when = time.monotonic() + seconds
        heapq.heappush(self._timers, (when, next(self._numbers), action))

    def turn(self) -> None:
        """Wait for the next thing to happen, and do it."""
        timeout = None
        if self._timers:
            timeout = max(0.0, self._timers[0][0] - time.monotonic())
        for key, events in self.selector.select(timeout):
            key.data(events & key.events)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def watch(
        self, sock: socket.socket, events: int, action: Callable[[int], None]
    ) -> None:
        """Call *action* whenever *sock* is ready for *events*; 0: no more."""
        key = self.selector.get_map().get(sock)
        if key is None:
            if events:
                self.selector.register(sock, events, action)
        elif not events:
            self.selector.unregister(sock)
        elif key.events != events or key.data != action:
            self.selector.modify(sock, events, action)
