"""Connections that are idle, for use by any thread, bounded in number and age."""

from __future__ import annotations

import os
import threading
import time
from typing import Final

from .connection import Connection, Origin
from .kernel import Kernel

#: Seconds of idleness after which a kept connection is not trusted with a
#: request that must not be repeated: many servers close after two to five.
FRESH: Final = 2.0


class Pool:
    """Idle connections by origin.

    *max_idle* connections are kept in all (None: any number), each for *expiry*
    seconds (None: for ever), and fewer where *max_open*, with those in use,
    would be exceeded. After ``take()`` comes ``give()`` or ``drop()``, once.
    After a fork the child starts with an empty pool: two processes on one
    connection would mix their requests.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        max_idle: int | None,
        max_open: int | None,
        expiry: float | None,
    ) -> None:
        self._kernel, self._expiry = kernel, expiry
        self._max_idle, self._max_open = max_idle, max_open
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[tuple[Origin, Connection]] = []
        self._in_use = 0

    def _forked(self) -> None:
        if self._pid != os.getpid():
            left = self._idle
            # The lock may have been held by a thread that is not here.
            self._begin()
            for _, connection in left:
                connection.close()  # this process's descriptors alone

    def take(self, origin: Origin, *, repeatable: bool) -> Connection | None:
        """Return an idle connection to *origin*, if there is a live one.

        If not, there is room for the one that the caller makes now.
        """
        self._forked()
        with self._lock:
            self._in_use += 1
        while True:
            with self._lock:
                connection = self._newest(origin)
                surplus = self._surplus(time.monotonic())
            for each in surplus:
                each.close()
            if connection is None:
                return None
            age = time.monotonic() - connection.idle_since
            expired = self._expiry is not None and age >= self._expiry
            tired = not repeatable and age >= FRESH
            if not (expired or tired or connection.stale(self._kernel)):
                return connection
            connection.close()

    def _newest(self, origin: Origin) -> Connection | None:
        for index in range(len(self._idle) - 1, -1, -1):
            if self._idle[index][0] == origin:
                return self._idle.pop(index)[1]
        return None

    def give(self, origin: Origin, connection: Connection) -> None:
        """Keep *connection* if another request may follow on it, else close it."""
        if connection.process != os.getpid():
            connection.close()  # this process's descriptor alone
            return
        self.drop()
        if not connection.reusable or self._closed:
            connection.close()
            return
        connection.http.start_next_cycle()
        connection.idle_since = now = time.monotonic()
        with self._lock:
            self._idle.append((origin, connection))
            surplus = self._surplus(now)
        for each in surplus:
            each.close()

    def drop(self) -> None:
        """Note that what was taken, or made in its place, is closed."""
        self._forked()
        with self._lock:
            self._in_use -= 1

    def _surplus(self, now: float) -> list[Connection]:
        """Take out what is too old or too many; the oldest stand first."""
        surplus = []
        while self._idle:
            age = now - self._idle[0][1].idle_since
            expired = self._expiry is not None and age >= self._expiry
            if not (expired or self._crowded()):
                break
            surplus.append(self._idle.pop(0)[1])
        return surplus

    def _crowded(self) -> bool:
        idle = len(self._idle)
        too_many_idle = self._max_idle is not None and idle > self._max_idle
        too_many = self._max_open is not None and idle + self._in_use > self._max_open
        return too_many_idle or too_many

    def close(self) -> None:
        """Close every idle connection, and keep none from now on."""
        self._forked()
        self._closed = True
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()
