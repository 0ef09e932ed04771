"""Byte ranges, and how HTTP spells them.

A range is half-open, like a Python slice: adjacent ranges share an endpoint,
and an empty range is ``ByteRange(n, n)``. HTTP's inclusive positions
(RFC 9110, section 14) appear only inside the methods that spell a header.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes from *start* up to, but not including, *stop*.

    Raises:
        ValueError: not ``0 <= start <= stop``.
    """

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise ValueError(f"not a byte range: [{self.start}, {self.stop})")

    @property
    def length(self) -> int:
        """How many bytes the range covers."""
        return self.stop - self.start

    def content_range(self, complete_length: int | None) -> str:
        """Spell this range as a ``Content-Range`` value (RFC 9110, 14.4).

        *complete_length* is the length of the whole representation in bytes,
        None while it is unknown.
        """
        total = "*" if complete_length is None else str(complete_length)
        if self.start == self.stop:
            return f"bytes */{total}"
        return f"bytes {self.start}-{self.stop - 1}/{total}"

    def __str__(self) -> str:
        return f"[{self.start}, {self.stop})"
