"""Where the bytes of a part come from.

One file per kind of source, one entry in ``SOURCES`` for each kind that can be
written down. A source is random access to a fixed number of bytes: reads carry
their own offset, so one source serves several readers and threads at once and has
no position to restore after a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from ..records import SourceRecord
from . import memory
from .file import FileSource
from .handle import HandleSource
from .memory import MemorySource
from .seekable import SeekableSource
from .spool import spooled

__all__ = [
    "SOURCES",
    "FileSource",
    "HandleSource",
    "MemorySource",
    "SeekableSource",
    "Source",
    "spooled",
]


class Source(Protocol):
    """Random access to a fixed number of bytes; thread-safe."""

    @property
    def length(self) -> int:
        """How many bytes there are."""

    @property
    def name(self) -> str:
        """What to call this source in messages: a path, or "bytes in memory"."""

    @property
    def validator(self) -> str:
        """A short string that differs if the bytes may differ."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to *size* bytes from *offset*; fewer only at the end.

        Raises:
            SourceChanged: the source is no longer what was planned.
            SourceError: it cannot be read.
        """

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill *buffer* from *offset*; return how many bytes, fewer only at the end.

        Raises:
            SourceChanged, SourceError: as from `read_at`.
        """

    def descriptor(self) -> AbstractContextManager[int] | None:
        """Lend an open file descriptor whose offsets are this source's own, or None.

        Lent so that the kernel can send ranges itself; while it is lent it stays
        open. Entering checks the validator anew. Offset 0 of the source is offset
        ``base`` of the file.
        """

    @property
    def base(self) -> int:
        """Where in the file of ``descriptor()`` the source begins, in bytes."""

    def check(self) -> None:
        """Raise ``SourceChanged`` if the source is no longer what was planned."""

    def record(self) -> SourceRecord | None:
        """Return what another process needs to find the same bytes, or None."""

    def close(self) -> None:
        """Release what is open. Reading again opens it anew, if that is possible."""


#: How each kind of record becomes a source again.
SOURCES: dict[str, Callable[[SourceRecord], Source]] = {
    "memory": memory.restored,
    "file": FileSource.restored,
    "spool": FileSource.restored,
}
