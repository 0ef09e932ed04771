"""The tables of the SQLite store, and how a database file comes to have them.

A new database is made beside its name and moved there whole, so an empty file
under that name is a damaged one. A database that cannot be understood is never
written to. Migrations only ever get appended: each brings the version before
it to the next, in one transaction.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from ..errors import StoreError
from .directory import keep_private, make_private_file, sync_directory

#: Seconds to wait for another process that is writing.
BUSY_TIMEOUT = 30.0

#: One script per version; ``PRAGMA user_version`` counts those that have run.
MIGRATIONS = (
    """
    CREATE TABLE plans (
        digest TEXT PRIMARY KEY,
        record BLOB NOT NULL,
        orphaned REAL             -- since when prune() found no upload of it
    );
    CREATE TABLE spools (
        digest TEXT NOT NULL REFERENCES plans ON DELETE CASCADE,
        path BLOB NOT NULL,       -- file names need not be text
        PRIMARY KEY (digest, path)
    ) WITHOUT ROWID;
    CREATE TABLE uploads (
        sequence INTEGER PRIMARY KEY,             -- a clock could go backwards
        id TEXT NOT NULL UNIQUE,
        identity TEXT NOT NULL,
        plan_digest TEXT NOT NULL,
        fixed TEXT NOT NULL
    );
    CREATE INDEX uploads_by_identity ON uploads (identity);
    CREATE INDEX uploads_by_plan ON uploads (plan_digest);
    CREATE TABLE progress (
        sequence INTEGER PRIMARY KEY REFERENCES uploads ON DELETE CASCADE,
        progress TEXT NOT NULL,
        complete INTEGER NOT NULL,
        delivered INTEGER NOT NULL,
        expires REAL,
        updated REAL NOT NULL
    );
    CREATE TABLE results (
        sequence INTEGER PRIMARY KEY REFERENCES uploads ON DELETE CASCADE,
        result TEXT NOT NULL
    );
    CREATE TABLE facts (
        scope TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        until REAL NOT NULL,
        PRIMARY KEY (scope, key)
    ) WITHOUT ROWID;
    """,
)


def create(path: Path, *, remote: bool) -> None:
    """Make a database at *path*, unless there is one. One caller at a time.

    *remote* says that it lies on a network file system.

    Raises:
        StoreError: a log without its database lies there.
        OSError, sqlite3.Error: it cannot be made.
    """
    if path.exists():
        return
    log = _log(path)
    if log.exists() and log.stat().st_size:
        # SQLite would play it into whatever database appears next to it.
        raise StoreError(
            f"{log} is there without its database: put {path.name} back, or move "
            "the log away as well (uploads on servers stay)"
        )
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    for left in path.parent.glob(f"{path.name}.*.new*"):
        left.unlink(missing_ok=True)
    make_private_file(draft)
    try:
        with closing(connect(draft)) as connection:
            migrate(connection, path)
            choose_journal(connection, remote=remote)
        draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    sync_directory(path.parent)


def connect(path: Path) -> sqlite3.Connection:
    """Open the database at *path*, which exists, durable to the last commit.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
        uri=True,
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def examine(path: Path) -> None:
    """Look at the file before SQLite does, which takes an empty one for a new one.

    It must not be opened for that: closing any descriptor of a file drops all
    locks of POSIX that this process has on it, those of SQLite included
    (sqlite.org/howtocorrupt.html, section 2.2).

    Raises:
        StoreError: it is empty.
        OSError: it is not there.
    """
    for each in (path, _log(path), path.with_name(f"{path.name}-shm")):
        keep_private(each)
    if not path.stat().st_size:
        raise damaged(path, "it is empty")


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raise ``StoreError`` if the database is damaged."""
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise damaged(path, "its pages contradict each other")


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the database to our version.

    Raises:
        StoreError: a newer version has written it.
        sqlite3.Error: it cannot be read, or not written where it must be.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise StoreError(
                f"{path} was written by a newer version (state {version}, this one "
                f"knows {len(MIGRATIONS)}): upgrade poster-resume, or name another "
                "directory by store= or POSTER_RESUME_STATE"
            )
        for script in MIGRATIONS[version:]:
            for statement in script.split(";\n"):
                connection.execute(statement)
        if version < len(MIGRATIONS):
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def choose_journal(connection: sqlite3.Connection, *, remote: bool) -> None:
    """Use a write-ahead log, except on network file systems; SQLite may refuse.

    The choice stays with the file. Made when nobody else has it open; later,
    only a database that was moved from one kind of file system to another needs
    another one, and keeps the one it has while others use it.
    """
    wanted = "delete" if remote else "wal"
    (current,) = connection.execute("PRAGMA journal_mode").fetchone()
    if current == wanted:
        return
    try:
        connection.execute(f"PRAGMA journal_mode = {wanted}").fetchone()
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise


def damaged(path: Path, why: str) -> StoreError:
    """Return the error for a database that cannot be used any more."""
    return StoreError(
        f"the upload state in {path} is damaged ({why}): move {path.name}* away and "
        "start anew (uploads on servers stay), or restore it from a backup"
    )


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")
