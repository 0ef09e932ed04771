"""Where the bytes of a part come from.

One file per kind of source, one entry in ``SOURCES`` (see ``registry`` in each
file). A source is random access to a fixed number of bytes: reads carry their
own offset, so one source serves several readers and threads at once and has no
position to restore after a failure.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from ..records import SourceRecord


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

    def descriptor(self) -> AbstractContextManager[int] | None:
        """Lend an open file descriptor whose offsets are this source's own, or None.

        Lent so that the kernel can send ranges itself. Entering checks the
        validator anew. Offset 0 of the source is offset ``base`` of the file.
        """

    @property
    def base(self) -> int:
        """Where in the file of ``descriptor()`` the source begins, in bytes."""

    def check(self) -> None:
        """Raise ``SourceChanged`` if the source is no longer what was planned."""

    def record(self) -> SourceRecord | None:
        """Return what another process needs to find the same bytes; None if it can't."""

    def close(self) -> None:
        """Release what is open. Reading again opens it anew."""
