"""The representation as bytes, made on demand: in blocks, or as a file to read.

Nothing here has a shared position: any number of readers go over one plan, in any
number of threads.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from typing import Final, NoReturn

from .errors import SourceChanged
from .layout import Extent, Inline, Segment
from .plan import Plan
from .ranges import ByteRange

#: Bytes in a block. Smaller ones cost calls, larger ones copies: clients send what
#: is left of a block after a partial send by copying it.
BLOCK_SIZE: Final = 1024 * 1024


_LINE: Final = 4096  # bytes read at a time in search of a line's end


def iter_bytes(
    plan: Plan, wanted: ByteRange, block_size: int = BLOCK_SIZE
) -> Iterator[bytes]:
    """Yield the bytes *wanted*, each block but the last one *block_size* long.

    Raises:
        IndexError: *wanted* reaches past the end of the plan.
        SourceChanged: a source is no longer what was planned, or ends early.
        SourceError: a source cannot be read.
    """
    if block_size < 1:
        raise ValueError(f"block_size {block_size} is less than 1 byte")
    return _blocks(plan, plan.layout.cut(wanted), block_size)


def read_into(plan: Plan, offset: int, buffer: memoryview) -> int:
    """Fill *buffer* with the bytes from *offset*; return how many, fewer at the end.

    Raises:
        SourceChanged, SourceError: as from `iter_bytes`.
    """
    stop = min(plan.length, offset + len(buffer))
    if stop <= offset:
        return 0
    at = 0
    for segment in plan.layout.cut(ByteRange(offset, stop)):
        end = at + segment.length
        _fill(plan, segment, buffer[at:end])
        at = end
    return at


class Blocks:
    """The bytes of a plan, or of a *window* of it, from the beginning each time.

    For clients that send a redirected request again without going back to where its
    file stood, but iterate anew over anything else (httpx).

    Raises:
        IndexError: *window* reaches past the end of the plan.
    """

    def __init__(self, plan: Plan, window: ByteRange | None = None) -> None:
        whole = ByteRange(0, plan.length)
        self._plan, self._window = plan, whole if window is None else window
        plan.layout.cut(self._window)

    @property
    def length(self) -> int:
        """How many bytes the blocks have together."""
        return self._window.length

    def __iter__(self) -> Iterator[bytes]:
        """Yield the blocks, as `iter_bytes` does."""
        return iter_bytes(self._plan, self._window)


class Body(io.RawIOBase):
    """The bytes of a plan, or of a *window* of it, as a binary file to read.

    What clients do with files works: reading in pieces of any size, seeking and
    telling, asking for the length, rewinding for a redirect. It has no descriptor,
    as no file holds these bytes. Each Body has its own position; one Body is for one
    thread. Closing it leaves the plan open. For httpx, which never rewinds, `Blocks`
    are the better content where redirects or challenges may come.

    Raises:
        IndexError: *window* reaches past the end of the plan.
    """

    mode = "rb"

    def __init__(self, plan: Plan, window: ByteRange | None = None) -> None:
        super().__init__()
        whole = ByteRange(0, plan.length)
        self._plan, self._window = plan, whole if window is None else window
        if self._window.stop > plan.length:
            raise IndexError(f"{window} is outside a plan of {plan.length} bytes")
        self._position = 0

    @property
    def length(self) -> int:
        """How many bytes there are from the beginning to the end."""
        return self._window.length

    def __len__(self) -> int:
        """Return `length`, which clients put into the Content-Length."""
        if self.length > sys.maxsize:
            raise OverflowError(f"{self.length} bytes: ask for .length, not for len()")
        return self.length

    def __bool__(self) -> bool:
        # An empty body is a body: without this it would be false, by its length.
        return True

    def readable(self) -> bool:
        """Return True."""
        self._check_open()
        return True

    def seekable(self) -> bool:
        """Return True."""
        self._check_open()
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to *offset*, which may lie past the end; return the position.

        Raises:
            ValueError: it lies before the beginning, or *whence* is unknown.
        """
        self._check_open()
        origins = {
            os.SEEK_SET: 0,
            os.SEEK_CUR: self._position,
            os.SEEK_END: self.length,
        }
        if whence not in origins:
            raise ValueError(f"whence {whence!r} is none of 0, 1 and 2")
        position = origins[whence] + offset
        if position < 0:
            raise ValueError(f"position {position} is before the beginning")
        self._position = position
        return position

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to *size* bytes, fewer only at the end; all that is left if < 0.

        Raises:
            SourceChanged, SourceError: as from `iter_bytes`; the position stays then.
        """
        self._check_open()
        left = max(0, self.length - self._position)
        size = left if size is None or size < 0 else min(size, left)
        start = self._window.start + self._position
        if not size:
            return b""
        wanted = ByteRange(start, start + size)
        segments = self._plan.layout.cut(wanted)
        first = next(segments)
        if first.length == size:
            data = _read(self._plan, first)
        else:
            buffer = bytearray(size)
            view = memoryview(buffer)
            _fill(self._plan, first, view[: first.length])
            at = first.length
            for segment in segments:
                _fill(self._plan, segment, view[at : at + segment.length])
                at += segment.length
            data = bytes(buffer)
        self._position += size
        return data

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return the bytes up to and with the next LF, at most *size* of them."""
        start, found = self.tell(), -1
        most = self.length if size is None or size < 0 else size
        line = bytearray()
        while len(line) < most and (block := self.read(min(_LINE, most - len(line)))):
            found = block.find(b"\n")
            if found >= 0:
                line += block[: found + 1]
                break
            line += block
        self.seek(start + len(line))
        return bytes(line)

    def readall(self) -> bytes:
        """Return all that is left."""
        return self.read(-1)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # any writable buffer
        """Fill *buffer*; return how many bytes, fewer only at the end.

        Raises:
            SourceChanged, SourceError: as from `iter_bytes`; the position stays then.
        """
        self._check_open()
        left = max(0, self.length - self._position)
        view = memoryview(buffer).cast("B")[:left]
        start = self._window.start + self._position
        count = read_into(self._plan, start, view)
        self._position += count
        return count

    def write(self, data: object, /) -> NoReturn:
        """Raise ``io.UnsupportedOperation``: a body can only be read."""
        raise io.UnsupportedOperation("a body can only be read")

    def __reduce__(self) -> tuple[object, ...]:
        return _reopened, (self._plan, self._window, self._position)

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")


