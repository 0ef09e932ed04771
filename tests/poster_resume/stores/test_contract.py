"""Every store keeps the promises of ``StateStore``, and behaves like a dict."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
from filelock import SoftFileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from poster_resume.stores import (
    DEFAULT,
    STORES,
    MemoryStore,
    SQLiteStore,
    StateStore,
    default_directory,
    open_store,
)
from poster_resume.testing.contracts_store import check_store, sample_upload


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTER_RESUME_STATE", str(tmp_path / "default"))


def test_the_memory_store_keeps_its_promises() -> None:
    check_store(MemoryStore)


@pytest.mark.parametrize("soft", [False, True])
def test_the_sqlite_store_keeps_its_promises(tmp_path: Path, soft: bool) -> None:
    numbers = count()

    def make() -> SQLiteStore:
        path = tmp_path / str(next(numbers))
        return SQLiteStore(path, lock_class=SoftFileLock) if soft else SQLiteStore(path)

    def reopen(store: StateStore) -> SQLiteStore:
        assert isinstance(store, SQLiteStore)
        if soft:
            return SQLiteStore(store.directory, lock_class=SoftFileLock)
        return SQLiteStore(store.directory)

    check_store(make, reopen)


def test_every_store_that_is_registered_can_be_made_without_arguments() -> None:
    for make in STORES.values():
        store = make()
        store.save(sample_upload())
        assert store.load("one") == sample_upload()
        store.close()


_IDS = st.sampled_from("abc")
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["save", "save", "delete", "close"]),
        _IDS,
        st.sampled_from(["same", "other"]),
        st.integers(0, 1000),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(_STEPS)
def test_any_sequence_of_saves_and_deletes_is_that_of_a_dict(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str, int]]
) -> None:
    stores: list[StateStore] = [
        MemoryStore(),
        SQLiteStore(tmp_path_factory.mktemp("state")),
    ]
    expected = {}
    for action, name, identity, offset in steps:
        upload = sample_upload(name, identity=identity, offset=offset)
        if action == "save":
            expected[name] = upload
        elif action == "delete":
            expected.pop(name, None)
        for store in stores:
            match action:
                case "save":
                    store.save(upload)
                case "delete":
                    store.delete(name)
                case _:
                    store.close()
            assert list(store.list()) == list(expected.values())
            assert store.load(name) == expected.get(name)
            matching = [u for u in expected.values() if u.identity == identity]
            assert store.find(identity) == (matching[-1] if matching else None)
    for store in stores:
        store.close()


def test_one_directory_has_one_store_per_process(tmp_path: Path) -> None:
    one = open_store(tmp_path / "a")
    assert one is open_store(str(tmp_path / "a"))
    assert one is not open_store(tmp_path / "b")
    assert open_store(one) is one
    assert open_store(None) is not open_store(None)


def test_the_default_directory_is_the_one_named_at_the_time_of_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTER_RESUME_STATE", str(tmp_path / "one"))
    first = open_store(DEFAULT)
    assert first is open_store()
    monkeypatch.setenv("POSTER_RESUME_STATE", str(tmp_path / "two"))
    second = open_store()
    assert first is not second
    assert default_directory() == tmp_path / "two"
    monkeypatch.setenv("POSTER_RESUME_STATE", "relative")
    assert default_directory().is_absolute()
    monkeypatch.delenv("POSTER_RESUME_STATE")
    assert default_directory().name == "poster-resume"


def test_naming_a_store_makes_nothing(tmp_path: Path) -> None:
    open_store(tmp_path / "later")
    assert list(tmp_path.iterdir()) == []
