"""Uploads on disk: the bytes exactly as they came, and a record beside them.

Content is written through as it arrives, without a buffer of ours, so that a
file is as long as what was received; a new receiver over the same directory
goes on from there.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from .behaviour import Concurrency
from .http1 import BLOCK, Exchange
from .observed import UploadSeen

_CONTENT = ".content"
_RECORD = ".json"
_SCRATCH = ".part"

#: Seconds to wait for an older request to let go of an upload.
_HANDOVER = 10.0


class FinalAnswer(BaseModel):
    """What the target resource said, to be said again when asked."""

    model_config = ConfigDict(frozen=True)

    status: int
    headers: dict[str, str]
    content: str


class Record(BaseModel):
    """What outlives the receiver of one upload."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    protocol: str
    target: str
    length: int | None
    content_type: str | None
    metadata: str = ""
    created: float
    expires: float | None = None
    sha256: str | None = None
    order: int | None = None
    final: FinalAnswer | None = None
    gone: bool = False


class Stored:
    """One upload: its record, its file, and who is working on it."""

    def __init__(self, directory: Path, record: Record) -> None:
        self.record = record
        self.file = directory / (record.id + _CONTENT)
        self._record_file = directory / (record.id + _RECORD)
        self._scratch = directory / (record.id + _SCRATCH)
        self.size = self.file.stat().st_size if self.file.exists() else 0
        self.received = 0
        self.acknowledged = 0
        self.lowest_resent: int | None = None
        self._digest = hashlib.sha256()
        self._digested = 0
        self._shown: tuple[int, float] | None = None
        self._holders: list[Exchange] = []
        self._changed = threading.Condition()

    @property
    def complete(self) -> bool:
        return self.record.final is not None

    @property
    def shown(self) -> int:
        """The offset that a client is told: late bytes do not show yet."""
        if self._shown is not None and time.monotonic() < self._shown[1]:
            return self._shown[0]
        return self.size

    def save(self, **changes: object) -> None:
        """Change the record, and replace the one on disk by it."""
        self.record = self.record.model_copy(update=changes)
        fresh = self._record_file.with_suffix(".new")
        fresh.write_text(self.record.model_dump_json(), "utf-8")
        os.replace(fresh, self._record_file)

    def remove(self) -> None:
        """Answer for this upload no longer; delivered content stays."""
        if self.complete:
            self.save(gone=True)
            return
        self.record = self.record.model_copy(update={"gone": True})
        self.file.unlink(missing_ok=True)
        self._record_file.unlink(missing_ok=True)

    def told(self, offset: int) -> int:
        """Note that an answer names *offset*, and return it."""
        self.acknowledged = max(self.acknowledged, offset)
        return offset

    def starts(self, offset: int) -> None:
        """Note that the client sends content from *offset* on."""
        if offset < self.acknowledged:
            lowest = self.lowest_resent
            self.lowest_resent = offset if lowest is None else min(lowest, offset)

    @contextmanager
    def held(self, exchange: Exchange, concurrency: Concurrency) -> Iterator[bool]:
        """Hold the upload for *exchange*; False if an older request has it."""
        if not self._take(exchange, concurrency):
            yield False
            return
        try:
            yield True
        finally:
            with self._changed:
                self._holders.remove(exchange)
                self._changed.notify_all()

    def _take(self, exchange: Exchange, concurrency: Concurrency) -> bool:
        stopped = exchange.connection.stopped.is_set
        until = time.monotonic() + _HANDOVER
        with self._changed:
            if concurrency == "kill":
                for older in self._holders:
                    older.kill()
            while self._holders and concurrency != "share":
                over = stopped() or time.monotonic() >= until
                if concurrency == "refuse" or over:
                    return False
                self._changed.wait(0.05)
            self._holders.append(exchange)
        return True

    def receive(
        self,
        exchange: Exchange,
        *,
        start: int | None = None,
        share: float = 1.0,
        whole: bool = False,
        late: float = 0.0,
        checked: Callable[[Path], bool] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> bool:
        """Keep the content of *exchange* from *start* on, by default at the end.

        Only *share* of it is kept, and with *whole* nothing unless all of it
        comes; *checked* then says whether to keep it, and so does the answer.
        *late* seconds pass before bytes of a broken request show. *progress*
        is told the size after each block.

        Raises:
            ConnectionLost, EarlyAnswer: as ``Exchange.blocks``.
        """
        before = self.size
        limit = _limit(exchange, share)
        begin = exchange.received
        if whole or checked is not None:
            try:
                with self._scratch.open("wb", buffering=0) as scratch:
                    for block in exchange.blocks():
                        scratch.write(block[: max(0, limit - scratch.tell())])
                if checked is not None and not checked(self._scratch):
                    return False
                self._adopt(before if start is None else start)
                return True
            finally:
                self.received += exchange.received - begin
                self._scratch.unlink(missing_ok=True)
        position = before if start is None else start
        kept = 0
        finished = False
        try:
            with self.file.open("r+b" if self.file.exists() else "xb", 0) as file:
                file.seek(position)
                for block in exchange.blocks():
                    taken = block[: limit - kept] if kept < limit else block[:0]
                    self._write(file.write, position + kept, taken)
                    kept += len(taken)
                    if progress is not None and len(taken):
                        progress(self.size)
            finished = True
        finally:
            self.received += exchange.received - begin
            if late and not finished and self.size != before:
                self._shown = before, time.monotonic() + late
        return True

    def sha256(self) -> str:
        """Return the SHA-256 of what is kept, in hexadecimal."""
        if self._digested != self.size:
            # After a restart, or bytes that came out of order.
            self._digest, self._digested = hashlib.sha256(), self.size
            with self.file.open("rb", buffering=0) as file:
                while block := file.read(BLOCK):
                    self._digest.update(block)
        return self._digest.hexdigest()

    def seen(self, path: str) -> UploadSeen:
        """Return a copy of the moment."""
        record = self.record
        return UploadSeen(
            id=record.id,
            protocol=record.protocol,
            path=path,
            target=record.target,
            length=record.length,
            content_type=record.content_type,
            offset=self.size,
            received=self.received,
            acknowledged=self.acknowledged,
            lowest_resent=self.lowest_resent,
            complete=self.complete,
            gone=record.gone,
            file=self.file,
            metadata=record.metadata,
        )

    def _write(
        self, write: Callable[[memoryview], int], offset: int, block: memoryview
    ) -> None:
        if self._digested == offset:
            self._digest.update(block)
            self._digested += len(block)
        elif len(block):
            self._digested = -1
        while len(block):
            count = write(block)
            block = block[count:]
            offset += count
            self.size = max(self.size, offset)

    def _adopt(self, start: int) -> None:
        with (
            self._scratch.open("rb", buffering=0) as scratch,
            self.file.open("r+b" if self.file.exists() else "xb", 0) as file,
        ):
            file.seek(start)
            while block := scratch.read(BLOCK):
                self._write(file.write, start, memoryview(block))
                start += len(block)


def _limit(exchange: Exchange, share: float) -> int:
    length = exchange.head.content_length
    if share >= 1:
        return 1 << 62
    # Of content of unknown length there is no share but all or nothing.
    return 0 if length is None else int(length * share)


class Storage:
    """All uploads in one directory. Safe to use from any thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._uploads: dict[str, Stored] = {}
        for file in sorted(directory.glob("*" + _RECORD)):
            record = Record.model_validate_json(file.read_text("utf-8"))
            self._uploads[record.id] = Stored(directory, record)

    def create(
        self,
        protocol: str,
        target: str,
        length: int | None,
        content_type: str | None,
        *,
        metadata: str = "",
        max_age: float | None = None,
        resumable: bool = True,
    ) -> Stored:
        """Make a new, empty upload with an address that nobody can guess.

        One that is not *resumable* is on record once it is complete.
        """
        now = time.time()
        stored = Stored(
            self.directory,
            Record(
                id=secrets.token_urlsafe(12),
                protocol=protocol,
                target=target,
                length=length,
                content_type=content_type,
                metadata=metadata,
                created=now,
                expires=None if max_age is None else now + max_age,
            ),
        )
        stored.file.touch()
        if resumable:
            stored.save()
        with self._lock:
            self._uploads[stored.record.id] = stored
        return stored

    def find(self, identifier: str) -> Stored | None:
        """Return the upload of that name, unless it is gone or has expired."""
        with self._lock:
            stored = self._uploads.get(identifier)
        if stored is None or stored.record.gone:
            return None
        expires = stored.record.expires
        if expires is not None and time.time() >= expires:
            stored.remove()
            return None
        return stored

    def all(self) -> list[Stored]:
        """Return every upload, those that are gone included, oldest first."""
        with self._lock:
            return sorted(self._uploads.values(), key=lambda s: s.record.created)
