"""Content that can be read only once, kept in a private file until it is sent."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import InvalidParameter, SourceError
from .file import FileSource
from .states import FileState

_BLOCK = 1024 * 1024
#: Bytes of the disk that are left to others.
_RESERVE = 16 * 1024 * 1024


def spooled(
    read: Callable[[int], object],
    directory: Path,
    *,
    what: str,
    limit: int | None = None,
    length: int | None = None,
) -> FileSource:
    """Write what *read* returns into a new file in *directory*; return it as a source.

    It is readable by its owner only, and on the disk when this returns. *what* is
    the parameter's name for messages. *limit* is the most bytes it may have; *length*
    says how many to read, where not all.

    Raises:
        InvalidParameter: it is longer than *limit* or shorter than *length*, or
            yields text.
        SourceError: it cannot be read, or the disk has no room.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd, path = tempfile.mkstemp(dir=directory, prefix="spool-")
    except OSError as exc:
        raise SourceError(
            f"{what}: cannot spool in {directory} ({exc.strerror}); name a directory "
            "that can be written to"
        ) from exc
    try:
        with open(fd, "wb", buffering=0) as file:
            digest = _copied(read, file.write, directory, what, limit, length)
            # A power cut must not leave a record of content that is not there.
            os.fsync(file.fileno())
            state = FileState.of(os.fstat(file.fileno()))
        _sync(directory)
    except BaseException as exc:
        os.unlink(path)
        if isinstance(exc, OSError):
            raise SourceError(f"{what}: cannot be spooled: {exc.strerror}") from exc
        raise
    return FileSource(os.path.abspath(path), state, sha256=digest, kind="spool")


def _copied(
    read: Callable[[int], object],
    write: Callable[[memoryview], int],
    directory: Path,
    what: str,
    limit: int | None,
    length: int | None,
) -> str:
    state, done, room = hashlib.sha256(), 0, 0
    while length is None or done < length:
        block = read(_BLOCK if length is None else min(_BLOCK, length - done))
        if not isinstance(block, bytes | bytearray | memoryview):
            raise InvalidParameter(
                f"{what}: the stream yields {type(block).__name__}, not bytes: open it "
                'in binary, blocking mode ("rb")'
            )
        if not block:
            break
        done += len(block)
        if limit is not None and done > limit:
            raise InvalidParameter(
                f"{what}: the stream has more than the {limit} bytes that spool_limit "
                "allows; raise it, or write the content to a file and give its Path"
            )
        if room < len(block):
            room = shutil.disk_usage(directory).free - _RESERVE
            if room < len(block):
                raise SourceError(
                    f"{what}: no room to spool it in {directory}: {done} bytes were "
                    "read, the disk is full; free some, or give the Path of a file"
                )
            room = min(room, 64 * _BLOCK)  # others fill the disk as well: ask again
        room -= len(block)
        state.update(block)
        view = memoryview(block)
        while view:
            view = view[write(view) :]
    if length is not None and done < length:
        raise InvalidParameter(f"{what}: the stream has {done} bytes, not {length}")
    return state.hexdigest()


def _sync(directory: Path) -> None:
    """Make the file's name durable, where directories can be synchronised."""
    if os.name != "posix":
        return
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
