"""Sources: random access to bytes that must be the planned ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from poster_resume.errors import InvalidParameter, SourceChanged, SourceError
from poster_resume.plan import plan_content, restore
from poster_resume.records import SameFile
from poster_resume.sources import (
    SOURCES,
    FileSource,
    HandleSource,
    MemorySource,
    SeekableSource,
    Source,
    spooled,
)
from poster_resume.sources.descriptors import SHARED, Descriptors
from poster_resume.sources.states import FileState
from poster_resume.testing.contracts import check_source

CONTENT = bytes(range(256)) * 5


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture(params=["pread", "lseek"])
def reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read with what POSIX has, and with what is everywhere."""
    if request.param == "lseek":
        monkeypatch.delattr(os, "pread", raising=False)
        monkeypatch.delattr(os, "preadv", raising=False)
    elif not hasattr(os, "pread"):
        pytest.skip("this system has no pread")


def source_of(
    path: Path,
    *,
    offset: int = 0,
    length: int | None = None,
    same_file: SameFile = "strict",
    sha256: str | None = None,
    pool: Descriptors | None = None,
) -> FileSource:
    return FileSource(
        str(path),
        FileState.of(path.stat()),
        offset=offset,
        length=length,
        same_file=same_file,
        sha256=sha256,
        pool=pool or SHARED,
    )


@pytest.mark.parametrize("size", [0, 1, 1000, 70_000])
def test_bytes_in_memory_keep_the_promises(size: int) -> None:
    content = os.urandom(size)
    check_source(lambda: MemorySource(content), content)


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("offset", [0, 1, 1279, 1280])
def test_files_keep_the_promises(file: Path, offset: int) -> None:
    check_source(lambda: source_of(file, offset=offset), CONTENT[offset:])
    check_source(lambda: source_of(file, offset=offset, length=0), b"")


@pytest.mark.usefixtures("reading")
def test_a_part_of_a_file_keeps_the_promises(file: Path) -> None:
    check_source(lambda: source_of(file, offset=7, length=500), CONTENT[7:507])


@pytest.mark.usefixtures("reading")
def test_files_without_a_path_keep_the_promises() -> None:
    with tempfile.TemporaryFile() as temporary:
        temporary.write(CONTENT)
        temporary.flush()
        temporary.seek(9)
        fd = temporary.fileno()
        check_source(lambda: HandleSource(fd, "it", offset=3, length=50), CONTENT[3:53])
        check_source(lambda: HandleSource(fd, "it", offset=100), CONTENT[100:])
        assert temporary.tell() == 9
        assert os.lseek(fd, 0, os.SEEK_CUR) == 9


def test_objects_that_seek_keep_the_promises() -> None:
    packed = gzip.compress(CONTENT)
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as unpacked:
        unpacked.seek(11)
        check_source(lambda: SeekableSource(unpacked, "gz", offset=5), CONTENT[5:])
        check_source(
            lambda: SeekableSource(unpacked, "gz", offset=5, length=9), CONTENT[5:14]
        )
        assert unpacked.tell() == 11
    with pytest.raises(SourceError, match="gz cannot be measured"):
        SeekableSource(unpacked, "gz", offset=0)


def test_an_object_that_seeks_may_fail_or_change() -> None:
    held = io.BytesIO(CONTENT)
    source = SeekableSource(held, "held", offset=0)
    held.truncate(10)
    with pytest.raises(SourceChanged, match=r"held .*ended at byte 10, 1280 were"):
        source.read_at(0, 20)
    with pytest.raises(SourceChanged, match=r"held .*has 10 bytes, not 1280"):
        source.check()
    held.close()
    with pytest.raises(SourceError, match="held cannot be read"):
        source.read_at(0, 1)


def test_spooled_streams_keep_the_promises(tmp_path: Path) -> None:
    def make() -> Source:
        return spooled(io.BytesIO(CONTENT).read, tmp_path / "new" / "spool", what="s")

    check_source(make, CONTENT)
    files = list((tmp_path / "new" / "spool").iterdir())
    assert files
    if os.name == "posix":
        assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
        assert stat.S_IMODE((tmp_path / "new" / "spool").stat().st_mode) == 0o700


def test_a_spool_reads_no_more_than_it_shall(tmp_path: Path) -> None:
    stream = io.BytesIO(CONTENT)
    source = spooled(stream.read, tmp_path, what="s", length=10)
    assert source.read_at(0, 20) == CONTENT[:10]
    assert stream.tell() == 10
    source.close()


