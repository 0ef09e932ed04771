"""One sender per upload: who holds a name, between threads and processes.

A lock of the operating system, one file per name, freed by the kernel when its
owner dies and kept while the owner is merely stopped; and before it, a table of
this process, because such locks do not tell threads apart. What a process holds
is never its child's after a fork: the child closes its copy of the descriptor,
so that it neither frees the parent's lock nor keeps it alive.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import threading
import time
import weakref
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from ..errors import StoreError, UploadBusy
from .directory import REMEDY, make_private_directory, make_private_file

#: Seconds between two looks at a lock that another process holds.
POLL = 0.05
#: Seconds that a lock file is left alone before ``sweep`` may remove it.
SWEEP_AGE = 86400.0


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a name: a process, a host, and since when (seconds, epoch)."""

    pid: int
    host: str
    since: float

    @classmethod
    def this(cls) -> Owner:
        """Return the owner that this process is, from now on."""
        return cls(os.getpid(), socket.gethostname(), time.time())


class Names:
    """Names that this process holds; exclusive between its threads and objects."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: dict[str, Owner] = {}
        _FORKED.add(self)

    def take(self, name: str, deadline: float) -> None:
        """Hold *name*, waiting until *deadline* on the monotonic clock.

        Raises:
            UploadBusy: it is held.
        """
        with self._changed:
            while name in self._held:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise busy(self._held[name])
                self._changed.wait(min(remaining, threading.TIMEOUT_MAX))
            self._held[name] = Owner.this()

    def give_back(self, name: str) -> None:
        """Hold *name* no longer, unless it was taken by the process we came from."""
        with self._changed:
            owner = self._held.get(name)
            if owner is not None and owner.pid == os.getpid():
                del self._held[name]
                self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        """Start with a lock of our own; what the parent held stays the parent's."""
        self._changed = threading.Condition()


class _FileNames(Names):
    """The same for names that have lock files: those tell of the parent, too."""

    def after_fork_in_child(self) -> None:
        super().after_fork_in_child()
        self._held.clear()


class LockDirectory:
    """Names held by lock files in *directory*, made on first use.

    *lock_class* is filelock's; ``SoftFileLock`` is for file systems that have
    no locks, and cannot always tell that an owner died.
    """

    def __init__(
        self, directory: Path, lock_class: type[BaseFileLock] = FileLock
    ) -> None:
        self._directory = directory
        self._lock_class = lock_class
        self._ours: dict[str, BaseFileLock] = {}
        self._trying: dict[int, BaseFileLock] = {}
        _FORKED.add(self)
        weakref.finalize(self, _let_go, directory, self._ours)

    def claim(self, name: str, wait: float) -> None:
        """Hold *name*, waiting at most *wait* seconds.

        Raises:
            UploadBusy: somebody holds it; the message says who.
            StoreError: lock files cannot be made here.
        """
        deadline = time.monotonic() + wait
        path = self._path(name)
        _IN_PROCESS.take(str(path), deadline)
        try:
            lock = self._locked(path, deadline)
        except BaseException as exc:
            _IN_PROCESS.give_back(str(path))
            if isinstance(exc, OSError):
                raise StoreError(
                    f"cannot lock in {self._directory} ({exc.strerror}); {REMEDY}"
                ) from exc
            raise
        self._ours[str(path)] = lock

    def release(self, name: str) -> None:
        """Hold *name* no longer. Nothing happens unless this object claimed it."""
        _let_go_one(self._path(name), self._ours)

    def sweep(self, keep: Collection[str], now: float) -> None:
        """Remove lock files that nobody holds, unless their name is in *keep*.

        A file is removed while its lock is held, and who claims a lock looks
        whether its file is still the one by that name. So no two can hold it.
        """
        kept = {self._path(name).name for name in keep}
        with suppress(OSError):
            for path in list(self._directory.glob("*.lock")):
                if path.name in kept or now - path.stat().st_mtime < SWEEP_AGE:
                    continue
                try:
                    _IN_PROCESS.take(str(path), 0)
                except UploadBusy:
                    continue
                try:
                    lock = self._lock_class(path, mode=0o600, thread_local=False)
                    with suppress(Timeout), lock.acquire(blocking=False):
                        _owner_path(path).unlink(missing_ok=True)
                        path.unlink(missing_ok=True)
                finally:
                    _IN_PROCESS.give_back(str(path))

    def after_fork_in_child(self) -> None:
        """Close inherited locks without unlocking: the description is shared."""
        for lock in [*self._ours.values(), *self._trying.values()]:
            # filelock from version 4 on has done this itself by now.
            context = lock._context
            descriptor, context.lock_file_fd = context.lock_file_fd, None
            if descriptor is not None:
                with suppress(OSError):
                    os.close(descriptor)
        self._ours.clear()
        self._trying.clear()

    def _path(self, name: str) -> Path:
        safe = re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name)
        # Names come from users, too (``poster resume ID``): never a path.
        stem = name if safe else "x." + hashlib.sha256(name.encode()).hexdigest()
        return self._directory / f"{stem}.lock"

    def _locked(self, path: Path, deadline: float) -> BaseFileLock:
        make_private_directory(self._directory)
        # Any thread may release what another one claimed.
        lock = self._lock_class(path, mode=0o600, thread_local=False)
        thread = threading.get_ident()
        self._trying[thread] = lock
        try:
            fresh = False
            while True:
                before = _inode(path)
                try:
                    lock.acquire(blocking=False)
                except Timeout:
                    remaining = deadline - time.monotonic()
                    if remaining <= 0:
                        raise busy(_read_owner(path), soft=_soft(lock, path)) from None
                    time.sleep(min(POLL, remaining))
                    continue
                if _soft(lock, path) or (_inode(path) == before is not None):
                    break
                # Just made, or swept away between opening and locking: look again
                # whether what we hold is what others will find by this name. Some
                # versions of filelock unlink on release, and check that themselves.
                if before is None and fresh:
                    break
                fresh = before is None
                lock.release()
            _write_owner(path)
            return lock
        finally:
            self._trying.pop(thread, None)


