"""A file that is open but has no path that leads to it: temporary, or unlinked.

Our own duplicate of the descriptor serves, so that the caller may close his.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import SourceChanged, SourceError, unreadable
from . import positional
from .descriptors import Descriptors
from .states import FileState


class HandleSource:
    """*length* bytes from *offset* of the open file *fd*, which is duplicated."""

    def __init__(
        self, fd: int, name: str, *, offset: int = 0, length: int | None = None
    ) -> None:
        self.name = name
        self._pool = Descriptors(1)
        self._pool.adopt(None, os.dup(fd))
        self._state = FileState.of(os.fstat(fd))
        self._offset = offset
        self._length = self._state.size - offset if length is None else length

    @property
    def length(self) -> int:
        """How many bytes there are."""
        return self._length

    @property
    def base(self) -> int:
        """Where in the file the source begins, in bytes."""
        return self._offset

    @property
    def validator(self) -> str:
        """A short string that differs if the bytes may differ."""
        return self._state.validator("strict")

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to *size* bytes from *offset*; fewer only at the end.

        Raises:
            SourceChanged: the file is no longer what was planned.
            SourceError: it cannot be read.
        """
        size = max(0, min(size, self._length - offset))
        with self._reading() as fd:
            block = positional.read_at(fd, self._offset + offset, size)
        if len(block) < size:
            raise self._ended(offset + len(block))
        return block

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill *buffer* from *offset*; return how many bytes, fewer at the end.

        Raises:
            SourceChanged, SourceError: as from `read_at`.
        """
        size = max(0, min(len(buffer), self._length - offset))
        with self._reading() as fd:
            count = positional.read_into(fd, self._offset + offset, buffer[:size])
        if count < size:
            raise self._ended(offset + count)
        return count

    @contextmanager
    def descriptor(self) -> Iterator[int]:
        """Lend the descriptor, of a file that is what was planned."""
        with self._pool.lend(None, self._closed) as fd:
            self._compare(os.fstat(fd))
            yield fd

    def check(self) -> None:
        """Raise ``SourceChanged`` if the file is no longer what was planned."""
        with self.descriptor():
            pass

    def record(self) -> None:
        """Return None: no other process can find this file."""
        return

    def close(self) -> None:
        """Close the duplicate. It cannot be read any more."""
        self._pool.drop(None)

    def __del__(self) -> None:
        self._pool.forget(None)

    @contextmanager
    def _reading(self) -> Iterator[int]:
        with self._pool.lend(None, self._closed) as fd:
            try:
                yield fd
            except OSError as exc:
                raise unreadable(self.name, exc) from exc

    def _closed(self) -> int:
        raise SourceError(
            f"{self.name} was closed with its plan, and no path leads to it: plan anew"
        )

    def _compare(self, status: os.stat_result) -> None:
        difference = self._state.difference(FileState.of(status), "strict")
        if difference is not None:
            raise SourceChanged(f"{self.name} is not what was planned: {difference}")

    def _ended(self, offset: int) -> SourceChanged:
        return SourceChanged(
            f"{self.name} is not what was planned: it ended at byte "
            f"{self._offset + offset}, {self._offset + self._length} were planned"
        )
