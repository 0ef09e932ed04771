"""Paths and open files, looked at and made into sources.

Looking moves no position and reads nothing, unless a stream has to be spooled.
"""

from __future__ import annotations

import io
import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

from ..errors import InvalidParameter, SourceError, unreadable
from ..records import SameFile
from ..sources import (
    FileSource,
    HandleSource,
    MemorySource,
    SeekableSource,
    Source,
    spooled,
)
from ..sources.file import sha256_of
from ..sources.seekable import Seekable
from ..sources.states import FileState
from .params import Readable

#: A directory, a callable that names one, or None.
SpoolDirectory: TypeAlias = Path | Callable[[], Path] | None


@dataclass(frozen=True, slots=True)
class Stream:
    """Content that can be read only once, by *read*; *close* ends it."""

    read: Callable[[int], object]
    close: Callable[[], object] = lambda: None


class Spooling:
    """Where streams are spooled: None forbids it. *limit* is the most bytes of all.

    A callable is asked for the directory when there is something to spool, and
    not before: it may have to be made.
    """

    def __init__(self, directory: SpoolDirectory, limit: int | None) -> None:
        if limit is not None and limit < 0:
            raise InvalidParameter(f"spool_limit: {limit} is negative")
        self.directory, self._limit = directory, limit

    def spool(self, stream: Stream, label: str, length: int | None) -> FileSource:
        """Return the content of *stream* as a source.

        Raises:
            InvalidParameter: it is too long, or no text is expected.
            SourceError: it cannot be kept.
        """
        directory = self.directory() if callable(self.directory) else self.directory
        assert directory is not None
        try:
            source = spooled(
                stream.read,
                directory,
                what=label,
                limit=self._limit,
                length=length,
            )
        finally:
            stream.close()
        if self._limit is not None:
            self._limit -= source.length
        return source

    def allowed(self, label: str, what: str) -> None:
        """Raise ``InvalidParameter`` if *what* may not be spooled."""
        if self.directory is None:
            raise InvalidParameter(
                f"{label}: {what} can be read only once and has to be kept on disk "
                "until it is sent: pass spool=, a directory for that"
            )


def at_path(
    path: os.PathLike[str], label: str, same_file: SameFile, spooling: Spooling
) -> FileSource | Stream:
    """Return the file at *path* as a source, or as a stream if it is no regular file.

    Raises:
        InvalidParameter: there is none, or a directory.
        SourceError: it cannot be read.
    """
    name = os.fspath(path)
    shown = printable(name)
    try:
        status = os.stat(name)
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidParameter(f"{label}: there is no file {shown}") from None
    except ValueError:
        raise InvalidParameter(f"{label}: {name!r} is no path: it has a NUL") from None
    except OSError as exc:
        raise SourceError(f"{label}: {shown} cannot be used: {exc.strerror}") from exc
    if stat.S_ISREG(status.st_mode):
        if status.st_size or not _has_content(name):
            return _file(os.path.abspath(name), status, same_file)
        # The kernel makes up such files while they are read, as those in /proc.
        spooling.allowed(label, f"{shown}, which does not say its size,")
        return _stream_at(name, label)
    if stat.S_ISDIR(status.st_mode):
        raise InvalidParameter(
            f"{label}: {shown} is a directory; give its files one by one, or an archive"
        )
    spooling.allowed(label, f"{shown}, which is a pipe or a device,")
    return _stream_at(name, label)


def opened(
    file: Readable,
    label: str,
    same_file: SameFile,
    spooling: Spooling,
    *,
    offset: int | None = None,
    length: int | None = None,
) -> Source | Stream:
    """Return what the open *file* has from its position on, or from *offset*.

    *length* is how many bytes, None for all.

    Raises:
        InvalidParameter: it is closed, in text mode, or shorter than that.
        SourceError: it cannot be read.
    """
    check_binary(file, label)
    start = _position(file) if offset is None else offset
    if start is None:
        spooling.allowed(label, "the stream")
        return Stream(file.read)
    if type(file) is io.BytesIO:
        content = file.getvalue()[start:]
        _check_length(label, len(content), length)
        return MemorySource(content if length is None else content[:length])
    fd = _descriptor(file)
    if fd is None:
        seekable = cast(Seekable, file)
        source = SeekableSource(seekable, label, offset=start)
        _check_length(label, source.length, length)
        if length is None:
            return source
        return SeekableSource(seekable, label, offset=start, length=length)
    status = os.fstat(fd)
    _check_length(label, max(0, status.st_size - start), length)
    path = _path_of(file, status)
    if path is None:
        start = min(start, status.st_size)
        return HandleSource(fd, f"{label} (no path)", offset=start, length=length)
    return _file(path, status, same_file, min(start, status.st_size), length)


