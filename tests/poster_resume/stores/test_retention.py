"""What is kept, for how long, and what is never removed."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path

import pytest

from poster_resume.stores import MemoryStore, SQLiteStore
from poster_resume.testing.contracts_store import sample_plan, sample_upload

_DAY = 86400.0


def test_only_files_in_the_spool_directory_are_ever_removed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"the only copy")
    with closing(SQLiteStore(tmp_path / "state")) as store:
        store.spool_directory()
        record = sample_plan(precious)
        store.save_plan(record)
        store.save(sample_upload(plan_digest=record.digest))
        store.delete("one")
        store.prune(1e12)
        assert store.load_plan(record.digest) is None
    assert precious.read_bytes() == b"the only copy"


def test_a_plan_without_an_upload_is_kept_for_a_week(tmp_path: Path) -> None:
    record = sample_plan()
    with closing(SQLiteStore(tmp_path)) as store:
        store.save_plan(record)
        store.prune(100 * _DAY)
        store.prune(106 * _DAY)
        assert store.load_plan(record.digest) == record
        store.save_plan(record)
        store.prune(108 * _DAY)
        store.prune(114 * _DAY)
        assert store.load_plan(record.digest) == record, "it was kept again"
        store.save(sample_upload(plan_digest=record.digest))
        store.prune(200 * _DAY)
        assert store.load_plan(record.digest) == record, "it has an upload now"
        store.delete("one")
        assert store.load_plan(record.digest) is None
        store.save_plan(record)
        store.prune(300 * _DAY)
        store.prune(308 * _DAY)
        assert store.load_plan(record.digest) is None


def test_spooled_files_that_no_plan_needs_are_swept_after_a_week(
    tmp_path: Path,
) -> None:
    with closing(SQLiteStore(tmp_path)) as store:
        spool = store.spool_directory()
        needed, left, fresh, dropped = (spool / name for name in "abcd")
        for path in (needed, left, fresh):
            path.write_bytes(b"x")
        dropped.mkdir()
        (dropped / "inside").write_bytes(b"x")
        now = 1000 * _DAY
        for path in (needed, left, dropped):
            os.utime(path, (now - 8 * _DAY,) * 2)
        os.utime(fresh, (now - 6 * _DAY,) * 2)
        store.save_plan(sample_plan(needed))
        store.prune(now)
        assert sorted(spool.iterdir()) == [needed, fresh]


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text")
def test_a_state_directory_may_have_any_name(tmp_path: Path) -> None:
    directory = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff ?#%41"))
    with closing(SQLiteStore(directory)) as store:
        path = store.spool_directory() / "spooled"
        path.write_bytes(b"x")
        record = sample_plan(path)
        store.save_plan(record)
        store.save(sample_upload(plan_digest=record.digest))
        store.close()
        assert store.load_plan(record.digest) == record
        store.claim("name")
        store.release("name")
        store.delete("one")
        assert not path.exists()
    assert [each.name for each in tmp_path.iterdir()] == [directory.name]


@pytest.mark.parametrize("make", [MemoryStore, None])
def test_a_delivered_upload_never_wants_cancelling(
    tmp_path: Path, make: type[MemoryStore] | None
) -> None:
    with closing(make() if make else SQLiteStore(tmp_path)) as store:
        store.save(
            sample_upload(
                phase="complete", delivered=True, expires=0.0, updated=99 * _DAY
            )
        )
        assert not store.prune(100 * _DAY)
        assert store.load("one") is not None


def test_the_lock_file_of_a_kept_upload_is_not_swept(tmp_path: Path) -> None:
    with closing(SQLiteStore(tmp_path)) as store:
        store.save(sample_upload(identity="name"))
        store.claim("name")
        store.release("name")
        store.prune(1e12)
        assert (tmp_path / "locks" / "name.lock").exists()


def test_a_memory_store_leaves_no_spooled_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTER_RESUME_STATE", str(tmp_path / "state"))
    store = MemoryStore()
    (store.spool_directory() / "x").write_bytes(b"x")
    assert store.spool_directory().stat().st_mode & 0o077 == 0
    store.close()
    assert not list((tmp_path / "state").rglob("x"))
    (store.spool_directory() / "x").write_bytes(b"x")
    del store
    assert not list((tmp_path / "state").rglob("x"))
