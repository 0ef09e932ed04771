"""What was acknowledged is there: after kills, full disks and damaged files."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from poster_resume.errors import StoreError
from poster_resume.responses import FinalResponse
from poster_resume.stores import SQLiteStore
from poster_resume.stores.directory import is_remote, make_private_directory
from poster_resume.testing.contracts_store import sample_upload

from .children import child, heard, run

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")

_HAMMER = """
name = sys.stdin.readline().strip()
offset = 0
while True:
    store.save(sample_upload(name, offset=offset, length=10**9))
    say(offset)
    offset += 1
"""


def _hammer(directory: Path, rounds: int, processes: int, seed: int) -> None:
    chance = random.Random(seed)
    for turn in range(rounds):
        with ExitStack() as stack:
            hammers = [
                stack.enter_context(child(_HAMMER, directory)) for _ in range(processes)
            ]
            for number, process in enumerate(hammers):
                assert process.stdin is not None
                process.stdin.write(f"{turn}-{number}\n")
                process.stdin.flush()
            acknowledged = {}
            for number, process in enumerate(hammers):
                for _ in range(chance.randrange(1, 30)):
                    assert heard(process), process.communicate()
                process.kill()
                assert process.stdout is not None
                lines = process.stdout.read().splitlines(keepends=True)
                whole = [line for line in lines if line.endswith("\n")]
                if whole:
                    acknowledged[f"{turn}-{number}"] = int(whole[-1])
        with closing(SQLiteStore(directory)) as store:
            for name, offset in acknowledged.items():
                kept = store.load(name)
                assert kept is not None
                assert kept.offset in (offset, offset + 1)
            assert len(list(store.list())) == (turn + 1) * processes


def test_every_acknowledged_save_survives_the_kill_of_its_process(
    tmp_path: Path,
) -> None:
    _hammer(tmp_path, rounds=3, processes=3, seed=1)


@pytest.mark.long
def test_every_acknowledged_save_survives_hundreds_of_kills(tmp_path: Path) -> None:
    _hammer(tmp_path, rounds=100, processes=4, seed=2)


def test_processes_that_start_together_make_one_database(tmp_path: Path) -> None:
    script = """
sys.stdin.readline()
store.save(sample_upload(str(os.getpid())))
say("saved")
"""
    directory = tmp_path / "new" / "state"
    with ExitStack() as stack:
        processes = [stack.enter_context(child(script, directory)) for _ in range(5)]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            assert process.communicate() == ("saved\n", "")
    with closing(SQLiteStore(directory)) as store:
        expected = {str(process.pid) for process in processes}
        assert {each.id for each in store.list()} == expected
    assert not list(directory.glob("*.new*"))


def test_a_second_store_in_a_process_leaves_the_locks_of_the_first(
    tmp_path: Path,
) -> None:
    with closing(SQLiteStore(tmp_path)) as first:
        first.save(sample_upload())
        with closing(SQLiteStore(tmp_path)) as second:
            second.save(sample_upload(offset=1))
            # Were the lock gone, the next to close would think itself the last
            # one, and take the log away from under those who write to it.
            run("store.save(sample_upload(offset=2)); store.close()", tmp_path)
            assert (tmp_path / "state.sqlite3-wal").stat().st_size
        first.save(sample_upload(offset=3))
    with closing(SQLiteStore(tmp_path)) as store:
        assert store.load("one") == sample_upload(offset=3)


def test_what_a_killed_creation_leaves_is_cleared_away(tmp_path: Path) -> None:
    left = tmp_path / "state.sqlite3.1.new"
    left.write_bytes(b"half a database")
    with closing(SQLiteStore(tmp_path)) as store:
        store.save(sample_upload())
        assert store.load("one") == sample_upload()
    assert not left.exists()


@posix
@pytest.mark.parametrize("limit", [0, 20_000, 70_000, 150_000])
def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path: Path, limit: int) -> None:
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
for offset in range(100_000):
    try:
        store.save(sample_upload(offset=offset, length=10**9,
                   metadata={{"large": "x" * 3000 + str(offset)}}))
    except StoreError as error:
        say(offset, type(error.__cause__).__name__, error)
        break
kept = store.load("one") if offset else None
say(kept.offset if kept else None)
"""
    error, kept = run(script, tmp_path).splitlines()
    offset = int(error.split()[0])
    assert "store=None" in error
    assert "POSTER_RESUME_STATE" in error
    assert kept == str(offset - 1 if offset else None)
    with closing(SQLiteStore(tmp_path)) as store:
        left = store.load("one")
        assert (left.offset if left else -1) == offset - 1
        store.save(sample_upload())
        assert store.load("one") == sample_upload()


