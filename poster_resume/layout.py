"""The byte layout of a representation: which bytes come from where.

A layout is arithmetic. It owns the few bytes that are written nowhere else
(delimiters, part headers, short values) and points at the rest. It never
opens, seeks or reads.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Self, TypeAlias

from .ranges import ByteRange


@dataclass(frozen=True, slots=True)
class Inline:
    """Bytes that the layout itself carries."""

    data: bytes

    @property
    def length(self) -> int:
        """Length in bytes."""
        return len(self.data)

    def cut(self, start: int, stop: int) -> Inline:
        """Return the piece between two offsets within this segment."""
        return Inline(self.data[start:stop])


@dataclass(frozen=True, slots=True)
class Extent:
    """A contiguous run of bytes in one of the plan's sources."""

    source: int
    offset: int
    length: int

    def cut(self, start: int, stop: int) -> Extent:
        """Return the piece between two offsets within this segment."""
        return Extent(self.source, self.offset + start, stop - start)


Segment: TypeAlias = Inline | Extent


class Layout:
    """An immutable sequence of segments, addressable by byte offset.

    Segments are made in groups, when they are asked for: a form of a million
    parts costs a few bytes for each group. *ends* are the offsets at which the
    groups end; *render* returns the segments of one, always the same ones.
    """

    __slots__ = ("_ends", "_render")

    def __init__(
        self, ends: Sequence[int], render: Callable[[int], Iterable[Segment]]
    ) -> None:
        self._ends, self._render = ends, render

    @classmethod
    def of(cls, segments: Iterable[Segment]) -> Self:
        """Return the layout of *segments*, which are kept."""
        kept = tuple(segments)
        return cls(
            tuple(accumulate(each.length for each in kept)), lambda n: (kept[n],)
        )

    @property
    def length(self) -> int:
        """Length of the whole representation in bytes."""
        return self._ends[-1] if self._ends else 0

    @property
    def segments(self) -> Iterator[Segment]:
        """Every segment in order, none of them empty."""
        return self.cut(ByteRange(0, self.length))

    def cut(self, wanted: ByteRange) -> Iterator[Segment]:
        """Yield the segments that make up exactly the bytes *wanted*, none empty.

        Raises:
            IndexError: *wanted* reaches past the end of the layout.
        """
        if wanted.stop > self.length:
            raise IndexError(f"{wanted} is outside a layout of {self.length} bytes")
        return self._cut(wanted.start, wanted.stop)

    def _cut(self, start: int, stop: int) -> Iterator[Segment]:
        group = bisect_right(self._ends, start)
        begin = self._ends[group - 1] if group else 0
        while start < stop:
            for segment in self._render(group):
                end = begin + segment.length
                if start < end:
                    upto = min(end, stop)
                    whole = start == begin and upto == end
                    yield segment if whole else segment.cut(start - begin, upto - begin)
                    start = upto
                    if start >= stop:
                        return
                begin = end
            assert begin == self._ends[group], "a group is not as long as was told"
            group += 1