def place_of(file: Readable) -> tuple[str, int] | None:
    """Return path and position of an open file, None if no path leads to it."""
    start = _position(file)
    fd = None if start is None else _descriptor(file)
    if start is None or fd is None:
        return None
    path = _path_of(file, os.fstat(fd))
    return None if path is None else (path, start)


def check_binary(file: Readable, label: str) -> None:
    """Raise ``InvalidParameter`` if *file* is closed or does not yield bytes."""
    if getattr(file, "closed", False):
        raise InvalidParameter(
            f"{label}: the file is closed; give its Path, or open it"
        )
    mode = getattr(file, "mode", None)
    text = isinstance(file, io.TextIOBase) or isinstance(_inner(file), io.TextIOBase)
    if text or getattr(file, "encoding", None) is not None:
        raise InvalidParameter(
            f'{label}: the file is open in text mode; open it with "rb"'
        )
    readable = getattr(file, "readable", None)
    if callable(readable) and not readable():
        raise InvalidParameter(
            f'{label}: the file is not open for reading (mode {mode!r}); open it "rb"'
        )


def name_of(content: os.PathLike[str] | Readable) -> str | None:
    """Return the last component of the path that *content* has, if it has one."""
    name: object = (
        os.fspath(content)
        if isinstance(content, os.PathLike)
        else getattr(content, "name", None)
    )
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    if not isinstance(name, str) or (name.startswith("<") and name.endswith(">")):
        return None  # a descriptor's number, or "<stdin>"
    return os.path.basename(name) or None


def printable(path: str) -> str:
    """Return *path* fit for a message."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _file(
    path: str,
    status: os.stat_result,
    same_file: SameFile,
    offset: int = 0,
    length: int | None = None,
) -> FileSource:
    state = FileState.of(status)
    digest = None
    if same_file == "sha256":
        plain = FileSource(path, state, offset=offset, length=length)
        try:
            with plain.descriptor() as fd:
                try:
                    digest = sha256_of(fd, offset, plain.length)
                except OSError as exc:
                    raise unreadable(plain.name, exc) from exc
        finally:
            plain.close()
    return FileSource(
        path, state, offset=offset, length=length, same_file=same_file, sha256=digest
    )


def _has_content(path: str) -> bool:
    try:
        with open(path, "rb", buffering=0) as file:
            return bool(file.read(1))
    except OSError:
        return False  # whoever sends it will be told


def _stream_at(path: str, label: str) -> Stream:
    def read(size: int) -> object:
        if not file:
            try:
                file.append(open(path, "rb", buffering=0))  # noqa: SIM115  # by close()
            except OSError as exc:
                raise SourceError(
                    f"{label}: {printable(path)} cannot be opened: {exc.strerror}"
                ) from exc
        return file[0].read(size)

    def close() -> None:
        for each in file:
            each.close()

    file: list[io.FileIO] = []
    return Stream(read, close)


def _check_length(label: str, found: int, wanted: int | None) -> None:
    if wanted is not None and wanted > found:
        raise InvalidParameter(
            f"{label}: filesize is {wanted}, but the file has {found} bytes; leave it "
            "out to have it found"
        )


def _position(file: Readable) -> int | None:
    """Return where *file* stands, None if it cannot be brought back there."""
    seekable = getattr(file, "seekable", None)
    try:
        if callable(seekable) and not seekable():
            return None
        where = file.tell()  # type: ignore[attr-defined]  # asked, not assumed
    except (AttributeError, OSError, ValueError):
        return None
    return where if isinstance(where, int) and hasattr(file, "seek") else None


def _inner(file: object) -> object:
    """Return what a temporary file's wrapper wraps; anything else as it is."""
    wrapper = getattr(tempfile, "_TemporaryFileWrapper", ())
    return file.file if isinstance(file, wrapper) else file


def _descriptor(file: Readable) -> int | None:
    """Return the descriptor of the interpreter's own files, if regular, else None.

    Any other object may do more in ``read()`` than its descriptor tells: that of a
    decompressor leads to what is compressed.
    """
    inner = _inner(file)
    if isinstance(inner, io.BufferedRandom):
        inner.flush()
    raw = inner.raw if type(inner) in _BUFFERED else inner  # type: ignore[attr-defined]
    if type(raw) is not io.FileIO:
        return None
    fd = raw.fileno()
    return fd if stat.S_ISREG(os.fstat(fd).st_mode) else None


def _path_of(file: Readable, status: os.stat_result) -> str | None:
    name = getattr(file, "name", None)
    if not isinstance(name, str | bytes):
        return None
    path = os.path.abspath(os.fsdecode(name))
    try:
        there = os.stat(path)
    except (OSError, ValueError):
        return None
    return path if os.path.samestat(there, status) else None


_BUFFERED = (io.BufferedReader, io.BufferedRandom)