def _reopened(plan: Plan, window: ByteRange, position: int) -> Body:
    body = Body(plan, window)
    body.seek(position)
    return body


def _blocks(plan: Plan, segments: Iterator[Segment], size: int) -> Iterator[bytes]:
    pending: list[bytes] = []
    held = 0
    for segment in segments:
        at = 0
        while at < segment.length:
            piece = segment.cut(at, min(segment.length, at + size - held))
            at += piece.length
            held += piece.length
            pending.append(_read(plan, piece))
            if held == size:
                yield pending[0] if len(pending) == 1 else b"".join(pending)
                pending.clear()
                held = 0
    if pending:
        yield b"".join(pending)


def _read(plan: Plan, segment: Segment) -> bytes:
    match segment:
        case Inline(data):
            return data
        case Extent(index, offset, length):
            source = plan.sources[index]
            data = source.read_at(offset, length)
            if len(data) != length:
                raise _ended(source.name, offset + len(data))
            return data


def _fill(plan: Plan, segment: Segment, view: memoryview) -> None:
    match segment:
        case Inline(data):
            view[:] = data
        case Extent(index, offset, length):
            source = plan.sources[index]
            count = source.read_into(offset, view)
            if count != length:
                raise _ended(source.name, offset + count)


def _ended(name: str, offset: int) -> SourceChanged:
    return SourceChanged(f"{name} is not what was planned: it ended at byte {offset}")
