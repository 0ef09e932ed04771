"""What every state store promises, as a check for those who write one.

Call ``check_store`` in a test with a function that makes an empty store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UploadBusy
from ..records import PlanRecord, SourceRecord
from ..responses import STORE_LIMIT, FinalResponse
from ..stores import StateStore
from ..upload import Upload

_DAY = 86400.0


def check_store(
    make: Callable[[], StateStore],
    reopen: Callable[[StateStore], StateStore] | None = None,
) -> None:
    """Check the promises of ``StateStore`` on stores that *make* returns.

    *make* returns an empty store each time. *reopen* returns another object
    over the same state, as another process would have it; leave it out for
    stores that nobody else can open.

    Raises:
        AssertionError: a promise is broken.
    """
    for check in (
        _keeps_the_last_save,
        _finds_the_newest,
        _keeps_what_may_be_kept_of_a_result,
        _keeps_plans_as_long_as_their_uploads,
        _drops_spools,
        _remembers_until_then,
        _prunes_by_the_time_that_is_given,
        _claims_exclude_each_other,
        _survives_closing,
    ):
        with _closing(make()) as store:
            check(store)
    if reopen is not None:
        with _closing(make()) as store, _closing(reopen(store)) as other:
            _is_shared(store, other)


def sample_upload(upload_id: str = "one", **changes: object) -> Upload:
    """Return an upload to save, with *changes*."""
    upload = Upload(
        id=upload_id,
        protocol="tus",
        target="https://example.test/forms?a=☃",
        identity=f"identity of {upload_id}",
        length=1000,
        content_type="multipart/form-data; boundary=b",
        session={"deep": [1, {"x": None}], "text": "☃\x00"},
    )
    return upload.evolve(**changes)


@contextmanager
def _closing(store: StateStore) -> Iterator[StateStore]:
    try:
        yield store
    finally:
        store.close()


def _keeps_the_last_save(store: StateStore) -> None:
    assert store.load("one") is None
    assert store.find("identity of one") is None
    assert list(store.list()) == []
    store.delete("one")
    upload = sample_upload()
    for change in (
        {},
        {"resource": "https://example.test/u/1", "phase": "sending", "offset": 7},
        {"offset": 1000, "phase": "finishing", "append_size": 5, "expires": 1.5},
        {"target": "https://example.test/moved", "offset": 0, "phase": "new"},
    ):
        upload = upload.evolve(**change)
        store.save(upload)
        kept = store.load("one")
        assert kept == upload, f"load() returned {kept}, not what was saved"
        assert kept is not upload, "load() returned the object that was saved"
        assert list(store.list()) == [upload]
    store.delete("one")
    assert store.load("one") is None, "load() returned what was deleted"


def _finds_the_newest(store: StateStore) -> None:
    first = sample_upload("first", identity="same", created=2.0)
    second = sample_upload("second", identity="same", created=1.0)
    store.save(first)
    store.save(second)
    store.save(first.evolve(offset=1))
    assert store.find("same") == second, "find() did not return the newest"
    assert [each.id for each in store.list()] == ["first", "second"]
    assert store.find("other") is None
    store.delete("second")
    assert store.find("same") == first.evolve(offset=1)


def _keeps_what_may_be_kept_of_a_result(store: StateStore) -> None:
    result = FinalResponse(
        201, {"location": "/7", "set-cookie": "secret"}, bytes(range(256)) * 300
    )
    store.save(sample_upload(phase="complete", result=result))
    kept = store.load("one")
    assert kept is not None
    assert kept.result == result.storable(), "the result was not kept as storable()"
    assert kept.result is not None
    assert len(kept.result.content) == STORE_LIMIT
    store.save(sample_upload(phase="new"))
    kept = store.load("one")
    assert kept is not None
    assert kept.result is None, "a result outlived its upload's new state"


def sample_plan(spooled: Path | None = None) -> PlanRecord:
    """Return a plan record to keep; its source was spooled to *spooled*."""
    sources: list[SourceRecord] = []
    if spooled is not None:
        sources.append(SourceRecord(kind="spool", length=7, path=str(spooled)))
    return PlanRecord(
        content_type="multipart/form-data; boundary=b",
        length=7,
        headers=bytes(range(256)),
        lengths=b"\xff",
        sources=tuple(sources),
    )


def _plan(store: StateStore) -> PlanRecord:
    """Return a plan whose only file was spooled by *store*."""
    path = store.spool_directory() / "spooled"
    path.write_bytes(b"spooled")
    return sample_plan(path)


def _keeps_plans_as_long_as_their_uploads(store: StateStore) -> None:
    record = _plan(store)
    assert store.load_plan(record.digest) is None
    store.save_plan(record)
    store.save_plan(record)
    assert store.load_plan(record.digest) == record
    store.save(sample_upload("one", plan_digest=record.digest))
    store.save(sample_upload("two", plan_digest=record.digest))
    store.delete("one")
    assert store.load_plan(record.digest) == record, "a plan that is needed is gone"
    assert _spooled(store) == 1, "spooled content that is needed is gone"
    store.delete("two")
    assert store.load_plan(record.digest) is None, "a plan outlived its uploads"
    assert _spooled(store) == 0, "spooled content outlived its uploads"


def _drops_spools(store: StateStore) -> None:
    record = _plan(store)
    store.save_plan(record)
    upload = sample_upload(plan_digest=record.digest)
    store.save(upload)
    store.drop_spools(record.digest)
    assert _spooled(store) == 1, "spooled content of an unfinished upload was dropped"
    store.save(upload.evolve(phase="complete"))
    store.drop_spools(record.digest)
    assert _spooled(store) == 0, "spooled content of a complete upload was kept"
    assert store.load_plan(record.digest) == record


def _spooled(store: StateStore) -> int:
    files = [each for each in store.spool_directory().iterdir() if each.is_file()]
    return len(files)


def _remembers_until_then(store: StateStore) -> None:
    assert store.recall("https://a.test", "dialect", 0) is None
    store.remember("https://a.test", "dialect", "8", 100)
    store.remember("https://a.test", "dialect", "9", 200)
    store.remember("https://b.test", "dialect", "10", 100)
    assert store.recall("https://a.test", "dialect", 199.9) == "9"
    assert store.recall("https://a.test", "dialect", 200) is None
    assert store.recall("https://b.test", "dialect", 99) == "10"
    assert store.recall("https://b.test", "other", 0) is None
    store.prune(150)
    assert store.recall("https://a.test", "dialect", 199.9) == "9"


def _prunes_by_the_time_that_is_given(store: StateStore) -> None:
    done = {"phase": "complete", "delivered": True}
    record = _plan(store)
    store.save_plan(record)
    now = 1000 * _DAY
    for upload in (
        sample_upload("old", updated=now - 8 * _DAY, plan_digest=record.digest, **done),
        sample_upload("young", updated=now - 6 * _DAY, **done),
        sample_upload("undelivered", updated=0, phase="complete"),
        sample_upload("for ever", updated=0),
        sample_upload("abandoned", updated=0, expires=now - 31 * _DAY),
        sample_upload("expired", updated=0, expires=now - 29 * _DAY),
    ):
        store.save(upload)
    returned = [each.id for each in store.prune(now)]
    assert returned == ["abandoned"], f"prune() returned {returned}"
    kept = {each.id for each in store.list()}
    expected = {"young", "undelivered", "for ever", "abandoned", "expired"}
    assert kept == expected, f"prune() kept {kept}"
    assert store.load_plan(record.digest) is None, "a pruned upload's plan was kept"
    assert _spooled(store) == 0, "a pruned upload's spooled content was kept"


def _claims_exclude_each_other(store: StateStore) -> None:
    store.release("name")
    store.claim("name")
    store.claim("another name")
    _assert_busy(store, "name")
    assert not _claims_in_thread(store, "name"), "two threads claimed one upload"
    store.release("name")
    assert _claims_in_thread(store, "name"), "a released upload could not be claimed"
    waiting = threading.Thread(target=store.claim, args=("name", 60))
    waiting.start()
    store.release("name")
    waiting.join(60)
    _assert_busy(store, "name")
    store.release("name")
    store.release("another name")


def _assert_busy(store: StateStore, name: str) -> None:
    try:
        store.claim(name)
    except UploadBusy:
        return
    raise AssertionError("what is claimed was claimed again")


def _claims_in_thread(store: StateStore, name: str) -> bool:
    claimed = []

    def claim() -> None:
        try:
            store.claim(name)
        except UploadBusy:
            return
        claimed.append(name)

    thread = threading.Thread(target=claim)
    thread.start()
    thread.join()
    return bool(claimed)


def _survives_closing(store: StateStore) -> None:
    store.save(sample_upload())
    store.close()
    assert store.load("one") == sample_upload()
    store.close()
    store.close()


def _is_shared(store: StateStore, other: StateStore) -> None:
    record = _plan(store)
    store.save_plan(record)
    store.save(sample_upload(plan_digest=record.digest))
    assert other.load("one") == sample_upload(plan_digest=record.digest)
    assert other.load_plan(record.digest) == record
    other.save(sample_upload(offset=9))
    assert store.load("one") == sample_upload(offset=9)
    store.claim("name")
    _assert_busy(other, "name")
    other.release("name")
    _assert_busy(other, "name")
    store.release("name")
    other.claim("name")
    other.release("name")
    store.remember("scope", "key", "value", 1)
    assert other.recall("scope", "key", 0) == "value"
