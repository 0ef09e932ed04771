"""The content of one request as a stream of segments, replayable.

A stream names bytes, it does not hold them: our own transports ask it for
*blocks* (bytes, or ranges of a source which the kernel can send by itself);
every other transport iterates it and gets plain bytes. Segments are taken from
the plan one after the other, so a form of a million parts costs no list.
"""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, assert_never

from ..errors import DeadlineExceeded, SourceChanged
from ..layout import Extent, Inline
from ..ranges import ByteRange
from .threads import in_thread
from .waker import Waker

if TYPE_CHECKING:
    from ..plan import Plan
    from ..sources import Source

#: Segments shorter than this are put together; longer ones go alone.
SMALL = 64 * 1024
#: Bytes per block where nobody but us reads a source: httpx copies the rest of
#: a block at each partial send, so larger ones cost more, smaller ones too.
BLOCK = 1024 * 1024

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]
OnInformational: TypeAlias = Callable[[int, RawHeaders], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class SourceRange:
    """So many bytes of a source from *offset* on."""

    source: Source
    offset: int
    length: int

    def read(self, offset: int, size: int) -> bytes:
        """Return between 1 and *size* bytes from *offset* of the source.

        Raises:
            SourceChanged: the source ends there.
        """
        data = self.source.read_at(offset, size)
        if not data:
            raise self.truncated(offset)
        return data

    def truncated(self, offset: int) -> SourceChanged:
        """Return the error that says: the source ends at *offset*."""
        return SourceChanged(
            f"{self.source.name} is not what was planned: it ended at byte {offset}, "
            f"{self.offset + self.length} were planned; bring it back, or start over "
            'with on_change="restart"'
        )


Block: TypeAlias = bytes | bytearray | SourceRange


class Segments:
    """The content of one request; see ``SegmentStream`` for what is public.

    *withhold*: the last so many bytes leave only when the kernel has sent all
    others. *expect*: seconds to wait for a 100 or 104 before the content goes.
    *deadline* is on the monotonic clock. *repeatable* says that sending the
    request twice does no harm, so that it may be repeated on a new connection
    when a kept one turns out to be dead. Callbacks get interim responses as
    they come in, and numbers of bytes as the kernel takes them.
    """

    def __init__(
        self,
        content: bytes | Plan = b"",
        wanted: ByteRange | None = None,
        *,
        withhold: int = 0,
        expect: float = 0,
        deadline: float | None = None,
        repeatable: bool = False,
        waker: Waker | None = None,
        on_informational: OnInformational | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        length = len(content) if isinstance(content, bytes) else content.length
        self._content = content
        self._wanted = wanted or ByteRange(0, length)
        if self._wanted.stop > length:
            raise IndexError(f"{self._wanted} reaches past the end at {length}")
        #: Length of the content in bytes.
        self.length = self._wanted.length
        self.withhold = min(withhold, self.length)
        self.expect, self.deadline, self.repeatable = expect, deadline, repeatable
        self.waker = waker
        self.on_informational, self._on_progress = on_informational, on_progress
        #: Bytes of the content that may have left, of the latest attempt.
        self.sent = 0
        self._reported = 0

    @property
    def in_memory(self) -> bool:
        """Whether taking blocks never waits for a disk."""
        return isinstance(self._content, bytes)

    def begin(self) -> None:
        """Note that an attempt begins, from the content's first byte."""
        self.sent = 0

    def moved(self, count: int) -> None:
        """Note that *count* more bytes left; each byte is reported once."""
        self.sent += count
        self.report()

    def report(self) -> None:
        """Tell the observer what it doesn't know yet."""
        news = self.sent - self._reported
        if news > 0:
            self._reported = self.sent
            if self._on_progress is not None:
                self._on_progress(news)

    def check(self) -> None:
        """Raise ``UploadPaused`` or ``DeadlineExceeded`` when it is time to."""
        if self.waker is not None:
            self.waker.check()
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise DeadlineExceeded("the deadline has passed; call send() to go on")

    def blocks(self) -> Iterator[Block]:
        """Yield all but the withheld bytes, short segments put together.

        Raises:
            SourceChanged: before the last one, if a source has changed meanwhile.
        """
        stop = self._wanted.stop - self.withhold
        wanted = ByteRange(self._wanted.start, stop)
        yield from self._together(wanted) if self.withhold else self._ended(wanted)

    def withheld(self) -> Iterator[Block]:
        """Yield the withheld bytes.

        Raises:
            SourceChanged: a source has changed meanwhile.
        """
        stop = self._wanted.stop
        yield from self._ended(ByteRange(stop - self.withhold, stop))

    def _ended(self, wanted: ByteRange) -> Iterator[Block]:
        """Yield the bytes *wanted*; the last ones if the sources are as they were.

        What is not the planned content must not become whole. The end is read
        before the sources are looked at: nothing is read of them afterwards.
        """
        content = self._content
        if isinstance(content, bytes) or wanted.stop < content.length:
            yield from self._together(wanted)
            return
        stop = max(wanted.start, wanted.stop - SMALL)
        yield from self._together(ByteRange(wanted.start, stop))
        end = bytearray()
        for block in self._together(ByteRange(stop, wanted.stop)):
            if isinstance(block, SourceRange):
                end += b"".join(_read(block, SMALL))
            else:
                end += block
        if end:
            content.check()
            yield end

    def _segments(self, wanted: ByteRange) -> Iterator[bytes | SourceRange]:
        content = self._content
        if isinstance(content, bytes):
            if wanted.length == len(content):
                yield content
            else:
                yield content[wanted.start : wanted.stop]
            return
        for segment in content.layout.cut(wanted):
            match segment:
                case Inline(data):
                    yield data
                case Extent(source, offset, length):
                    yield SourceRange(content.sources[source], offset, length)
                case _:
                    assert_never(segment)

    def _together(self, wanted: ByteRange) -> Iterator[Block]:
        if not wanted.length:
            return
        small = bytearray()
        for segment in self._segments(wanted):
            if isinstance(segment, SourceRange):
                if segment.length >= SMALL:
                    if small:
                        yield small
                        small = bytearray()
                    yield segment
                    continue
                for data in _read(segment, SMALL):
                    small += data
            elif len(segment) >= SMALL and not small:
                yield segment
                continue
            else:
                small += segment
            if len(small) >= SMALL:
                yield small
                small = bytearray()
        if small:
            yield small

    def _plain(self) -> Iterator[bytes]:
        for blocks in (self.blocks(), self.withheld()):
            for block in blocks:
                if isinstance(block, SourceRange):
                    yield from _read(block, BLOCK)
                else:
                    yield bytes(block)

    # What other transports see. A block counts as sent when it is handed out:
    # the most that can have left, so that "incomplete" is never wrong.

    def __iter__(self) -> Iterator[bytes]:
        self.begin()
        for block in self._plain():
            self.check()
            self.sent += len(block)
            yield block
            self.report()

    def __aiter__(self) -> AsyncIterator[bytes]:
        self.begin()
        return _AsyncBlocks(self, self._plain())

    def close(self) -> None:
        """Do nothing: the plan's owner closes the plan."""

    async def aclose(self) -> None:
        """Do nothing: the plan's owner closes the plan."""


class _AsyncBlocks:
    """The blocks of a stream, one by one.

    No generator: those want to be closed, and httpx leaves them where a
    connection breaks.
    """

    def __init__(self, stream: Segments, blocks: Iterator[bytes]) -> None:
        self._stream, self._blocks = stream, blocks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        stream = self._stream
        stream.report()
        if stream.in_memory:
            block = next(self._blocks, None)
        else:
            block = await in_thread(functools.partial(next, self._blocks, None))
        if block is None:
            raise StopAsyncIteration
        stream.check()
        stream.sent += len(block)
        return block


def _read(piece: SourceRange, size: int) -> Iterator[bytes]:
    offset, stop = piece.offset, piece.offset + piece.length
    while offset < stop:
        data = piece.read(offset, min(size, stop - offset))
        yield data
        offset += len(data)
