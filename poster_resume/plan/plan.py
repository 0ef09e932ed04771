"""A plan: a representation whose every byte has a known origin.

A plan never changes, and is what it was in another process too, if its sources can
be found there: its record says where.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Self

from ..errors import SourceError
from ..layout import Extent
from ..records import PlanRecord
from ..sources import MemorySource, Source
from ..sources.memory import LITERAL
from .parts import Parts, every, layout_of
from .writing import written


@dataclass(frozen=True, slots=True)
class Row:
    """A run of bytes and what they are; offset and length in bytes."""

    offset: int
    length: int
    what: str


class Plan:
    """A representation whose every byte has a known origin; safe in threads.

    *content_type* is what to announce. *layout* says which bytes come from where,
    *sources* are what its extents point at. The last *closing* bytes are the line
    that ends a form; without them no receiver takes it for complete.
    """

    def __init__(
        self,
        parts: Parts,
        sources: Sequence[Source],
        content_type: str,
        *,
        closing: int = 0,
        identity: Callable[[], str] | None = None,
        record: PlanRecord | None = None,
    ) -> None:
        self._parts = parts
        self.sources = sources
        self.content_type = content_type
        self.closing = closing
        self.layout = layout_of(parts)
        self._identify = identity
        self._record, self._recorded = record, record is not None

    @property
    def length(self) -> int:
        """Length of the representation in bytes."""
        return self.layout.length

    def record(self) -> PlanRecord | None:
        """Return what another process needs to go on with this very plan.

        None if it cannot: some source is known to this process only.
        """
        if not self._recorded:
            self._record = written(
                self._parts, self.sources, self.content_type, self.closing
            )
            self._recorded = True
        return self._record

    @property
    def digest(self) -> str:
        """Digest of the record; empty if the plan cannot outlive the process."""
        record = self.record()
        return "" if record is None else record.digest

    @cached_property
    def identity(self) -> str:
        """What tells this content from all other, however often it is planned."""
        return self.fingerprint() if self._identify is None else self._identify()

    def fingerprint(self) -> str:
        """Return a digest that differs if a single byte may differ, in hexadecimal.

        Another plan of the same parameters has another boundary, and so another one.
        """
        state = hashlib.sha256(b"%d %b\n" % (self.length, self.content_type.encode()))
        for header, content in every(self._parts):
            state.update(b"%d:%b" % (len(header), header))
            if isinstance(content, Extent):
                validator = self.sources[content.source].validator.encode()
                content = b"%d %b" % (content.length, validator)
                state.update(b"~")
            state.update(b"%d:%b" % (len(content), content))
        return state.hexdigest()

    def check(self) -> None:
        """Make sure that every source is still what was planned.

        Raises:
            SourceChanged: one is not; the message names it and says what differs.
            SourceError: one cannot be looked at.
        """
        for source in self.sources:
            source.check()

    def describe(self) -> Iterator[Row]:
        """Yield the representation piece by piece, in order."""
        offset = 0
        for header, content in every(self._parts):
            if header:
                yield Row(offset, len(header), _header(header))
                offset += len(header)
            if isinstance(content, Extent):
                what = f"content of {self.sources[content.source].name}"
                yield Row(offset, content.length, what)
                offset += content.length
            elif content:
                yield Row(offset, len(content), "value")
                offset += len(content)

    def close(self) -> None:
        """Close what is open. Files are opened again if they are read again."""
        for source in self.sources:
            source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        record = self.record()
        if record is None:
            raise SourceError(
                "the plan cannot leave its process, as it has a file without a path: "
                "give Paths"
            )
        from .restoring import unpickled

        return unpickled, (record, *long_values(self.sources))


def long_values(sources: Sequence[Source]) -> Iterator[bytes]:
    """Yield what a record of *sources* names by its digest only."""
    for source in sources:
        if isinstance(source, MemorySource) and source.length > LITERAL:
            yield source.data


def _header(header: bytes) -> str:
    """Say what a header is for: the delimiter, and the names that it gives."""
    lines = header.decode("utf-8", "backslashreplace").strip("\r\n").split("\r\n")
    if len(lines) == 1:
        return "closing delimiter"
    said = [line.partition(":")[2].strip() for line in lines[1:]]
    return f"header: {', '.join(said)}"
