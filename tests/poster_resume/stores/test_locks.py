"""One sender per upload, between threads, objects and processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from filelock import SoftFileLock

from poster_resume.errors import StoreError, UploadBusy
from poster_resume.stores import MemoryStore, SQLiteStore

from .children import child, heard, run

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and fork")

_OWN = """
store.claim("name")
say("claimed")
sys.stdin.readline()
"""


def test_a_second_process_is_told_who_sends_and_since_when(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    with child(_OWN, tmp_path) as owner:
        assert heard(owner) == "claimed"
        with pytest.raises(UploadBusy, match=rf"process {owner.pid} since 20\d\d-"):
            store.claim("name")
        with pytest.raises(UploadBusy, match="wait="):
            store.claim("name", 0.12)
        store.claim("another name")
        store.release("another name")


def test_a_waiting_process_gets_the_upload_when_it_is_released(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    with child(_OWN + "store.release('name')\nsay(1)\n", tmp_path) as owner:
        assert heard(owner) == "claimed"
        waiting = threading.Thread(target=store.claim, args=("name", 60))
        waiting.start()
        assert owner.stdin is not None
        owner.stdin.write("\n")
        owner.stdin.flush()
        waiting.join(60)
        with pytest.raises(UploadBusy, match=f"this process .{os.getpid()}."):
            store.claim("name")
    store.release("name")


@posix
def test_a_killed_owner_frees_its_upload_and_a_stopped_one_does_not(
    tmp_path: Path,
) -> None:
    store = SQLiteStore(tmp_path)
    with child(_OWN, tmp_path) as owner:
        assert heard(owner) == "claimed"
        owner.send_signal(signal.SIGSTOP)
        with pytest.raises(UploadBusy):
            store.claim("name", 0.2)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    store.claim("name")
    store.release("name")


@posix
def test_a_child_that_lives_on_does_not_keep_the_lock_of_its_dead_parent(
    tmp_path: Path,
) -> None:
    script = """
store.claim("name")
if os.fork() == 0:
    say("forked")
    sys.stdin.readline()
    os._exit(0)
os.pause() if hasattr(os, "pause") else __import__("signal").pause()
"""
    store = SQLiteStore(tmp_path)
    with child(script, tmp_path) as owner:
        assert heard(owner) == "forked"
        with pytest.raises(UploadBusy, match=f"process {owner.pid} "):
            store.claim("name")
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
        store.claim("name", 10)
        store.release("name")
        assert owner.stdin is not None
        owner.stdin.close()  # the child of the child ends


@posix
@pytest.mark.parametrize("kind", ["SQLiteStore(directory)", "MemoryStore()"])
def test_a_forked_child_neither_owns_nor_frees_what_its_parent_claimed(
    tmp_path: Path, kind: str
) -> None:
    script = f"""
store = {kind}
store.claim("name")
pid = os.fork()
if pid == 0:
    store.release("name")
    try:
        store.claim("name")
    except UploadBusy as error:
        ok = f"process {{os.getppid()}}" in str(error)
        store.claim("the child's own")
        store.release("the child's own")
        del store
        os._exit(0 if ok else 3)
    os._exit(4)
assert os.waitpid(pid, 0)[1] == 0, "in the child"
try:
    store.claim("name")
except UploadBusy:
    say("still ours")
store.release("name")
store.claim("name")
say("freed")
"""
    assert run(script, tmp_path) == "still ours\nfreed"


@posix
def test_a_fork_in_the_midst_of_saving_threads_leaves_both_sides_working(
    tmp_path: Path,
) -> None:
    script = """
import threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
stop = threading.Event()
def save(name):
    offset = 0
    while not stop.is_set():
        store.save(sample_upload(name, offset=offset % 1000))
        store.claim(name); store.release(name)
        offset += 1
