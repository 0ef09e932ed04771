"""Files that move under an upload: changed, gone, or on a disk that fails.

Whatever becomes of a file, and whenever: the error names it and the remedy, the
server takes nothing for complete that was not planned, and once the file is put
back, the same upload ends, once and right.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import random
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx
import pytest
import tenacity

from poster_resume import (
    AsyncResumableUpload,
    Event,
    Outcome,
    OutcomeUnknown,
    ResumableUpload,
    RetryPolicy,
    SourceChanged,
    SourceError,
    UploadError,
    async_client,
    client,
)
from poster_resume.records import SameFile
from poster_resume.stores import SQLiteStore
from poster_resume.testing import Cut, Link, Receiver, Refuse, Rule, Throttle
from poster_resume.transport import Kernel
from tests.poster_resume.transport.peers import client_context, server_context

from .cutting import DRIVERS, SPEECHES, Driver
from .effort import SEED
from .report import Figures, record

#: Larger than what the kernel takes at once, so that a change comes in time.
SIZE = 12_000_000
_CHUNK = 5_000_000

#: When the file changes: once it was planned, while its bytes go out, between two
#: attempts of one call, between two appends, before the last one, when all bytes
#: have arrived and no answer has, and between two processes.
Phase = Literal["planned", "during", "between", "appended", "last", "answer", "process"]
PHASES: tuple[Phase, ...] = (
    "planned",
    "during",
    "between",
    "appended",
    "last",
    "answer",
    "process",
)
#: How a file is read: by the kernel, into a buffer, by blocks, or by others.
Reading = Literal["sendfile", "preadv", "pread", "tls", "foreign"]
READINGS: tuple[Reading, ...] = ("sendfile", "preadv", "pread", "tls", "foreign")


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


def _failing(file: Path) -> None:
    """Have the disk fail that the file is on."""
    (file.parents[1] / "failing").touch()


Change = Callable[[Path], None]
CHANGES: tuple[Change, ...] = (_truncated, _grown, _rewritten, _replaced, _deleted)


@dataclass
class Scene:
    """A file, a state directory, and a receiver behind a link.

    *kept* is a second name of the file, by which it can be had again.
    """

    file: Path
    kept: Path
    content: bytes
    state: Path
    receiver: Receiver
    link: Link
    scheme: str = "http"

    def __post_init__(self) -> None:
        self._status = self.file.stat()
        os.link(self.file, self.kept)

    def put_back(self) -> None:
        """Make the file what it was, and where; have its disk work again."""
        (self.kept.parent / "failing").unlink(missing_ok=True)
        if self.file.parent != self.kept.parent:
            return
        with self.kept.open("r+b") as handle:
            handle.write(self.content)
            handle.truncate()
        times = self._status.st_atime_ns, self._status.st_mtime_ns
        os.utime(self.kept, ns=times)
        # Renaming one name of a file to another one of it does nothing.
        self.file.unlink(missing_ok=True)
        self.kept.replace(self.file)

    def sent(
        self,
        speech: str,
        driver: Driver = "blocking",
        *,
        on_event: Callable[[Event], None] | None = None,
        on_change: Literal["raise", "restart"] = "raise",
        chunk_size: int | None = _CHUNK,
        reading: Reading = "sendfile",
        same_file: SameFile = "strict",
        assume: Literal["complete", "lost"] | None = None,
    ) -> Outcome | UploadError:
        """Send the file over the state as a new process finds it; tell how it went."""
        kind = SPEECHES[speech]
        given: dict[str, Any] = {
            "content": self.file,
            "protocol": kind.protocol(),
            "chunk_size": None if kind.chunk_size is None else chunk_size,
            "retry": RetryPolicy(
                stop=tenacity.stop_after_attempt(4), wait=tenacity.wait_none(), settle=0
            ),
            "deadline": 30.0,
            "on_event": on_event,
            "on_change": on_change,
            "same_file": same_file,
        }
        target = f"{self.scheme}{self.link.url.removeprefix('http')}/{kind.path}/moving"
        context = client_context() if self.scheme == "https" else _NO_TLS

        async def awaited() -> Outcome:
            async with _reading(
                reading,
                httpx.AsyncClient if reading == "foreign" else async_client,
                context,
            ) as http:
                upload = AsyncResumableUpload(target, client=http, **given)
                return await upload.send(assume=assume)

        with closing(SQLiteStore(self.state)) as given["store"]:
            try:
                if driver != "blocking":
                    return anyio.run(awaited, backend=driver)
                with _reading(
                    reading, httpx.Client if reading == "foreign" else client, context
                ) as http:
                    upload = ResumableUpload(target, client=http, **given)
                    return upload.send(assume=assume)
            except UploadError as error:
                return error


# Loopback is not encrypted, and reading certificates takes longer than a case.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_KERNELS = {
    "preadv": Kernel(sendfile=False),
    "pread": Kernel(sendfile=False, preadv=False, nowait=False),
}


def _reading(reading: Reading, build: Callable[..., Any], context: object) -> Any:
    http = build(verify=context, trust_env=False)
    if reading in _KERNELS:
        http._transport._kernel = _KERNELS[reading]
    return http


@contextlib.contextmanager
def staged(directory: Path, *, tls: bool = False) -> Iterator[Scene]:
    content = random.Random(SEED).randbytes(SIZE)
    file = directory / "scan.bin"
    file.write_bytes(content)
    context = server_context() if tls else None
    with Receiver(tls=context) as receiver, Link(receiver.port) as link:
        yield Scene(
            file,
            directory / "kept",
            content,
            directory / "state",
            receiver,
            link,
            "https" if tls else "http",
        )


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with staged(tmp_path) as scene:
        yield scene


def moving(
    scene: Scene,
    speech: str,
    driver: Driver,
    phase: Phase,
    change: Change,
    *,
    same_file: SameFile = "strict",
) -> Outcome | UploadError:
    """Send the file and *change* it in *phase*."""
    match phase:
        case "process":
            scene.link.faults = itertools.chain(
                [Cut(4_000_000)], itertools.repeat(Refuse())
            )
            first = scene.sent(speech, driver, same_file=same_file)
            assert isinstance(first, UploadError)
            scene.link.faults = ()
            change(scene.file)
            return scene.sent(speech, driver, same_file=same_file)
        case "during":
            scene.link.faults = [Throttle(20_000_000, "up")] * 9
            with changed_when(scene, 1_000_000, change):
                return scene.sent(speech, driver, chunk_size=None)
        case "answer":
            scene.receiver.script(Rule(completing=True, ending="drop", delay=0.1))
            with changed_when(scene, SIZE, change):
                return scene.sent(speech, driver)
        case "between":
            if speech == "oneshot":  # cut midway, it would have no second attempt
                scene.link.stop_accepting()
            scene.link.faults = [] if speech == "oneshot" else [Cut(4_000_000)]
        case "planned" | "appended" | "last":
            pass
    kind, count = {
        "planned": ("planned", 1),
        "between": ("interrupted", 1),
        "appended": ("acknowledged", 1),
        "last": ("acknowledged", 2),
    }[phase]
    events: list[Event] = []

    def on_event(event: Event) -> None:
        if event.kind == kind:
            events.append(event)
            if len(events) == count:
                change(scene.file)
                scene.link.accept_again()

    result = scene.sent(speech, driver, on_event=on_event)
    assert len(events) >= count
    return result


@contextlib.contextmanager
def changed_when(scene: Scene, received: int, change: Change) -> Iterator[None]:
    """Change the file once so much has come in."""

    def watch() -> None:
        scene.receiver.wait(lambda receiver: receiver.received >= received)
        change(scene.file)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def cases(changes: tuple[Change, ...]) -> list[object]:
    """Return each change in each phase that a way of sending has.

    By default each phase meets its share of the changes, one way of sending each.
    """
    ways = list(itertools.product(("rufh careful", "tus", "oneshot"), DRIVERS))
    turn = itertools.count()
    listed: list[object] = []
    for (at, phase), (number, change) in itertools.product(
        enumerate(PHASES), enumerate(changes)
    ):
        able = [
            (speech, driver)
            for speech, driver in ways
            if speech != "oneshot" or phase not in ("appended", "last")
        ]
        now = (at + number) % 3 == 0
        usual = able[next(turn) * 4 % len(able)] if now else None
        for way in able:
            marks = [] if way == usual else [pytest.mark.long]
            listed.append(pytest.param(*way, phase, change, marks=marks))
    return listed


def is_told(scene: Scene, result: object) -> bool:
    """Whether *result* is the error that names the file and the remedy."""
    return (
        isinstance(result, SourceError)
        and result.resumable
        and str(scene.file) in str(result)
        and any(remedy in str(result) for remedy in ("bring it back", "try again"))
    )


def judge(
    scene: Scene,
    speech: str,
    driver: Driver,
    fault: str,
    result: Outcome | UploadError,
    **options: Any,
) -> None:
    """Judge an upload whose file moved: now, and once the file is put back."""
    told = is_told(scene, result)
    early = scene.receiver.deliveries
    if told:
        scene.link.faults = ()
        scene.put_back()
        result = scene.sent(speech, driver, **options)
    deliveries, uploads = scene.receiver.deliveries, scene.receiver.uploads
    wrong = [d for d in deliveries if d.read() != scene.content]
    again = speech != "oneshot" and (
        len(uploads) > 1 or any(u.lowest_resent is not None for u in uploads)
    )
    arrived = isinstance(result, Outcome) and len(deliveries) == 1
    tally = Figures(
        fault,
        1,
        told=told,
        lost=not again
        and len(deliveries) < 2
        and (bool(wrong) or not arrived or (told and bool(early))),
        duplicated=len(deliveries) > 1 or again,
        # What a plain request sends again after an error is all of it, as told.
        resent=sum(u.sent_twice for u in uploads) if speech != "oneshot" else None,
    )
    record(tally)
    assert tally.clean, (tally, result)


def judge_answerless(
    scene: Scene,
    speech: str,
    driver: Driver,
    fault: str,
    result: Outcome | UploadError,
) -> None:
    """Judge an upload that had arrived whole when its file moved."""
    unknown = speech == "oneshot" and isinstance(result, OutcomeUnknown)
    if unknown:
        scene.put_back()
        result = scene.sent(speech, driver, assume="complete")
    deliveries = scene.receiver.deliveries
    wrong = [d for d in deliveries if d.read() != scene.content]
    tally = Figures(
        fault,
        1,
        told=unknown,
        lost=bool(wrong) or not deliveries or not isinstance(result, Outcome),
        duplicated=len(deliveries) > 1,
    )
    record(tally)
    assert tally.clean, (tally, result)


@pytest.mark.parametrize(("speech", "driver", "phase", "change"), cases(CHANGES))
def test_a_file_that_moves_is_named_and_sent_right_once_it_is_back(
    scene: Scene, speech: str, driver: Driver, phase: Phase, change: Change
) -> None:
    moved(scene, speech, driver, phase, change)


def moved(
    scene: Scene, speech: str, driver: Driver, phase: Phase, change: Change
) -> None:
    fault = f"source {change.__name__.strip('_')}, {speech}"
    result = moving(scene, speech, driver, phase, change)
    if phase == "answer":
        judge_answerless(scene, speech, driver, fault, result)
        return
    assert is_told(scene, result), result
    judge(scene, speech, driver, fault, result)


@pytest.mark.parametrize("speech", ["rufh careful", "tus"])
def test_after_a_change_the_new_file_can_be_sent(scene: Scene, speech: str) -> None:
    error = moving(scene, speech, "blocking", "process", _replaced)
    assert isinstance(error, SourceChanged)
    assert error.resumable
    outcome = scene.sent(speech, on_change="restart")
    assert isinstance(outcome, Outcome), outcome
    assert scene.receiver.delivery().read() == scene.file.read_bytes()


def _rewritten_in_secret(file: Path) -> None:
    """Rewrite it and restore its times, as ``touch -r`` does."""
    before = file.stat()
    _rewritten(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_rewritten_file_whose_time_was_restored_is_told_by_its_content(
    scene: Scene, driver: Driver
) -> None:
    """Nothing but the content tells: that is what ``same_file="sha256"`` is for."""
    error = moving(
        scene, "tus", driver, "process", _rewritten_in_secret, same_file="sha256"
    )
    assert is_told(scene, error), error
    assert "SHA-256" in str(error)
    judge(
        scene,
        "tus",
        driver,
        "source rewritten, time restored",
        error,
        same_file="sha256",
    )


def test_without_its_content_a_file_whose_time_was_restored_counts_as_the_same(
    scene: Scene,
) -> None:
    """The limit that the page of guarantees states."""
    outcome = moving(scene, "tus", "blocking", "process", _rewritten_in_secret)
    assert isinstance(outcome, Outcome), outcome
    assert scene.receiver.delivery().read() == scene.file.read_bytes()


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
             foreground=True, nothreads=True, ro=True,
             direct_io=sys.argv[5] == "direct")
"""


