"""Open descriptors, few at a time: those used last stay open, lent ones always do.

A form of ten thousand files must not exhaust what a process may open.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import SourceError


@dataclass(slots=True)
class _Open:
    fd: int
    lent: int = 0
    dropped: bool = False


class Descriptors:
    """A pool of at most *limit* open descriptors, unless more of them are lent."""

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._open: OrderedDict[Hashable, _Open] = OrderedDict()
        self._forgotten: deque[Hashable] = deque()
        self._lock = threading.Lock()

    def adopt(self, key: Hashable, fd: int) -> None:
        """Take over *fd*, which is open already, under *key*."""
        with self._lock:
            self._open[key] = _Open(fd)

    @contextmanager
    def lend(self, key: Hashable, opened: Callable[[], int]) -> Iterator[int]:
        """Lend the descriptor of *key*; *opened* returns it if it is not open.

        While it is lent nobody closes it. What *opened* raises passes through.
        """
        entry = self._take(key, opened)
        try:
            yield entry.fd
        finally:
            self._give_back(entry)

    def drop(self, key: Hashable) -> None:
        """Close the descriptor of *key*; if it is lent, when it comes back."""
        with self._lock:
            spent = self._dropped(key)
        _close(spent)

    def forget(self, key: Hashable) -> None:
        """Do as `drop`, soon: safe while garbage is collected, in any frame."""
        self._forgotten.append(key)
        if self._lock.acquire(blocking=False):
            try:
                spent = self._swept()
            finally:
                self._lock.release()
            _close(spent)

    def _take(self, key: Hashable, opened: Callable[[], int]) -> _Open:
        with self._lock:
            spent = self._swept()
            entry = self._open.get(key)
            if entry is not None:
                entry.lent += 1
                self._open.move_to_end(key)
            else:
                spent += self._excess(self._limit - 1)
        _close(spent)
        if entry is not None:
            return entry
        # Opening may take long: nobody else waits for it.
        fd = self._with_room(opened)
        with self._lock:
            entry = self._open.get(key)
            if entry is None:
                entry, spent = _Open(fd), []
                self._open[key] = entry
            else:  # another thread was faster
                spent = [fd]
            entry.lent += 1
            spent += self._excess(self._limit)
        _close(spent)
        return entry

    def _with_room(self, opened: Callable[[], int]) -> int:
        try:
            return opened()
        except OSError as exc:
            if exc.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        # The program itself has used up what it may open: ours are worth less.
        with self._lock:
            spent = self._excess(0)
        _close(spent)
        try:
            return opened()
        except OSError as exc:
            raise SourceError(
                f"cannot open one more file ({exc.strerror}): close some, or raise the "
                "limit of open files"
            ) from exc

    def _give_back(self, entry: _Open) -> None:
        with self._lock:
            entry.lent -= 1
            spent = [entry.fd] if entry.dropped and not entry.lent else []
            spent += self._excess(self._limit)
        _close(spent)

    def _excess(self, limit: int) -> list[int]:
        """Take out what has not been used for longest, down to *limit* if possible."""
        count = len(self._open) - limit
        if count <= 0:
            return []
        idle = [key for key, entry in self._open.items() if not entry.lent]
        return [self._open.pop(key).fd for key in idle[:count]]

    def _dropped(self, key: Hashable) -> list[int]:
        entry = self._open.pop(key, None)
        if entry is None:
            return []
        entry.dropped = True
        return [] if entry.lent else [entry.fd]

    def _swept(self) -> list[int]:
        spent: list[int] = []
        while self._forgotten:
            spent += self._dropped(self._forgotten.popleft())
        return spent

    def _after_fork(self) -> None:
        # Another thread of the parent may have held it. Positions are not used, so
        # that the descriptors serve the child as well.
        self._lock = threading.Lock()


#: The one pool that all plans of a process share.
SHARED = Descriptors()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SHARED._after_fork)


def _close(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)
