"""State that lives no longer than the process: for tests, and for ``store=None``.

It keeps the same texts that a durable store keeps, so nothing is shared by
reference and whatever cannot be stored fails here, too.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import StoreError
from ..records import PlanRecord
from ..upload import Upload
from .codec import WrittenUpload, read_model, read_upload, write_upload
from .directory import default_directory, make_private_directory
from .forks import mind_forks
from .locks import Names
from .retention import is_abandoned, is_spent
from .spools import remove_spools, spool_paths


class MemoryStore:
    """A ``StateStore`` in memory; thread-safe. Claims hold in this process only."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._names = Names()
        self._uploads: dict[str, WrittenUpload] = {}
        self._plans: dict[str, bytes] = {}
        self._facts: dict[tuple[str, str], tuple[str, float]] = {}
        self._spool: weakref.finalize[[str, int], MemoryStore] | None = None
        self._spool_path: Path | None = None
        mind_forks(self)

    def find(self, identity: str) -> Upload | None:
        """Return the newest upload with this identity, if any is kept."""
        for upload in reversed(list(self.list())):
            if upload.identity == identity:
                return upload
        return None

    def load(self, upload_id: str) -> Upload | None:
        """Return what is kept under *upload_id*, if anything is."""
        with self._lock:
            written = self._uploads.get(upload_id)
        return None if written is None else read_upload(upload_id, written)

    def save(self, upload: Upload) -> None:
        """Keep *upload*, replacing what was kept under its id."""
        with self._lock:
            self._uploads[upload.id] = write_upload(upload)

    def load_plan(self, digest: str) -> PlanRecord | None:
        """Return the plan record with this digest, if it is kept."""
        with self._lock:
            text = self._plans.get(digest)
        return None if text is None else read_model(PlanRecord, text, "a plan")

    def save_plan(self, record: PlanRecord) -> None:
        """Keep *record* under its digest; keeping it again changes nothing."""
        with self._lock:
            text = record.model_dump_json().encode()
            self._plans.setdefault(record.digest, text)

    def remember(self, scope: str, key: str, value: str, until: float) -> None:
        """Keep a small fact about *scope*, until then (seconds since the epoch)."""
        with self._lock:
            self._facts[scope, key] = (value, until)

    def recall(self, scope: str, key: str, now: float) -> str | None:
        """Return what was remembered, unless its time is over at *now*."""
        with self._lock:
            value, until = self._facts.get((scope, key), ("", now))
        return value if now < until else None

    def claim(self, identity: str, wait: float = 0) -> None:
        """Become the only sender of *identity*, waiting at most *wait* seconds."""
        self._names.take(identity, time.monotonic() + wait)

    def release(self, identity: str) -> None:
        """Stop being its sender. Nothing happens if we are not."""
        self._names.give_back(identity)

    def list(self) -> Iterator[Upload]:
        """Yield every upload that is kept, oldest first."""
        with self._lock:
            kept = list(self._uploads.items())
        for upload_id, written in kept:
            yield read_upload(upload_id, written)

    def delete(self, upload_id: str) -> None:
        """Forget *upload_id*, and its plan if no other upload needs it."""
        with self._lock:
            gone = self.load(upload_id)
            if gone is None:
                return
            del self._uploads[upload_id]
            if any(each.plan_digest == gone.plan_digest for each in self.list()):
                return
            self.drop_spools(gone.plan_digest)
            self._plans.pop(gone.plan_digest, None)

    def drop_spools(self, digest: str) -> None:
        """Remove the spooled content of a plan, unless an unfinished upload has it."""
        with self._lock:
            record = self.load_plan(digest)
            needed = any(
                each.plan_digest == digest and not each.complete for each in self.list()
            )
            if record is not None and self._spool_path is not None and not needed:
                remove_spools(spool_paths(record), self._spool_path)

    def prune(self, now: float) -> Sequence[Upload]:
        """Forget what was delivered long ago; return what has expired long ago."""
        with self._lock:
            uploads = list(self.list())
            for upload in uploads:
                if is_spent(upload, now):
                    self.delete(upload.id)
            self._facts = {k: v for k, v in self._facts.items() if now < v[1]}
        return [upload for upload in uploads if is_abandoned(upload, now)]

    def spool_directory(self) -> Path:
        """Return a private directory (0700), removed when the store is closed."""
        with self._lock:
            if self._spool_path is None:
                parent = default_directory() / "spool"
                try:
                    make_private_directory(parent)
                    self._spool_path = Path(tempfile.mkdtemp(".memory", "", parent))
                except OSError as exc:
                    raise StoreError(
                        f"cannot spool in {parent} ({exc.strerror}); name a writable "
                        "directory by POSTER_RESUME_STATE, or give content that "
                        "can seek"
                    ) from exc
                self._spool = weakref.finalize(
                    self, _remove_spool, str(self._spool_path), os.getpid()
                )
            return self._spool_path

    def close(self) -> None:
        """Remove spooled content. What else is kept stays."""
        with self._lock:
            if self._spool is not None:
                self._spool()
            self._spool = self._spool_path = None

    def before_fork(self) -> None:
        """Keep other threads out while this one forks."""
        self._lock.acquire()

    def after_fork(self) -> None:
        """Let other threads in again."""
        self._lock.release()


def _remove_spool(path: str, owner: int) -> None:
    if os.getpid() == owner:  # not in a child, where it still is the parent's
        shutil.rmtree(path, ignore_errors=True)
