"""Objects that can seek and read, but are no file of the system's.

A decompressor, a member of an archive, a caller's own class: read where it is
wanted, one reader at a time, and left standing where it stood.
"""

from __future__ import annotations

import io
import threading
from contextlib import AbstractContextManager
from typing import Protocol

from ..errors import SourceChanged, SourceError


class Seekable(Protocol):
    """What is needed of the object."""

    def read(self, size: int, /) -> bytes:
        """Return up to *size* bytes, none only at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to *offset*."""

    def tell(self) -> int:
        """Return where it stands."""


class SeekableSource:
    """What *file* has from *offset* on, or *length* bytes of it."""

    def __init__(
        self, file: Seekable, name: str, *, offset: int, length: int | None = None
    ) -> None:
        self.name = name
        self._file, self._offset = file, offset
        self._lock = threading.Lock()
        self._end = self._measured()
        most = max(0, self._end - offset)
        self._length = most if length is None else length

    @property
    def length(self) -> int:
        """How many bytes there are."""
        return self._length

    @property
    def base(self) -> int:
        """There is no file."""
        return 0

    @property
    def validator(self) -> str:
        """The length: nothing else is known of the object."""
        return str(self._end)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to *size* bytes from *offset*; fewer only at the end.

        Raises:
            SourceChanged: the object ends early.
            SourceError: it cannot be read.
        """
        size = max(0, min(size, self._length - offset))
        start = self._offset + offset
        blocks, done = [], 0
        with self._lock:
            try:
                position = self._file.tell()
                try:
                    self._file.seek(start)
                    while done < size and (block := self._file.read(size - done)):
                        blocks.append(block)
                        done += len(block)
                finally:
                    self._file.seek(position)
                content = blocks[0] if len(blocks) == 1 else b"".join(blocks)
            except (OSError, ValueError, TypeError, EOFError) as exc:
                raise SourceError(f"{self.name} cannot be read: {exc}") from exc
        if done < size:
            raise SourceChanged(
                f"{self.name} is not what was planned: it ended at byte "
                f"{start + done}, {self._offset + self._length} were planned"
            )
        return content

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill *buffer* from *offset*; return how many bytes, fewer at the end.

        Raises:
            SourceChanged, SourceError: as from `read_at`.
        """
        block = self.read_at(offset, len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def descriptor(self) -> AbstractContextManager[int] | None:
        """Return None: the kernel knows nothing of the object."""
        return None

    def check(self) -> None:
        """Raise ``SourceChanged`` if the object has another length now."""
        end = self._measured()
        if end != self._end:
            raise SourceChanged(
                f"{self.name} is not what was planned: it has {end} bytes, "
                f"not {self._end}"
            )

    def record(self) -> None:
        """Return None: the object dies with the process."""
        return

    def close(self) -> None:
        """Do nothing: the object is the caller's."""

    def _measured(self) -> int:
        with self._lock:
            try:
                position = self._file.tell()
                try:
                    return self._file.seek(0, io.SEEK_END) or self._file.tell()
                finally:
                    self._file.seek(position)
            except (OSError, ValueError, EOFError) as exc:
                raise SourceError(f"{self.name} cannot be measured: {exc}") from exc