def busy(owner: Owner | None, soft: Path | None = None) -> UploadBusy:
    """Return the error that says who is sending, as far as it is known."""
    who = "another process"
    if owner is not None:
        since = datetime.fromtimestamp(owner.since, UTC).isoformat(timespec="seconds")
        who = f"process {owner.pid}"
        if owner.pid == os.getpid():
            who = f"this process ({owner.pid}), by another thread or object,"
        if owner.host != socket.gethostname():
            who += f" on host {owner.host}"
        who += f" since {since}"
    remedy = "wait for it, pass wait= in seconds, or stop it"
    if soft is not None:
        remedy += f"; if it is gone, remove {soft}"
    return UploadBusy(f"this upload is being sent by {who}; {remedy}")


def _soft(lock: BaseFileLock, path: Path) -> Path | None:
    """Return *path* if its existence alone is the lock."""
    return path if isinstance(lock, SoftFileLock) else None


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _owner_path(path: Path) -> Path:
    # Beside the lock, not in it: where locks are mandatory it could not be read.
    return path.with_suffix(".owner")


def _write_owner(path: Path) -> None:
    """Say who holds *path*. Courtesy only: a full disk does not stop a claim."""
    target = _owner_path(path)
    draft = target.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        draft.unlink(missing_ok=True)
        make_private_file(draft)
        draft.write_text(json.dumps(asdict(Owner.this())), "utf-8")
        draft.replace(target)


def _read_owner(path: Path) -> Owner | None:
    try:
        found = json.loads(_owner_path(path).read_text("utf-8"))
        return Owner(int(found["pid"]), str(found["host"]), float(found["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _let_go_one(path: Path, ours: dict[str, BaseFileLock]) -> None:
    lock = ours.pop(str(path), None)
    if lock is None:
        return
    try:
        with suppress(OSError):
            _owner_path(path).unlink(missing_ok=True)
        lock.release()
    finally:
        _IN_PROCESS.give_back(str(path))


def _let_go(directory: Path, ours: dict[str, BaseFileLock]) -> None:
    for name in list(ours):
        _let_go_one(directory / Path(name).name, ours)


def _after_fork_in_child() -> None:
    for each in list(_FORKED):
        each.after_fork_in_child()


_FORKED: weakref.WeakSet[Names | LockDirectory] = weakref.WeakSet()
_IN_PROCESS = _FileNames()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