@pytest.mark.parametrize(
    ("read", "limits", "error", "message"),
    [
        (io.BytesIO(b"x" * 11).read, {"limit": 10}, InvalidParameter, "spool_limit"),
        (io.BytesIO(b"x" * 9).read, {"length": 10}, InvalidParameter, "9 bytes, not"),
        (io.StringIO("text").read, {}, InvalidParameter, "yields str, not bytes"),
        (lambda size: None, {}, InvalidParameter, "yields NoneType, not bytes"),
    ],
)
def test_a_spool_that_fails_leaves_nothing(
    tmp_path: Path,
    read: Callable[[int], object],
    limits: dict[str, int],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=f"^what: .*{message}"):
        spooled(read, tmp_path, what="what", **limits)
    assert list(tmp_path.iterdir()) == []


def test_what_fits_the_limit_exactly_is_spooled(tmp_path: Path) -> None:
    with_limit = spooled(io.BytesIO(b"x" * 10).read, tmp_path, what="s", limit=10)
    assert with_limit.length == 10


def test_a_full_disk_is_said_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=16 * 1024 * 1024 + 5)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(SourceError, match="s: no room to spool it in"):
        spooled(io.BytesIO(b"x" * 6).read, tmp_path, what="s")
    assert list(tmp_path.iterdir()) == []
    assert spooled(io.BytesIO(b"x" * 5).read, tmp_path, what="s").length == 5


def test_a_stream_that_breaks_is_an_error(tmp_path: Path) -> None:
    def read(size: int) -> bytes:
        raise ConnectionResetError(104, "reset")

    with pytest.raises(SourceError, match="s: cannot be spooled: reset"):
        spooled(read, tmp_path, what="s")
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match=r"s: cannot spool in .*name a directory"):
        spooled(read, tmp_path / "file", what="s")


def rewritten(path: Path, content: bytes) -> None:
    """Write *content* over the file, without a change of its mtime or inode."""
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def shrunk(path: Path) -> None:
    rewritten(path, CONTENT[:-1])


def grown(path: Path) -> None:
    rewritten(path, CONTENT + b"x")


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def replaced(path: Path) -> None:
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(CONTENT)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, path)


def vanished(path: Path) -> None:
    path.unlink()


