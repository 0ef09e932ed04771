"""State that a released version wrote stays readable for ever.

Each directory ``tests/fixtures/state-*`` was written by that version and is
never written again; ``python -m tests.poster_resume.stores.test_released_state
DIRECTORY`` made the first one and makes that of a version to come.
"""

from __future__ import annotations

import shutil
import sys
from contextlib import closing
from pathlib import Path

import pytest

from poster_resume.records import PlanRecord, SourceRecord
from poster_resume.responses import FinalResponse
from poster_resume.stores import SQLiteStore
from poster_resume.upload import Upload

_FIXTURES = Path(__file__).parents[2] / "fixtures"

_PLAN = PlanRecord(
    content_type="multipart/form-data; boundary=released",
    length=1234,
    closing=14,
    headers=b"\x00\xff literal",
    lengths=b"\x01\xfe",
    sources=(
        SourceRecord(kind="memory", length=5, data=b"\xff\x00abc"),
        SourceRecord(
            kind="file",
            length=1000,
            path="/home/someone/video \N{SNOWMAN}.mov",
            size=1000,
            mtime_ns=1_700_000_000_123_456_789,
            inode=2**63,
        ),
    ),
)

_SENDING = Upload(
    id="sending",
    protocol="rufh",
    options={"dialect": 9},
    target="https://example.test/videos?a=\N{SNOWMAN}",
    method="POST",
    identity="identity",
    resource="https://example.test/uploads/7",
    length=1234,
    offset=1000,
    content_type=_PLAN.content_type,
    phase="sending",
    plan_digest=_PLAN.digest,
    append_size=262144,
    session={"limits": {"max-size": 10}, "text": "\N{SNOWMAN}", "none": None},
    expires=1_800_000_000.5,
    created=1_700_000_000.25,
    updated=1_700_000_001.75,
)

_UPLOADS = [
    _SENDING,
    Upload(
        id="complete",
        protocol="tus",
        target="https://example.test/files",
        identity="another identity",
        key="key",
        length=None,
        content_type="video/mp4",
        metadata={"filename": "v\N{SNOWMAN}.mp4"},
        phase="complete",
        result=FinalResponse(201, {"location": "/7"}, bytes(range(256)), True),
        delivered=True,
    ),
]


def _write(directory: Path) -> None:
    with closing(SQLiteStore(directory)) as store:
        store.save_plan(_PLAN)
        for upload in _UPLOADS:
            store.save(upload)
        store.remember("https://example.test:443", "dialect", "9", 1_800_000_000)
    for path in (directory / "locks", directory / "creating.lock"):
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("version", ["1.0.0"])
def test_state_written_by_a_released_version_is_read(
    tmp_path: Path, version: str
) -> None:
    # A copy: what is committed is never opened for writing.
    shutil.copytree(_FIXTURES / f"state-{version}", tmp_path, dirs_exist_ok=True)
    with closing(SQLiteStore(tmp_path)) as store:
        assert list(store.list()) == _UPLOADS
        assert store.find("identity") == _SENDING
        assert store.load_plan(_SENDING.plan_digest) == _PLAN
        assert store.recall("https://example.test:443", "dialect", 0) == "9"
        moved = _SENDING.evolve(offset=1100)
        store.save(moved)
        assert store.load("sending") == moved


def test_what_is_written_now_is_read_the_same_way(tmp_path: Path) -> None:
    _write(tmp_path)
    with closing(SQLiteStore(tmp_path)) as store:
        assert list(store.list()) == _UPLOADS


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
