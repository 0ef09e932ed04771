"""The parts of a representation in order, each a header and its content.

What a plan is made of, whether it was planned just now or read from its record:
the layout, the table of it and the record all come from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeAlias

from ..layout import Extent, Inline, Layout, Segment

#: A header, from its delimiter to the empty line, and the content after it.
Part: TypeAlias = tuple[bytes, bytes | Extent]


class Parts(Protocol):
    """A sequence of parts in groups, made when they are asked for."""

    @property
    def ends(self) -> Sequence[int]:
        """The offset at which each group ends."""

    def group(self, index: int) -> Iterable[Part]:
        """Return the parts of one group. The last part of all is the closing line."""


class Raw:
    """A representation without parts: all bytes of its one source."""

    def __init__(self, length: int) -> None:
        self.ends: Sequence[int] = (length,)

    def group(self, index: int) -> Iterable[Part]:
        """Return the source without a header."""
        return ((b"", Extent(index, 0, self.ends[0])),)


def layout_of(parts: Parts) -> Layout:
    """Return the layout of *parts*; inline bytes that touch become one segment."""
    return Layout(parts.ends, lambda index: _segments(parts.group(index)))


def every(parts: Parts) -> Iterator[Part]:
    """Yield every part in order."""
    for index in range(len(parts.ends)):
        yield from parts.group(index)


def _segments(group: Iterable[Part]) -> list[Segment]:
    segments: list[Segment] = []
    inline: list[bytes] = []
    for header, content in group:
        inline.append(header)
        if isinstance(content, bytes):
            inline.append(content)
            continue
        segments += (Inline(b"".join(inline)), content)
        inline = []
    segments.append(Inline(b"".join(inline)))
    return segments
