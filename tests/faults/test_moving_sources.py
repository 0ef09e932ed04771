"""Files that move under an upload: changed, gone, or on a disk that fails."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
import tenacity

from poster_resume import (
    AsyncResumableUpload,
    Event,
    Outcome,
    ResumableUpload,
    RetryPolicy,
    SourceChanged,
    SourceError,
    UploadError,
    client,
)
from poster_resume.testing import Cut, Link, Receiver, Refuse, Throttle

from .cutting import DRIVERS, SPEECHES, Driver
from .report import Figures, record

#: Larger than what the kernel takes at once, so that a change comes in time.
SIZE = 12_000_000
_CHUNK = 5_000_000

Phase = Literal["before", "between", "during", "last", "process"]
PHASES: tuple[Phase, ...] = ("before", "between", "during", "last", "process")


def _truncated(file: Path) -> None:
    os.truncate(file, SIZE // 4)


def _grown(file: Path) -> None:
    with file.open("ab") as handle:
        handle.write(b"more")


def _rewritten(file: Path) -> None:
    with file.open("r+b") as handle:
        handle.seek(SIZE - 1000)
        handle.write(b"other" * 20)


def _replaced(file: Path) -> None:
    """Put another file in its place, of the same size and time."""
    before = file.stat()
    other = file.with_name("other")
    other.write_bytes(b"o" * before.st_size)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)


def _deleted(file: Path) -> None:
    file.unlink()


CHANGES = (_truncated, _grown, _rewritten, _replaced, _deleted)


@dataclass
class Scene:
    """A file, a state directory, and a receiver behind a link."""

    file: Path
    content: bytes
    state: Path
    receiver: Receiver
    link: Link

    def sent(
        self,
        speech: str,
        driver: Driver = "blocking",
        *,
        on_event: Callable[[Event], None] | None = None,
        on_change: Literal["raise", "restart"] = "raise",
        chunk_size: int | None = _CHUNK,
    ) -> Outcome | UploadError:
        """Send the file, and return how it went."""
        kind = SPEECHES[speech]
        given: dict[str, Any] = {
            "content": self.file,
            "protocol": kind.protocol(),
            "chunk_size": None if kind.chunk_size is None else chunk_size,
            "store": self.state,
            "retry": RetryPolicy(
                stop=tenacity.stop_after_attempt(4), wait=tenacity.wait_none(), settle=0
            ),
            "deadline": 30.0,
            "on_event": on_event,
            "on_change": on_change,
        }
        target = f"{self.link.url}/{kind.path}/moving"
        try:
            if driver == "blocking":
                with client() as http:
                    return ResumableUpload(target, client=http, **given).send()
            upload = AsyncResumableUpload(target, **given)
            return anyio.run(upload.send, backend=driver)
        except UploadError as error:
            return error


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    content = random.Random(5).randbytes(SIZE)
    file = tmp_path / "scan.bin"
    file.write_bytes(content)
    with Receiver() as receiver, Link(receiver.port) as link:
        yield Scene(file, content, tmp_path / "state", receiver, link)


def moving(
    scene: Scene,
    speech: str,
    driver: Driver,
    phase: Phase,
    change: Callable[[Path], None],
) -> Outcome | UploadError:
    """Send the file and *change* it in *phase*."""
    heard = {"before": ("planned", 1), "between": ("acknowledged", 1)}
    if phase == "process":
        scene.link.faults = itertools.chain(
            [Cut(4_000_000)], itertools.repeat(Refuse())
        )
        first = scene.sent(speech, driver)
        assert not isinstance(first, Outcome)
        scene.link.faults = ()
        change(scene.file)
        return scene.sent(speech, driver)
    if phase == "during":
        with changed_when(scene, 1_000_000, change):
            return scene.sent(speech, driver, chunk_size=None)
    kind, count = heard.get(phase, ("acknowledged", 2))
    events: list[Event] = []

    def on_event(event: Event) -> None:
        if event.kind == kind:
            events.append(event)
            if len(events) == count:
                change(scene.file)

    return scene.sent(speech, driver, on_event=on_event)


@contextlib.contextmanager
def changed_when(
    scene: Scene, received: int, change: Callable[[Path], None]
) -> Iterator[None]:
    """Change the file once so much has come in, with the rest of it still to go."""
    scene.link.faults = [Throttle(20_000_000, "up")] * 9

    def watch() -> None:
        scene.receiver.wait(lambda receiver: receiver.received >= received)
        change(scene.file)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def cases() -> list[object]:
    """Return each change in each phase that a way of sending has.

    By default each speech has one driver, and each phase its share of changes.
    """
    usual = {"rufh careful": "blocking", "tus": "asyncio", "oneshot": "trio"}
    listed: list[object] = []
    for speech, driver, phase in itertools.product(usual, DRIVERS, PHASES):
        if speech == "oneshot" and phase in ("between", "last", "process"):
            continue  # it has one piece, and nothing of it is kept
        for change in CHANGES:
            now = usual[speech] == driver and len(listed) % 3 == 0
            marks = [] if now else [pytest.mark.long]
            listed.append(pytest.param(speech, driver, phase, change, marks=marks))
    return listed


@pytest.mark.parametrize(("speech", "driver", "phase", "change"), cases())
def test_a_file_that_moves_is_named_and_never_delivered(
    scene: Scene,
    speech: str,
    driver: Driver,
    phase: Phase,
    change: Callable[[Path], None],
) -> None:
    result = moving(scene, speech, driver, phase, change)
    told = isinstance(result, SourceError) and str(scene.file) in str(result)
    deliveries = scene.receiver.deliveries
    wrong = [d for d in deliveries if d.read() != scene.content]
    record(
        Figures(
            f"source {change.__name__.strip('_')}",
            1,
            told=told,
            lost=bool(wrong) or not told,
            duplicated=len(deliveries) > 1,
        )
    )
    assert told, result
    assert deliveries == []


@pytest.mark.parametrize("speech", ["rufh careful", "tus"])
def test_after_a_change_the_new_file_can_be_sent(scene: Scene, speech: str) -> None:
    error = moving(scene, speech, "blocking", "process", _replaced)
    assert isinstance(error, SourceChanged)
    assert error.resumable
    outcome = scene.sent(speech, on_change="restart")
    assert isinstance(outcome, Outcome), outcome
    assert scene.receiver.delivery().read() == scene.file.read_bytes()


@pytest.mark.parametrize("speech", ["rufh careful", "tus", "oneshot"])
def test_a_file_that_comes_back_is_resumed(scene: Scene, speech: str) -> None:
    """A disk that was away for a moment: same file, same inode."""
    away = scene.file.with_name("away")

    def move(file: Path) -> None:
        file.rename(away)

    error = moving(scene, speech, "blocking", "before", move)
    assert isinstance(error, SourceError), error
    away.rename(scene.file)
    outcome = scene.sent(speech)
    assert isinstance(outcome, Outcome), outcome
    assert scene.receiver.delivery().read() == scene.content


FAILING_DISK = """
import errno, os, sys
import mfusepy

