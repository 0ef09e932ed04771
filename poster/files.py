"""Files as content: how long they are, and reading exactly that much.

A length is promised before content is sent. A file that then turns out shorter or
longer is an error: nothing is padded and nothing surplus is handed out.
"""

import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


class LengthMismatch(ValueError):
    """Content is shorter or longer than the length that was promised for it."""


class TextFile(TypeError, ValueError):
    """A file yields text where bytes are needed.

    A TypeError because of what `read()` returns, a ValueError as for every other file
    that cannot be sent.
    """


class Readable(Protocol):
    """What the content of a part can be read from, in bytes."""

    def read(self, size: int = -1, /) -> bytes: ...


class OwnFile(io.BufferedReader):
    """A file that closes quietly when it is forgotten, as in Python 2.

    For files which were opened on behalf of a caller who may never learn of them.
    """

    def __del__(self) -> None:
        self.close()


def open_own(path: str) -> OwnFile:
    """Return the file at *path*, open for reading.

    Raises:
        OSError: it cannot be opened.
    """
    return OwnFile(io.FileIO(path))


def size_of(file: Readable) -> int:
    """Return the length of the whole *file* in bytes.

    Its descriptor is asked first. A file without one is measured by going to its end,
    and left at its beginning.

    Raises:
        TextFile: it is open in text mode.
        ValueError: it has no length that could be known, like a pipe.
    """
    check_binary(file)
    try:
        return _size_of(file)
    except Exception as exc:
        # Anyone's object may raise anything here.
        raise ValueError(
            f"Could not determine filesize of {_label(file)}: pass filesize=, or read "
            "the content and pass it as the value"
        ) from exc


def check_binary(file: object) -> None:
    """Raise `TextFile` if *file* says that it is open in text mode."""
    if isinstance(file, io.TextIOBase):
        raise TextFile(f'{_label(file)} yields text: open it in binary mode, "rb"')


def position(file: object) -> int | None:
    """Return where *file* stands, or None if it could not be brought back there.

    What can seek but not tell is taken to stand at its beginning.
    """
    try:
        if not file.seekable():  # type: ignore[attr-defined]  # asked, not assumed
            return None
    except AttributeError:
        if not hasattr(file, "seek"):
            return None
    if not hasattr(file, "tell"):
        return 0
    try:
        where = file.tell()
    except (OSError, ValueError):
        return None
    return where if isinstance(where, int) else None


def start_of(file: Readable, length: int) -> int | None:
    """Return where *length* bytes of *file* begin, or None as `position` does.

    That is where it stands; but if it is *length* bytes long as a whole, as after
    writing it, that is its beginning.
    """
    where = position(file)
    if not where:
        return where
    try:
        return 0 if _seek_end(file, where) == length else where
    except (AttributeError, EOFError, OSError, ValueError):
        return where


def blocks(file: Readable, length: int, blocksize: int) -> Iterator[bytes]:
    """Yield exactly *length* bytes of *file*, up to *blocksize* at a time.

    Raises:
        LengthMismatch: it ends earlier or has more. The last block is not yielded then.
        TextFile: it yields text.
    """
    left = length
    while left:
        block = _read(file, blocksize)
        if not block:
            raise ended_early(_label(file), length - left, length)
        left -= len(block)
        if left < 0 or (not left and _read(file, blocksize)):
            raise _has_more(file, length)
        yield block
    if not length and _read(file, blocksize):
        raise _has_more(file, length)