threads = [
    threading.Thread(target=save, args=(str(n),), daemon=True) for n in range(2)
]
for thread in threads: thread.start()
for n in range(10):
    pid = os.fork()
    if pid == 0:
        __import__("signal").alarm(60)
        mine = f"child {n}"
        store.claim(mine)
        store.save(sample_upload(mine))
        os._exit(0 if store.load(mine) == sample_upload(mine) else 3)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
say(sum(1 for each in store.list() if each.id.startswith("child")))
"""
    assert run(script, tmp_path) == "10"


def test_threads_never_own_an_upload_together(tmp_path: Path) -> None:
    owners: list[int] = []
    most: list[int] = []

    def work(store: SQLiteStore) -> None:
        for _ in range(15):
            store.claim("name", 60)
            owners.append(1)
            most.append(len(owners))
            owners.pop()
            store.release("name")

    shared = SQLiteStore(tmp_path)
    stores = [shared, shared, SQLiteStore(tmp_path)]
    threads = [threading.Thread(target=work, args=(each,)) for each in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 45


def test_processes_never_own_an_upload_together(tmp_path: Path) -> None:
    script = """
for _ in range(40):
    store.claim("name", 60)
    fd = os.open(directory / "inside", os.O_CREAT | os.O_EXCL)  # fails for a second
    os.close(fd)
    os.unlink(directory / "inside")
    store.release("name")
    store.prune(1e12)
say("done")
"""
    with child(script, tmp_path) as one, child(script, tmp_path) as two:
        for each in (one, two):
            out, err = each.communicate()
            assert (out, err) == ("done\n", "")


def test_the_owner_may_be_dropped_without_release(tmp_path: Path) -> None:
    SQLiteStore(tmp_path).claim("name")
    store = SQLiteStore(tmp_path)
    store.claim("name", 10)
    store.release("name")


def test_another_object_cannot_release_what_it_did_not_claim(tmp_path: Path) -> None:
    owner, other = SQLiteStore(tmp_path), SQLiteStore(tmp_path)
    owner.claim("name")
    other.release("name")
    with pytest.raises(UploadBusy):
        other.claim("name")
    owner.release("name")


def test_names_are_never_paths(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "state")
    for name in ("../../escaped", "", ".", "a/b", "☃", "x" * 5000):
        store.claim(name)
        with pytest.raises(UploadBusy):
            SQLiteStore(tmp_path / "state").claim(name)
        store.release(name)
    assert [each.name for each in tmp_path.iterdir()] == ["state"]


def test_pruning_sweeps_old_lock_files_that_nobody_holds_or_needs(
    tmp_path: Path,
) -> None:
    store, other = SQLiteStore(tmp_path), SQLiteStore(tmp_path)
    store.claim("free")
    store.release("free")
    store.claim("held")
    store.prune(0)
    locks = tmp_path / "locks"
    assert {each.name for each in locks.glob("*.lock")} == {"free.lock", "held.lock"}
    store.prune(1e12)
    assert {each.name for each in locks.glob("*.lock")} == {"held.lock"}
    with pytest.raises(UploadBusy):
        other.claim("held")
    store.release("held")


def test_a_soft_lock_says_which_file_to_remove(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path, lock_class=SoftFileLock)
    script = _OWN.replace("store.", "filelock_store.").replace(
        "filelock_store.claim",
        "from filelock import SoftFileLock\n"
        "filelock_store = SQLiteStore(directory, lock_class=SoftFileLock)\n"
        "filelock_store.claim",
    )
    with child(script, tmp_path) as owner:
        assert heard(owner) == "claimed"
        with pytest.raises(UploadBusy, match=r"if it is gone, remove .*name\.lock"):
            store.claim("name")


def test_locks_that_cannot_be_made_are_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = SQLiteStore(tmp_path / "file" / "below")
    with pytest.raises(StoreError, match="store=None"):
        store.claim("name")
    with pytest.raises(StoreError, match="POSTER_RESUME_STATE"):
        store.claim("name")


def test_two_memory_stores_know_nothing_of_each_other() -> None:
    one, two = MemoryStore(), MemoryStore()
    one.claim("name")
    two.claim("name")