@contextlib.contextmanager
def on_a_disk(scene: Scene, *, cached: bool) -> Iterator[None]:
    """Move the file to a disk whose second half fails while there is ``failing``.

    Not *cached*, each read asks the disk; else the kernel does, when it needs to.
    """
    try:
        importlib.import_module("mfusepy")
    except (ImportError, OSError) as missing:  # the package, or the library
        pytest.skip(f"no FUSE here: {missing}")
    directory, backing = scene.kept.parent, scene.file
    mount, flag = directory / "disk", directory / "failing"
    mount.mkdir()
    command = [sys.executable, "-c", FAILING_DISK, mount, backing, flag, SIZE // 2]
    process = subprocess.Popen(
        [*(str(word) for word in command), "cached" if cached else "direct"],
        stderr=subprocess.PIPE,
        text=True,
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
        yield
    finally:
        for unmount in ("fusermount3", "fusermount", "umount"):
            if shutil.which(unmount):
                flags = ["-u", "-z"] if "fuser" in unmount else ["-l"]
                subprocess.run([unmount, *flags, str(mount)], check=False)
                break
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("speech", "driver", "phase", "change"), cases((_failing,)))
def test_a_disk_that_fails_at_any_time_is_an_error_and_loses_nothing(
    scene: Scene, speech: str, driver: Driver, phase: Phase, change: Change
) -> None:
    with on_a_disk(scene, cached=False):
        moved(scene, speech, driver, phase, change)


def readings() -> list[object]:
    """Return every way to read a file that nothing has read yet, and every driver."""
    listed: list[object] = []
    for (number, reading), driver, speech in itertools.product(
        enumerate(READINGS), DRIVERS, ("rufh careful", "tus", "oneshot")
    ):
        now = speech == "tus" and driver == DRIVERS[number % 3]
        marks = [] if now else [pytest.mark.long]
        listed.append(pytest.param(reading, driver, speech, marks=marks))
    return listed


@pytest.mark.parametrize(("reading", "driver", "speech"), readings())
def test_a_failing_disk_is_noticed_however_it_is_read(
    tmp_path: Path, speech: str, driver: Driver, reading: Reading
) -> None:
    """In the middle of a read ahead, of a buffer, of a block; in worker threads."""
    with (
        staged(tmp_path, tls=reading == "tls") as scene,
        on_a_disk(scene, cached=True),
    ):
        _failing(scene.file)
        error = scene.sent(speech, driver, reading=reading)
        assert is_told(scene, error), error
        judge(scene, speech, driver, f"disk fails, {reading}", error, reading=reading)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_disk_that_fails_while_a_file_is_hashed_is_an_error(
    scene: Scene, driver: Driver
) -> None:
    with on_a_disk(scene, cached=False):
        _failing(scene.file)
        error = scene.sent("tus", driver, same_file="sha256")
        assert is_told(scene, error), error
        judge(scene, "tus", driver, "disk fails, hashing", error, same_file="sha256")