def rest(file: Readable, blocksize: int) -> Iterator[bytes]:
    """Yield what is left of *file*, up to *blocksize* at a time.

    Raises:
        TextFile: it yields text.
    """
    while block := _read(file, blocksize):
        yield block


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes of a file that the kernel can send: *length* of them, from *offset*."""

    file: io.FileIO | io.BufferedReader | io.BufferedRandom
    offset: int
    length: int

    def __len__(self) -> int:
        return self.length

    def read(self, start: int, size: int) -> bytes:
        """Return up to *size* bytes, *start* bytes into the range.

        Raises:
            LengthMismatch: the file ends before them.
        """
        self.file.seek(self.offset + start)
        block = self.file.read(min(size, self.length - start))
        if not block:
            raise self.cut(start)
        return block

    def cut(self, start: int) -> LengthMismatch:
        """Return the error for a file that ends *start* bytes into the range."""
        return ended_early(
            _label(self.file), self.offset + start, self.offset + self.length
        )


def ranges(
    file: Readable, offset: int, length: int, blocksize: int
) -> Iterator[FileRange] | None:
    """Return *length* bytes of *file* from *offset* as ranges, or None if it has none.

    Only the interpreter's own files have ranges: any other object may do more in
    `read()` than its descriptor tells.
    """
    if type(file) not in _KERNEL_FILES:
        return None
    assert isinstance(file, io.FileIO | io.BufferedReader | io.BufferedRandom)
    try:
        regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode) and file.readable()
    except (OSError, ValueError):
        return None
    return _ranges(file, offset, length, blocksize) if regular else None


def ended_early(label: str, found: int, length: int) -> LengthMismatch:
    """Return the error for content that has only *found* of *length* bytes."""
    return LengthMismatch(
        f"{label} ended after {found} bytes, {length} were announced: "
        "it must not shrink while it is sent"
    )


_KERNEL_FILES = (io.FileIO, io.BufferedReader, io.BufferedRandom, OwnFile)


def _ranges(
    file: io.FileIO | io.BufferedReader | io.BufferedRandom,
    offset: int,
    length: int,
    blocksize: int,
) -> Iterator[FileRange]:
    file.flush()
    stop = offset + length
    for at in range(offset, stop, blocksize):
        if stop - at <= blocksize:
            _check_end(file, stop)
        yield FileRange(file, at, min(blocksize, stop - at))
    if not length:
        _check_end(file, stop)


def _check_end(
    file: io.FileIO | io.BufferedReader | io.BufferedRandom, stop: int
) -> None:
    if os.fstat(file.fileno()).st_size > stop:
        raise _has_more(file, stop)


def _size_of(file: Readable) -> int:
    try:
        status = os.fstat(file.fileno())  # type: ignore[attr-defined]  # asked
    except (AttributeError, OSError, ValueError, TypeError):
        return _seek_end(file, 0)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise ValueError("a pipe, a terminal or the like")
    where = position(file)
    # The descriptor may tell another length than read() yields: of the compressed
    # file, or of the file without what is still in a buffer.
    if where is None or not hasattr(file, "tell"):
        return status.st_size
    return _seek_end(file, where)


def _seek_end(file: Readable, back: int) -> int:
    file.seek(0, os.SEEK_END)  # type: ignore[attr-defined]  # may fail, see the caller
    size = file.tell()  # type: ignore[attr-defined]
    file.seek(back)  # type: ignore[attr-defined]
    return int(size)


def _read(file: Readable, size: int) -> bytes:
    block: object = file.read(size)
    if isinstance(block, bytes):
        return block
    if isinstance(block, bytearray | memoryview):
        return bytes(block)
    if block is None:
        raise BlockingIOError(f"{_label(file)} is in non-blocking mode")
    raise TextFile(
        f"{_label(file)} yields {type(block).__name__}, not bytes: open it in binary "
        'mode, "rb"'
    )


def _has_more(file: object, length: int) -> LengthMismatch:
    return LengthMismatch(
        f"{_label(file)} has more than the {length} bytes that were announced: "
        "it must not grow while it is sent, and filesize= must be all that is left"
    )


def _label(file: object) -> str:
    name = getattr(file, "name", None)
    if isinstance(name, str):
        return f"file {os.path.basename(name)!r}"
    return f"file of type {type(file).__name__}"
