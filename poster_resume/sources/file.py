"""Files by their path: opened when they are read, and still what was planned.

The status of a file is compared each time it is opened and whenever somebody
asks; a file that ends early is an error that names the offset.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from ..errors import SourceChanged, SourceError, unreadable
from ..records import SameFile, SourceRecord
from . import positional
from .descriptors import SHARED, Descriptors
from .states import FileState

# O_NONBLOCK: should a pipe stand in the file's place by now, opening must not wait.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
)
_HASHED = 1024 * 1024  # bytes read at a time


class FileSource:
    """*length* bytes from *offset* of the file at *path*, which was in *state*.

    *sha256* is that of these bytes, where *same_file* is ``"sha256"``.
    """

    __slots__ = (
        "__weakref__",
        "_accepted",
        "_key",
        "_kind",
        "_length",
        "_offset",
        "_pool",
        "_same_file",
        "_sha256",
        "_state",
        "path",
    )

    def __init__(
        self,
        path: str,
        state: FileState,
        *,
        offset: int = 0,
        length: int | None = None,
        same_file: SameFile = "strict",
        sha256: str | None = None,
        kind: Literal["file", "spool"] = "file",
        pool: Descriptors = SHARED,
    ) -> None:
        self.path = path
        self._state, self._offset = state, offset
        self._length = state.size - offset if length is None else length
        self._same_file, self._sha256, self._kind = same_file, sha256, kind
        self._pool, self._key = pool, object()
        # The status whose bytes are known to be the right ones. By content, those
        # of a restored file are not known before they were read.
        self._accepted: FileState | None = state

    @classmethod
    def restored(cls, record: SourceRecord) -> FileSource:
        """Return the source that *record* describes; `check` says if it still holds.

        Raises:
            SourceError: the record is damaged.
        """
        size, mtime_ns, inode = record.size, record.mtime_ns, record.inode
        if (
            record.path is None
            or size is None
            or mtime_ns is None
            or inode is None
            or record.offset + record.length > size
        ):
            raise SourceError("the stored plan is damaged: a file is not described")
        source = cls(
            record.path,
            FileState(size, mtime_ns, inode),
            offset=record.offset,
            length=record.length,
            same_file=record.same_file,
            sha256=record.sha256,
            kind="spool" if record.kind == "spool" else "file",
        )
        if record.same_file == "sha256":
            source._accepted = None
        return source

    @property
    def kind(self) -> Literal["file", "spool"]:
        """Whether it is the caller's file, or one that a stream was written to."""
        return self._kind

    @property
    def length(self) -> int:
        """How many bytes there are."""
        return self._length

    @property
    def name(self) -> str:
        """The path, fit to be printed."""
        return os.fsencode(self.path).decode("utf-8", "backslashreplace")

    @property
    def base(self) -> int:
        """Where in the file the source begins, in bytes."""
        return self._offset

    @property
    def validator(self) -> str:
        """A short string that differs if the bytes may differ."""
        if self._sha256 is not None and self._same_file == "sha256":
            return f"sha256-{self._sha256}"
        return self._state.validator(self._same_file)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to *size* bytes from *offset*; fewer only at the end.

        Raises:
            SourceChanged: the file is no longer what was planned.
            SourceError: it cannot be read.
        """
        size = max(0, min(size, self._length - offset))
        if not size:
            return b""
        with self._reading() as fd:
            block = positional.read_at(fd, self._offset + offset, size)
        if len(block) < size:
            raise self._ended(offset + len(block))
        return block

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill *buffer* from *offset*; return how many bytes, fewer at the end.

        Raises:
            SourceChanged, SourceError: as from `read_at`.
        """
        size = max(0, min(len(buffer), self._length - offset))
        if not size:
            return 0
        with self._reading() as fd:
            count = positional.read_into(fd, self._offset + offset, buffer[:size])
        if count < size:
            raise self._ended(offset + count)
        return count

    @contextmanager
    def descriptor(self) -> Iterator[int]:
        """Lend an open descriptor, of a file that is what was planned.

        Raises:
            SourceChanged, SourceError: as from `read_at`.
        """
        with self._pool.lend(self._key, self._open) as fd:
            self._compare_open(fd)
            yield fd

    def check(self) -> None:
        """Raise ``SourceChanged`` if the file is no longer what was planned."""
        try:
            status = os.stat(self.path)
        except OSError as exc:
            raise self._unopened(exc) from exc
        if self._same_file != "sha256" or FileState.of(status) == self._accepted:
            self._compare(status, None)
            return
        self.close()  # what is open may be another file than stands here now
        with self.descriptor():
            pass

    def record(self) -> SourceRecord:
        """Return path and status."""
        return SourceRecord(
            kind=self._kind,
            length=self._length,
            offset=self._offset,
            path=self.path,
            size=self._state.size,
            mtime_ns=self._state.mtime_ns,
            inode=self._state.inode,
            same_file=self._same_file,
            sha256=self._sha256,
        )

    def close(self) -> None:
        """Close the descriptor. Reading again opens it anew."""
        self._pool.drop(self._key)

    def __del__(self) -> None:
        self._pool.forget(self._key)

    @contextmanager
    def _reading(self) -> Iterator[int]:
        with self._pool.lend(self._key, self._open) as fd:
            try:
                yield fd
            except OSError as exc:
                raise unreadable(self.name, exc) from exc

    def _open(self) -> int:
        try:
            fd = os.open(self.path, _FLAGS)
        except OSError as exc:
            if exc.errno in (errno.EMFILE, errno.ENFILE):
                raise  # the pool knows a remedy
            raise self._unopened(exc) from exc
        try:
            self._compare_open(fd)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _compare_open(self, fd: int) -> None:
        try:
            self._compare(os.fstat(fd), fd)
        except OSError as exc:
            # By content it is read as a whole, and the disk may fail just then.
            raise unreadable(self.name, exc) from exc

    def _compare(self, status: os.stat_result, fd: int | None) -> None:
        state = FileState.of(status)
        if state == self._accepted and stat.S_ISREG(status.st_mode):
            return
        if not stat.S_ISREG(status.st_mode):
            raise self._changed("it is no longer a regular file")
        difference = self._state.difference(state, self._same_file)
        if self._same_file == "sha256" and state.size == self._state.size:
            assert fd is not None
            difference = None
            if sha256_of(fd, self._offset, self._length) != self._sha256:
                difference = "its content is another (SHA-256)"
        if difference is not None:
            raise self._changed(difference)
        self._accepted = state

    def _changed(self, difference: str) -> SourceChanged:
        return SourceChanged(
            f"{self.name} is not what was planned: {difference}; bring it back, or "
            'start over with on_change="restart"'
        )

    def _unopened(self, exc: OSError) -> SourceError:
        if isinstance(exc, FileNotFoundError | NotADirectoryError):
            return self._changed("it has vanished")
        return unreadable(self.name, exc, "opened")

    def _ended(self, offset: int) -> SourceChanged:
        return self._changed(
            f"it ended at byte {self._offset + offset}, "
            f"{self._offset + self._length} were planned"
        )


def sha256_of(fd: int, offset: int, length: int) -> str:
    """Return the SHA-256 of *length* bytes from *offset* of *fd*, or of what is there.

    Raises:
        OSError: it cannot be read.
    """
    state, stop = hashlib.sha256(), offset + length
    while block := positional.read_at(fd, offset, min(_HASHED, stop - offset)):
        state.update(block)
        offset += len(block)
    return state.hexdigest()