def turned_into_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES = [
    (shrunk, "shrunk from 1280 to 1279 bytes"),
    (grown, "grown from 1280 to 1281 bytes"),
    (touched, "modified"),
    (replaced, "replaced by another file .*inode"),
    (vanished, "vanished"),
    (turned_into_a_directory, "no longer a regular file"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_a_file_that_changed_is_noticed_when_opened_and_checked(
    file: Path, change: Callable[[Path], None], message: str
) -> None:
    source = source_of(file)
    change(file)
    record = source.record()
    for attempt in (
        source.check,
        lambda: source.read_at(0, 1),
        lambda: source.read_into(0, memoryview(bytearray(1))),
        lambda: source.descriptor().__enter__(),
        lambda: SOURCES["file"](record).check(),
    ):
        with pytest.raises(SourceChanged, match=f"file is not .*: it .*{message}"):
            attempt()


def test_a_lent_descriptor_was_compared_anew(file: Path) -> None:
    source = source_of(file)
    source.read_at(0, 1)
    touched(file)
    with pytest.raises(SourceChanged, match="modified"), source.descriptor():
        pass
    source.close()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_in_a_files_place_does_not_block(file: Path) -> None:
    source = source_of(file)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(SourceChanged, match="no longer a regular file"):
        source.read_at(0, 1)


def test_without_the_inode_a_copy_is_the_same_file(file: Path) -> None:
    strict, relaxed = source_of(file), source_of(file, same_file="size+mtime")
    replaced(file)
    relaxed.check()
    assert relaxed.read_at(0, 9) == CONTENT[:9]
    assert relaxed.validator != strict.validator
    touched(file)
    with pytest.raises(SourceChanged, match="modified"):
        relaxed.check()
    relaxed.close()


def by_content(file: Path, offset: int = 0) -> FileSource:
    digest = hashlib.sha256(CONTENT[offset:]).hexdigest()
    return source_of(file, offset=offset, same_file="sha256", sha256=digest)


def test_by_content_only_other_bytes_are_another_file(file: Path) -> None:
    source = by_content(file, offset=5)
    for change in (touched, replaced):
        change(file)
        source.check()
        assert source.read_at(0, 9) == CONTENT[5:14]
    file.write_bytes(b"other" + CONTENT[5:])
    source.check()  # the bytes before the offset are none of its own
    file.write_bytes(CONTENT[:-1] + b"x")
    for attempt in (source.check, lambda: source.read_at(0, 1)):
        with pytest.raises(SourceChanged, match="its content is another"):
            attempt()
    shrunk(file)
    with pytest.raises(SourceChanged, match="shrunk"):
        source.check()


def test_by_content_a_restored_file_is_read_even_if_it_looks_the_same(
    file: Path,
) -> None:
    record = by_content(file).record()
    rewritten(file, CONTENT[:-1] + b"x")
    with pytest.raises(SourceChanged, match="its content is another"):
        SOURCES["file"](record).check()
    rewritten(file, CONTENT)
    SOURCES["file"](record).check()


@pytest.mark.usefixtures("reading")
def test_a_file_that_ends_while_it_is_read_is_an_error_with_the_offset(
    file: Path,
) -> None:
    source = source_of(file, offset=100)
    source.read_at(0, 1)
    os.truncate(file, 600)
    with pytest.raises(SourceChanged, match=r"file .*ended at byte 600, 1280 were"):
        source.read_at(400, 200)
    with pytest.raises(SourceChanged, match=r"file .*ended at byte 600, 1280 were"):
        source.read_into(400, memoryview(bytearray(200)))
    source.close()


def test_an_open_file_without_a_path_that_changes_is_noticed() -> None:
    with tempfile.TemporaryFile() as temporary:
        temporary.write(CONTENT)
        temporary.flush()
        source = HandleSource(temporary.fileno(), "it")
        os.truncate(temporary.fileno(), 600)
        with pytest.raises(SourceChanged, match=r"it .*ended at byte 600, 1280 were"):
            source.read_at(500, 200)
        with pytest.raises(SourceChanged, match=r"it .*ended at byte 600, 1280 were"):
            source.read_into(500, memoryview(bytearray(200)))
        with pytest.raises(SourceChanged, match=r"it .*shrunk from 1280 to 600"):
            source.check()
        source.close()
        with pytest.raises(SourceError, match="it was closed with its plan"):
            source.read_at(0, 1)


def test_a_file_that_may_not_be_read_is_an_error(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    source = source_of(file)
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(SourceError, match="file cannot be opened: Permission denied"):
        source.read_at(0, 1)


def test_a_disk_that_fails_is_an_error(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> bytes:
        raise OSError(5, "Input/output error")

    source, handle = source_of(file), HandleSource(os.open(file, os.O_RDONLY), "it")
    monkeypatch.setattr(os, "pread", broken, raising=False)
    monkeypatch.setattr(os, "preadv", broken, raising=False)
    for each in (source, handle):
        with pytest.raises(SourceError, match="cannot be read: Input/output error"):
            each.read_at(0, 1)
        with pytest.raises(SourceError, match="cannot be read: Input/output error"):
            each.read_into(0, memoryview(bytearray(1)))
        each.close()


def test_a_disk_that_fails_while_a_file_is_told_by_its_content_is_an_error(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> bytes:
        raise OSError(5, "Input/output error")

    record = plan_content(file, same_file="sha256").record()
    assert record is not None
    monkeypatch.setattr(os, "pread", broken, raising=False)
    monkeypatch.setattr(os, "read", broken)
    said = "file cannot be read: .*; .* try again"
    with pytest.raises(SourceError, match=said):
        plan_content(file, same_file="sha256")
    with pytest.raises(SourceError, match=said):
        restore(record)


def test_a_kernel_that_returns_less_than_asked_is_asked_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(os, "pread"):
        pytest.skip("this system has no pread")
    pread, preadv = os.pread, os.preadv
    monkeypatch.setattr(os, "pread", lambda fd, n, at: pread(fd, min(n, 100), at))
    monkeypatch.setattr(os, "preadv", lambda fd, b, at: preadv(fd, [b[0][:100]], at))
    check_source(lambda: source_of(file, offset=3), CONTENT[3:])


@pytest.mark.parametrize(
    "changes", [{"path": None}, {"size": None}, {"offset": 1}, {"inode": None}]
)
def test_a_damaged_record_is_an_error(file: Path, changes: dict[str, object]) -> None:
    record = source_of(file).record().model_copy(update=changes)
    with pytest.raises(SourceError, match="damaged"):
        SOURCES["file"](record)


def test_long_values_are_kept_by_their_digest_only() -> None:
    assert MemorySource(b"x" * 65536).record().data == b"x" * 65536
    record = MemorySource(b"x" * 65537).record()
    assert record.data is None
    with pytest.raises(InvalidParameter, match=r"65537 bytes is not kept.*same params"):
        SOURCES["memory"](record)


def open_descriptors() -> set[int]:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("descriptors can be counted on Linux only")
    return {int(each) for each in os.listdir("/proc/self/fd")}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / str(n) for n in range(100)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def test_many_files_have_few_descriptors(files: list[Path]) -> None:
    before = len(open_descriptors())
    pool = Descriptors(8)
    sources = [source_of(path, pool=pool) for path in files]
    assert len(open_descriptors()) == before
    for _ in range(2):
        for path, source in zip(files, sources, strict=True):
            assert source.read_at(0, 9) == path.name.encode()
            assert len(open_descriptors()) <= before + 8
    assert len(open_descriptors()) == before + 8
    for source in sources:
        source.close()
    assert len(open_descriptors()) == before


def test_the_file_used_last_stays_open(files: list[Path]) -> None:
    pool = Descriptors(2)
    first, *others = (source_of(path, pool=pool) for path in files[:5])
    first.read_at(0, 1)
    files[0].unlink()
    for source in others:
        source.read_at(0, 1)
        assert first.read_at(0, 1) == b"0"  # opening it anew would fail
    others[0].read_at(0, 1)
    others[1].read_at(0, 1)
    with pytest.raises(SourceChanged, match="vanished"):
        first.read_at(0, 1)
    for source in (first, *others):
        source.close()


def test_lent_descriptors_are_never_taken_away(files: list[Path]) -> None:
    before = len(open_descriptors())
    pool = Descriptors(2)
    sources = [source_of(path, pool=pool) for path in files[:10]]
    with ExitStack() as stack:
        lent = [stack.enter_context(source.descriptor()) for source in sources]
        for number, fd in enumerate(lent):
            sources[number].close()
            assert os.pread(fd, 9, 0) == str(number).encode()
    assert len(open_descriptors()) <= before + 2
    for source in sources:
        source.close()
    assert len(open_descriptors()) == before


def test_forgotten_sources_leave_nothing_open(file: Path) -> None:
    before = open_descriptors()
    source = source_of(file)
    source.read_at(0, 1)
    handle = HandleSource(os.open(file, os.O_RDONLY), "it")
    assert len(open_descriptors()) == len(before) + 3
    del source, handle
    assert len(open_descriptors()) == len(before) + 1


def test_a_program_that_has_used_up_its_descriptors_can_read(files: list[Path]) -> None:
    script = """
import os, resource, sys
from poster_resume.errors import SourceError
from poster_resume.sources import FileSource
from poster_resume.sources.states import FileState
sources = [FileSource(p, FileState.of(os.stat(p))) for p in sys.argv[1:]]
for source in sources[:30]:
    source.read_at(0, 1)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 1,) * 2)
for source in sources:
    assert source.read_at(0, 9) == os.path.basename(source.path).encode()
for source in sources:
    source.close()
held = []
try:
    while True:
        held.append(os.open(sys.argv[1], os.O_RDONLY))
except OSError:
    pass
try:
    sources[0].read_at(0, 1)
except SourceError as exc:
    assert "cannot open one more file" in str(exc)
    print("said")
"""
    open_descriptors()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("said\n", "")


@pytest.mark.usefixtures("reading")
def test_threads_share_few_descriptors_and_get_their_own_bytes(
    files: list[Path],
) -> None:
    pool = Descriptors(3)
    sources = [source_of(path, pool=pool) for path in files]
    wrong: list[str] = []

    def read(step: int) -> None:
        for number in range(0, 3000, step):
            source = sources[number % 100]
            if source.read_at(0, 9) != str(number % 100).encode():
                wrong.append(source.name)

    threads = [threading.Thread(target=read, args=(step,)) for step in (1, 3, 7, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    for source in sources:
        source.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_reads_what_its_parent_had_open(file: Path) -> None:
    script = """
import os, sys, threading
from poster_resume.sources import FileSource, descriptors
from poster_resume.sources.states import FileState
source = FileSource(sys.argv[1], FileState.of(os.stat(sys.argv[1])))
source.read_at(0, 1)
inside, done = threading.Event(), threading.Event()
def slowly():
    inside.set(); done.wait(60); raise FileNotFoundError
def other():
    try:
        with descriptors.SHARED.lend("other", slowly): pass
    except FileNotFoundError: pass
thread = threading.Thread(target=other); thread.start(); inside.wait()
pid = os.fork()
if not pid:
    os._exit(source.read_at(0, 3) != bytes(range(3)))
done.set(); thread.join()
print(os.waitpid(pid, 0)[1]); source.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    # Python 3.12 and later warn of any fork beside a thread.
    assert done.stdout == "0\n", done.stderr


def test_a_name_that_is_no_text_can_be_printed(tmp_path: Path) -> None:
    source = FileSource(os.fsdecode(b"/a/\xff"), FileState(0, 0, 0))
    assert source.name == "/a/\\xff"