def test_a_directory_that_cannot_be_made_is_an_error_with_the_remedy(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = SQLiteStore(tmp_path / "file" / "below")
    _assert_fails(store, r"make it writable, .* or pass store=None")
    with pytest.raises(StoreError, match="POSTER_RESUME_STATE"):
        store.spool_directory()


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user of this machine reaches."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@posix
@pytest.mark.parametrize("what", ["directory", "database"])
def test_a_read_only_store_is_an_error_with_the_remedy(
    open_directory: Path, what: str
) -> None:
    state = open_directory / "state"
    with closing(SQLiteStore(state)) as store:
        store.save(sample_upload())
    # Root may write anywhere, so a child of root's becomes nobody.
    script = f"""

os.umask(0)
who = 65534 if os.getuid() == 0 else os.getuid()
for path in [directory, *directory.rglob("*")]:
    os.chown(path, who, -1)
    os.chmod(path, 0o700 if path.is_dir() else 0o600)
os.chmod(directory / "state.sqlite3", 0o400)
if {what == "directory"}:
    os.chmod(directory, 0o500)
if os.getuid() == 0:
    os.setuid(who)
for act in (lambda: store.save(sample_upload()), lambda: store.claim("x")):
    try:
        act()
    except StoreError as error:
        say(error)
"""
    lines = run(script, state).splitlines()
    assert len(lines) == 2
    assert all("store=None" in line and "state.sqlite3" in line for line in lines)


def _assert_fails(store: SQLiteStore, match: str) -> None:
    for act in (
        lambda: store.load("one"),
        lambda: store.find("identity of one"),
        lambda: store.save(sample_upload(offset=1)),
        lambda: list(store.list()),
        lambda: store.prune(1e12),
        lambda: store.remember("a", "b", "c", 1),
    ):
        with pytest.raises(StoreError, match=match):
            act()


def _filled(directory: Path) -> Path:
    with closing(SQLiteStore(directory)) as store:
        for number in range(200):
            metadata = {"filename": f"file {number}" * 50}
            store.save(sample_upload(str(number), metadata=metadata))
        store.save(sample_upload())
        return store.path


def _emptied(content: bytes) -> bytes:
    return b""


def _beheaded(content: bytes) -> bytes:
    return b"\0" * 100 + content[100:]


def _other(content: bytes) -> bytes:
    return b"<html>not a database</html>" * 1000


def _halved(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _clipped(content: bytes) -> bytes:
    return content[:-4096]


def _scratched(content: bytes) -> bytes:
    return content[:4096] + os.urandom(8192) + content[12288:]


def _short(content: bytes) -> bytes:
    return content[:50]


@pytest.mark.parametrize(
    "damage", [_emptied, _beheaded, _other, _halved, _clipped, _scratched, _short]
)
def test_a_damaged_database_is_an_error_and_is_left_alone(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = _filled(tmp_path)
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with closing(SQLiteStore(tmp_path)) as store:
        _assert_fails(
            store, r"state\.sqlite3 is damaged .*: move state\.sqlite3\* away"
        )
    assert path.read_bytes() == damaged
    path.rename(tmp_path / "moved away")
    with closing(SQLiteStore(tmp_path)) as store:
        assert store.load("one") is None
        store.save(sample_upload())


def test_a_database_of_a_newer_version_is_an_error_and_is_left_alone(
    tmp_path: Path,
) -> None:
    path = _filled(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    before = path.read_bytes()
    with closing(SQLiteStore(tmp_path)) as store:
        _assert_fails(store, "newer version .*: upgrade poster-resume")
    assert path.read_bytes() == before


def test_an_upload_of_a_newer_version_is_an_error_that_spares_the_others(
    tmp_path: Path,
) -> None:
    path = _filled(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE uploads SET fixed = json_set(fixed, '$.version', 2)"
            " WHERE id = 'one'"
        )
        connection.execute(
            "UPDATE uploads SET fixed = 'secret of the file' WHERE id = '7'"
        )
        connection.execute("UPDATE progress SET expires = 0")
        connection.commit()
    with closing(SQLiteStore(tmp_path)) as store:
        for name in ("one", "7"):
            with pytest.raises(StoreError, match=f"upload {name} .*upgrade") as caught:
                store.load(name)
            assert "secret" not in str(caught.value)
            assert caught.value.__cause__ is None
        assert store.load("8") is not None
        assert len(store.prune(1e12)) == 199
        store.delete("one")
        assert store.load("one") is None


def test_a_log_without_its_database_is_not_played_into_a_new_one(
    tmp_path: Path,
) -> None:
    log = tmp_path / "state.sqlite3-wal"
    log.write_bytes(b"left behind")
    with closing(SQLiteStore(tmp_path)) as store:
        _assert_fails(store, "state.sqlite3-wal is there without its database")
        assert log.read_bytes() == b"left behind"
        assert not store.path.exists()


def test_a_database_that_stays_locked_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _filled(tmp_path)
    monkeypatch.setattr("poster_resume.stores.schema.BUSY_TIMEOUT", 0.05)
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as other,
        closing(SQLiteStore(tmp_path)) as store,
    ):
        assert store.load("one") is not None
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another process"):
            store.save(sample_upload(offset=5))
        other.execute("ROLLBACK")
        assert store.load("one") == sample_upload()


@posix
def test_nobody_else_may_read_or_write_whatever_the_umask_is(tmp_path: Path) -> None:
    for umask in (0o000, 0o777):
        state = tmp_path / f"{umask:o}" / "below"
        script = f"""
os.umask(0o{umask:o})
store.claim("name")
store.save(sample_upload())
(store.spool_directory() / "x").touch(0o600)
os.chmod(store.spool_directory() / "x", 0o600)
say(*sorted(oct(p.stat().st_mode) + ("" if p.is_dir() else p.suffix)
     for p in [directory.parent, *directory.parent.rglob("*")]))
"""
        modes = run(script, state).split()
        directories = [each for each in modes if each.startswith("0o4")]
        files = [each for each in modes if each.startswith("0o1")]
        assert set(directories) == {"0o40700"}, modes
        assert len(directories) == 4
        assert {each[:8] for each in files} == {"0o100600"}, modes
        suffixes = {each[8:] for each in files}
        assert {".sqlite3", ".sqlite3-wal", ".sqlite3-shm", ".lock"} <= suffixes


@posix
def test_files_that_others_could_read_are_taken_back(tmp_path: Path) -> None:
    path = _filled(tmp_path / "state")
    path.chmod(0o644)
    with closing(SQLiteStore(tmp_path / "state")) as store:
        store.load("one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@posix
def test_a_directory_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_private_directory(tmp_path)
    with closing(SQLiteStore(tmp_path)) as store:
        store.save(sample_upload())
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_save_of_progress_writes_a_row_under_4_kib(tmp_path: Path) -> None:
    result = FinalResponse(200, {}, b"x" * 65536)
    upload = sample_upload(
        target="https://example.test/?" + "x" * 8000,
        metadata={"filename": "y" * 8000},
        resource="https://example.test/" + "u" * 2000,
        result=result,
    )
    with closing(SQLiteStore(tmp_path)) as store:
        store.save(upload)
        with closing(sqlite3.connect(store.path)) as connection:
            before = connection.execute("SELECT * FROM uploads, results").fetchall()
            store.save(upload.evolve(offset=999, phase="sending", updated=5.0))
            after = connection.execute("SELECT * FROM uploads, results").fetchall()
            rows = connection.execute("SELECT * FROM progress").fetchall()
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    assert before == after
    assert len(str(rows)) < 4096
    assert mode == "wal"


@pytest.mark.parametrize(
    ("kind", "remote"),
    [
        ("ext4", False),
        ("fuseblk", False),
        ("nfs4", True),
        ("cifs", True),
        ("fuse.sshfs", True),
        ("9p", True),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(
    tmp_path: Path, kind: str, remote: bool
) -> None:
    home = tmp_path / "a b" / "home"
    home.mkdir(parents=True)
    table = tmp_path / "mountinfo"
    point = str(home.resolve()).replace(" ", "\\040")
    table.write_text(
        "1 0 8:1 / / rw - nfs server:/ rw\n"
        f"2 1 8:2 / {point} rw,noatime shared:1 - tmpfs none rw\n"
        f"3 1 8:3 / {point} rw - {kind} what rw\n"
        f"4 1 8:3 / {point}2 rw - {'ext4' if remote else 'nfs'} what rw\n"
        "broken line\n"
    )
    assert is_remote(home / "state", table) is remote
    assert is_remote(tmp_path, table)
    assert not is_remote(home, tmp_path / "missing")


def test_a_network_file_system_gets_no_write_ahead_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _filled(tmp_path)
    monkeypatch.setattr("poster_resume.stores.sqlite.is_remote", lambda path: True)
    with closing(SQLiteStore(tmp_path)) as store:
        assert store.load("one") == sample_upload()
        store.save(sample_upload(offset=2))
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
            assert not path.with_name("state.sqlite3-wal").exists()


def test_a_program_that_never_closes_its_store_ends_without_warnings(
    tmp_path: Path,
) -> None:
    script = """
store.save(sample_upload())
open_store(directory / "other").save(sample_upload())
SQLiteStore(directory / "dropped").save(sample_upload())
SQLiteStore(directory / "dropped").claim("name")
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    prelude = (
        "import sys; from pathlib import Path; from poster_resume.stores import *\n"
        "from poster_resume.testing.contracts_store import sample_upload\n"
        "directory = Path(sys.argv[1]); store = SQLiteStore(directory)\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", prelude + script, tmp_path],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
