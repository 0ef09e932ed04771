"""What a call keeps of its upload, and when it says that it was delivered."""

from __future__ import annotations

import pytest

from poster_resume.errors import TransportError, UploadBusy, UploadRejected
from poster_resume.flow import Delete, Save
from poster_resume.opening import Opened
from poster_resume.performing import Kept, OneAtATime, Tracker, Workbench
from poster_resume.protocols import Tus
from poster_resume.responses import FinalResponse
from poster_resume.stores import MemoryStore
from poster_resume.upload import Upload

from .test_arguments import given
from .test_session import upload_of

ARGUMENTS = given()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def complete(status: int) -> Upload:
    final = FinalResponse(status)
    return upload_of(10).evolve(phase="complete", offset=10, result=final)


def test_what_need_not_last_is_not_written(store: MemoryStore) -> None:
    bench = Workbench(ARGUMENTS, store)
    bench.perform(Save(upload_of(10), durable=False))
    assert (bench.upload, list(store.list())) == (upload_of(10), [])
    bench.perform(Save(upload_of(10)))
    assert [each.id for each in store.list()] == ["u1"]
    assert next(store.list()).updated > 0


@pytest.mark.parametrize(("status", "rejected"), [(399, False), (400, True)])
def test_an_error_is_delivered_as_an_error(
    store: MemoryStore, status: int, rejected: bool
) -> None:
    upload = complete(status)
    bench = Workbench(ARGUMENTS, store)
    opened = Opened(upload, Tus(), None)
    if rejected:
        with pytest.raises(UploadRejected):
            bench.delivered(opened, upload)
    else:
        assert bench.delivered(opened, upload).response.status_code == status
    assert next(store.list()).delivered


def test_what_did_not_reach_its_caller_is_not_delivered(store: MemoryStore) -> None:
    upload = complete(201)
    bench = Workbench(ARGUMENTS, store)
    bench.delivered(Opened(upload, Tus(), None), upload)
    bench.broke(KeyboardInterrupt(), None, Tracker(ARGUMENTS))
    assert not next(store.list()).delivered


def test_an_error_names_its_upload(store: MemoryStore) -> None:
    bench = Workbench(ARGUMENTS, store)
    bench.perform(Save(upload_of(10)))
    error = TransportError("reset")
    bench.broke(error, None, Tracker(ARGUMENTS))
    assert error.upload_id == "u1"


def test_an_object_knows_what_it_began_until_it_is_delivered_or_forgotten(
    store: MemoryStore,
) -> None:
    kept = Kept()
    kept.upload = upload_of(10).evolve(identity="as it was called then")
    assert Workbench(ARGUMENTS, store, kept).identity() == "as it was called then"
    bench = Workbench(ARGUMENTS, store, kept)
    bench.perform(Delete("another"))
    assert bench.identity() == "as it was called then"
    bench = Workbench(ARGUMENTS, store, kept)
    bench.perform(Delete("u1"))
    assert bench.identity() != "as it was called then"
    kept.upload = complete(201).evolve(identity="as it was", delivered=True)
    assert Workbench(ARGUMENTS, store, kept).identity() != "as it was"


def test_target_method_content_and_key_tell_uploads_apart(store: MemoryStore) -> None:
    calls = [
        ARGUMENTS,
        given("https://example.test/others"),
        given(method="PUT"),
        given(params={"a": "c"}),
        given(key="k"),
        given(key="l"),
    ]
    assert len({Workbench(each, store).identity() for each in calls}) == len(calls)
    same = given("https://example.test/others", params={"a": "c"}, key="k")
    known = Workbench(given(key="k"), store).identity()
    assert Workbench(same, store).identity() == known


def test_an_object_sends_once_at_a_time() -> None:
    sending = OneAtATime()
    with sending, pytest.raises(UploadBusy), sending:
        pass
    with sending:
        pass
