"""Bytes that are in memory already."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from functools import cached_property

from ..errors import InvalidParameter
from ..records import SourceRecord

#: Up to this length a value is written down as it is; beyond, only its digest.
LITERAL = 64 * 1024


class MemorySource:
    """The bytes *data*, which nothing can change."""

    def __init__(self, data: bytes, name: str = "bytes in memory") -> None:
        self.data, self.name = data, name

    @property
    def length(self) -> int:
        """How many bytes there are."""
        return len(self.data)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the bytes, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def validator(self) -> str:
        """A short string that differs if the bytes do."""
        return f"sha256-{self.sha256}"

    @property
    def base(self) -> int:
        """There is no file."""
        return 0

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to *size* bytes from *offset*; fewer only at the end."""
        return self.data[offset : offset + size]

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill *buffer* from *offset*; return how many bytes, fewer at the end."""
        count = max(0, min(len(buffer), self.length - offset))
        buffer[:count] = memoryview(self.data)[offset : offset + count]
        return count

    def descriptor(self) -> AbstractContextManager[int] | None:
        """Return None: there is no file."""
        return None

    def check(self) -> None:
        """Do nothing: bytes cannot change."""

    def record(self) -> SourceRecord:
        """Return the bytes if they are few, else their digest."""
        literal = self.data if self.length <= LITERAL else None
        return SourceRecord(
            kind="memory", length=self.length, data=literal, sha256=self.sha256
        )

    def close(self) -> None:
        """Do nothing: nothing is open."""


def restored(record: SourceRecord) -> MemorySource:
    """Return the source that *record* describes.

    Raises:
        InvalidParameter: the bytes were too long to be kept.
    """
    if record.data is None:
        raise InvalidParameter(
            f"params: a value of {record.length} bytes is not kept on disk, as it is "
            "longer than 64 KiB: give the same params again to go on with this upload"
        )
    return MemorySource(record.data)
