"""State in an SQLite database: durable when ``save`` returns, whoever dies next.

One connection per store and process, used by one thread at a time, closed
before a fork and opened anew at the next use. Every error of SQLite or the
disk becomes a ``StoreError`` that names the file and the remedy; the
transaction it hit leaves no trace.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from ..errors import StoreError
from ..records import PlanRecord
from ..upload import Upload
from . import schema
from .codec import WrittenUpload, read_model, read_upload, write_upload
from .directory import REMEDY, default_directory, is_remote, make_private_directory
from .forks import mind_forks
from .locks import LockDirectory
from .retention import DELIVERED, EXPIRED, ORPHANED
from .spools import remove_spools, spool_paths, sweep_spools

#: The file name of the database.
FILENAME = "state.sqlite3"

#: Bytes: a disk with less room than this is full.
_LITTLE = 64 * 1024

_UPLOADS = """
    SELECT id, fixed, progress, result
    FROM uploads JOIN progress USING (sequence) LEFT JOIN results USING (sequence)
"""


class SQLiteStore:
    """A ``StateStore`` in *directory*, by default that of the user's state.

    Nothing is read or made before the first use. *lock_class* is filelock's;
    pass ``SoftFileLock`` for a file system that has no locks.
    """

    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        lock_class: type[BaseFileLock] = FileLock,
    ) -> None:
        chosen = default_directory() if directory is None else Path(directory)
        self.directory = chosen.absolute()
        self.path = self.directory / FILENAME
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._checked = False
        self._claims = LockDirectory(self.directory / "locks", lock_class)
        self._lock_class = lock_class
        mind_forks(self)

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self.directory)!r})"

    def __del__(self) -> None:
        self._disconnect()

    def find(self, identity: str) -> Upload | None:
        """Return the newest upload with this identity, if any is kept."""
        return self._one("WHERE identity = ? ORDER BY sequence DESC LIMIT 1", identity)

    def load(self, upload_id: str) -> Upload | None:
        """Return what is kept under *upload_id*, if anything is."""
        return self._one("WHERE id = ?", upload_id)

    def save(self, upload: Upload) -> None:
        """Keep *upload*, replacing what was kept under its id. Durable on return."""
        written = write_upload(upload)
        with self._transaction() as connection:
            sequence = _write_fixed(connection, upload, written)
            connection.execute(
                "INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?, ?, ?)",
                (
                    sequence,
                    written.progress,
                    upload.complete,
                    upload.delivered,
                    upload.expires,
                    upload.updated,
                ),
            )
            _write_result(connection, sequence, written.result)

    def load_plan(self, digest: str) -> PlanRecord | None:
        """Return the plan record with this digest, if it is kept."""
        with self._database() as connection:
            row = connection.execute(
                "SELECT record FROM plans WHERE digest = ?", (digest,)
            ).fetchone()
        return None if row is None else read_model(PlanRecord, row[0], "a plan")

    def save_plan(self, record: PlanRecord) -> None:
        """Keep *record* under its digest; keeping it again changes nothing."""
        text, digest = record.model_dump_json().encode(), record.digest
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO plans VALUES (?, ?, NULL)"
                " ON CONFLICT (digest) DO UPDATE SET orphaned = NULL"
                " WHERE orphaned IS NOT NULL",
                (digest, text),
            )
            connection.executemany(
                "INSERT OR IGNORE INTO spools VALUES (?, ?)",
                [(digest, os.fsencode(path)) for path in spool_paths(record)],
            )

    def remember(self, scope: str, key: str, value: str, until: float) -> None:
        """Keep a small fact about *scope*, until then (seconds since the epoch)."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?)",
                (scope, key, value, until),
            )

    def recall(self, scope: str, key: str, now: float) -> str | None:
        """Return what was remembered, unless its time is over at *now*."""
        with self._database() as connection:
            row = connection.execute(
                "SELECT value FROM facts WHERE scope = ? AND key = ? AND ? < until",
                (scope, key, now),
            ).fetchone()
        return None if row is None else str(row[0])

    def claim(self, identity: str, wait: float = 0) -> None:
        """Become the only sender of *identity*, waiting at most *wait* seconds."""
        with self._transaction() as connection:
            # Who claims will send: a store that can only be read must say so now,
            # and SQLite does not before it has something to write.
            connection.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS)}")
        self._claims.claim(identity, wait)

    def release(self, identity: str) -> None:
        """Stop being its sender. Nothing happens if we are not."""
        self._claims.release(identity)

    def list(self) -> Iterator[Upload]:
        """Yield every upload that is kept, oldest first."""
        with self._database() as connection:
            rows = connection.execute(f"{_UPLOADS} ORDER BY sequence").fetchall()
        for row in rows:
            yield _read(row)

    def delete(self, upload_id: str) -> None:
        """Forget *upload_id*, and its plan if no other upload needs it."""
        with self._transaction() as connection:
            spools = _delete(connection, "id = ?", upload_id)
        remove_spools(spools, self._spools)

    def drop_spools(self, digest: str) -> None:
        """Remove the spooled content of a plan, unless an unfinished upload has it."""
        with self._transaction() as connection:
            spools = _spools_to_drop(connection, digest)
        remove_spools(spools, self._spools)

    def prune(self, now: float) -> Sequence[Upload]:
        """Forget what was delivered long ago; return what has expired long ago.

        What is returned is still kept: cancel it on its server, then delete it.
        """
        with self._transaction() as connection:
            spools = _delete(
                connection,
                "sequence IN (SELECT sequence FROM progress"
                " WHERE delivered AND updated + ? < ?)",
                DELIVERED,
                now,
            )
            spools += _prune_plans(connection, now)
            connection.execute("DELETE FROM facts WHERE until <= ?", (now,))
            needed = _paths(connection.execute("SELECT path FROM spools"))
            kept = [
                row[0] for row in connection.execute("SELECT identity FROM uploads")
            ]
            rows = connection.execute(
                f"{_UPLOADS} WHERE NOT delivered AND expires + ? < ? ORDER BY sequence",
                (EXPIRED, now),
            ).fetchall()
        remove_spools(spools, self._spools)
        sweep_spools(needed, self._spools, now - ORPHANED)
        self._claims.sweep(kept, now)
        abandoned = []
        for row in rows:
            with suppress(StoreError):  # a newer version's: that one will see to it
                abandoned.append(_read(row))
        return abandoned

    def spool_directory(self) -> Path:
        """Return a private directory (0700) for spooled content."""
        try:
            make_private_directory(self._spools)
        except OSError as exc:
            raise StoreError(
                f"cannot spool in {self._spools} ({exc.strerror}); {REMEDY}"
            ) from exc
        return self._spools

    def close(self) -> None:
        """Close the database. Claims stay; using the store again opens it anew."""
        with self._lock:
            self._disconnect()

    def before_fork(self) -> None:
        """Close the database: SQLite's connections do not survive a fork."""
        self._lock.acquire()
        self._disconnect()

    def after_fork(self) -> None:
        """Let threads in again."""
        self._lock.release()

    @property
    def _spools(self) -> Path:
        return self.directory / "spool"

    def _one(self, condition: str, value: str) -> Upload | None:
        with self._database() as connection:
            row = connection.execute(f"{_UPLOADS} {condition}", (value,)).fetchone()
        return None if row is None else _read(row)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection; after any error of its it is opened anew."""
        try:
            if self._connection is None:
                self._create()
            with self._lock:
                if self._connection is None:
                    self._connection = self._open()
                try:
                    yield self._connection
                except sqlite3.Error:
                    self._disconnect()
                    raise
        except sqlite3.Error as exc:
            raise _translated(exc, self.path) from exc
        except OSError as exc:
            raise StoreError(
                f"cannot keep state in {self.directory} ({exc.strerror}); {REMEDY}"
            ) from exc

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._database() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                raise

    def _open(self) -> sqlite3.Connection:
        schema.examine(self.path)
        connection = schema.connect(self.path)
        try:
            if not self._checked:
                schema.check(connection, self.path)
            schema.migrate(connection, self.path)
            schema.choose_journal(connection, remote=is_remote(self.path))
        except BaseException:
            connection.close()
            raise
        self._checked = True
        return connection

    def _create(self) -> None:
        if self.path.exists():
            return
        make_private_directory(self.directory)
        path = self.directory / "creating.lock"
        lock = self._lock_class(path, schema.BUSY_TIMEOUT, 0o600, thread_local=False)
        try:
            # Our lock is for SQLite alone, so that a fork waits until nothing of it
            # is open. Not for filelock, too: that waits for forks in its turn.
            with lock, self._lock:
                schema.create(self.path, remote=is_remote(self.path))
        except Timeout as exc:
            raise StoreError(
                f"another process keeps {path} locked; end it, or {REMEDY}"
            ) from exc

    def _disconnect(self) -> None:
        connection, self._connection = getattr(self, "_connection", None), None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def _write_fixed(
    connection: sqlite3.Connection, upload: Upload, written: WrittenUpload
) -> int:
    """Write what changes rarely, if it changed; return the row's number."""
    row = connection.execute(
        "SELECT sequence, fixed FROM uploads WHERE id = ?", (upload.id,)
    ).fetchone()
    values = (upload.identity, upload.plan_digest, written.fixed)
    if row is None:
        cursor = connection.execute(
            "INSERT INTO uploads (id, identity, plan_digest, fixed)"
            " VALUES (?, ?, ?, ?)",
            (upload.id, *values),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid
    if row[1] != written.fixed:
        connection.execute(
            "UPDATE uploads SET identity = ?, plan_digest = ?, fixed = ?"
            " WHERE sequence = ?",
            (*values, row[0]),
        )
    return int(row[0])


def _write_result(
    connection: sqlite3.Connection, sequence: int, result: str | None
) -> None:
    if result is None:
        connection.execute("DELETE FROM results WHERE sequence = ?", (sequence,))
        return
    connection.execute(
        "INSERT INTO results VALUES (?, ?) ON CONFLICT (sequence) DO UPDATE"
        " SET result = excluded.result WHERE result <> excluded.result",
        (sequence, result),
    )


def _delete(
    connection: sqlite3.Connection, condition: str, *values: str | float
) -> list[str]:
    """Delete uploads and the plans that only they had; return spools to remove."""
    rows = connection.execute(
        f"SELECT DISTINCT plan_digest FROM uploads WHERE {condition}", values
    ).fetchall()
    connection.execute(f"DELETE FROM uploads WHERE {condition}", values)
    spools: list[str] = []
    for (digest,) in rows:
        spools += _spools_to_drop(connection, digest)
        connection.execute(
            "DELETE FROM plans WHERE digest = ? AND NOT EXISTS"
            " (SELECT 1 FROM uploads WHERE plan_digest = digest)",
            (digest,),
        )
    return spools


def _spools_to_drop(connection: sqlite3.Connection, digest: str) -> list[str]:
    """Disown the spools of a plan that no unfinished upload needs; return them."""
    needed = connection.execute(
        "SELECT 1 FROM uploads JOIN progress USING (sequence)"
        " WHERE plan_digest = ? AND NOT complete",
        (digest,),
    ).fetchone()
    if needed is not None:
        return []
    paths = _paths(
        connection.execute("SELECT path FROM spools WHERE digest = ?", (digest,))
    )
    connection.execute("DELETE FROM spools WHERE digest = ?", (digest,))
    return paths


def _prune_plans(connection: sqlite3.Connection, now: float) -> list[str]:
    """Forget plans that had no upload for long; return their spools.

    A plan is kept before its upload is: having none is no reason by itself.
    """
    used = "EXISTS (SELECT 1 FROM uploads WHERE plan_digest = digest)"
    connection.execute(
        f"UPDATE plans SET orphaned = ? WHERE orphaned IS NULL AND NOT {used}", (now,)
    )
    connection.execute(
        f"UPDATE plans SET orphaned = NULL WHERE orphaned IS NOT NULL AND {used}"
    )
    old = connection.execute(
        "SELECT digest FROM plans WHERE orphaned + ? < ?", (ORPHANED, now)
    ).fetchall()
    spools: list[str] = []
    for (digest,) in old:
        spools += _spools_to_drop(connection, digest)
        connection.execute("DELETE FROM plans WHERE digest = ?", (digest,))
    return spools


def _paths(rows: sqlite3.Cursor) -> list[str]:
    return [os.fsdecode(row[0]) for row in rows.fetchall()]


def _read(row: tuple[str, str, str, str | None]) -> Upload:
    upload_id, fixed, progress, result = row
    return read_upload(upload_id, WrittenUpload(fixed, progress, result))


def _room(path: Path) -> int:
    """Return how many bytes are free where *path* is, as far as one can say."""
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return sys.maxsize


def _translated(exc: sqlite3.Error, path: Path) -> StoreError:
    """Return the error that says what to do about *exc*."""
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return schema.damaged(path, str(exc))
    if code == sqlite3.SQLITE_BUSY:
        return StoreError(
            f"{path} has been locked by another process for {schema.BUSY_TIMEOUT:.0f} "
            "seconds; end what uses it, or name another directory by store= or "
            "POSTER_RESUME_STATE"
        )
    # On a full disk the log's index cannot grow, which SQLite calls an I/O error.
    full = code == sqlite3.SQLITE_IOERR and _room(path) < _LITTLE
    if full or code == sqlite3.SQLITE_FULL:
        return StoreError(f"no room to keep state in {path}; free some, or {REMEDY}")
    return StoreError(f"cannot keep state in {path} ({exc}); {REMEDY}")