class Disk(mfusepy.Operations):
    def __init__(self, backing, failing, bad):
        self.backing, self.failing, self.bad = backing, failing, bad

    def getattr(self, path, fh=None):
        if path == "/":
            return {"st_mode": 0o40755, "st_nlink": 2}
        if path != "/scan.bin":
            raise mfusepy.FuseOSError(errno.ENOENT)
        found = os.stat(self.backing)
        return {"st_mode": 0o100644, "st_nlink": 1, "st_size": found.st_size,
                "st_mtime": 1_600_000_000, "st_ino": 7}

    def readdir(self, path, fh):
        return [".", "..", "scan.bin"]

    def read(self, path, size, offset, fh):
        if os.path.exists(self.failing) and offset + size > self.bad:
            raise mfusepy.FuseOSError(errno.EIO)
        with open(self.backing, "rb") as file:
            file.seek(offset)
            return file.read(size)

mfusepy.FUSE(Disk(sys.argv[2], sys.argv[3], int(sys.argv[4])), sys.argv[1],
             foreground=True, nothreads=True, direct_io=True, ro=True)
"""


@pytest.fixture
def failing(scene: Scene, tmp_path: Path) -> Iterator[Path]:
    """Move the file to a disk whose second half fails as long as a file exists."""
    try:
        importlib.import_module("mfusepy")
    except (ImportError, OSError) as missing:  # the package, or the library
        pytest.skip(f"no FUSE here: {missing}")
    mount, flag = tmp_path / "disk", tmp_path / "failing"
    mount.mkdir()
    backing = scene.file
    command = [sys.executable, "-c", FAILING_DISK, mount, backing, flag, SIZE // 2]
    process = subprocess.Popen(
        [str(word) for word in command], stderr=subprocess.PIPE, text=True
    )
    try:
        for _ in range(200):
            if os.path.ismount(mount) or process.poll() is not None:
                break
            time.sleep(0.02)
        if not os.path.ismount(mount):
            process.kill()
            pytest.skip(f"nothing can be mounted: {process.communicate()[1][-200:]}")
        scene.file = mount / "scan.bin"
        flag.touch()
        yield flag
    finally:
        for unmount in ("fusermount3", "fusermount", "umount"):
            if shutil.which(unmount):
                flags = ["-u", "-z"] if "fuser" in unmount else ["-l"]
                subprocess.run([unmount, *flags, str(mount)], check=False)
                break
        process.kill()
        process.communicate()


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("speech", ["rufh careful", "tus", "oneshot"])
def test_a_disk_that_fails_in_the_middle_of_a_read_is_an_error_and_loses_nothing(
    scene: Scene, failing: Path, speech: str, driver: Driver
) -> None:
    error = scene.sent(speech, driver)
    told = isinstance(error, SourceError) and str(scene.file) in str(error)
    assert told, error
    assert scene.receiver.deliveries == []
    failing.unlink()
    outcome = scene.sent(speech, driver)
    fine = isinstance(outcome, Outcome)
    deliveries = scene.receiver.deliveries
    wrong = [d for d in deliveries if d.read() != scene.content]
    record(
        Figures(
            "disk fails in the middle of a read",
            1,
            lost=bool(wrong) or not fine,
            duplicated=len(deliveries) > 1,
        )
    )
    assert fine, outcome
    assert not wrong
    assert len(deliveries) == 1
