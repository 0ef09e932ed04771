"""State directories that fill up, cannot be written, or come back damaged."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from poster_resume import ResumableUpload, RetryPolicy, StoreError
from poster_resume.testing import Cut, Link, Receiver

from .cutting import SPEECHES
from .effort import SEED, Effort, each_effort, number, scratch
from .processes import End, Job, ended, job_for, running
from .report import Figures, record

posix = pytest.mark.skipif(
    sys.platform == "win32", reason="limits and rights are otherwise there"
)
each_speech = pytest.mark.parametrize("speech", SPEECHES)

CONTENT = random.Random(3).randbytes(60_000)
_REMEDIES = ("store=None", "POSTER_RESUME_STATE", "upgrade", "move state", "cancel")


class Desk:
    """A receiver, a file and a state directory."""

    def __init__(self, directory: Path, receiver: Receiver) -> None:
        self.directory, self.receiver = directory, receiver
        self.file = directory / "scan.bin"
        self.file.write_bytes(CONTENT)
        self.state = directory / "state"

    def job(self, speech: str, number: int = 0, url: str | None = None) -> Job:
        kind = SPEECHES[speech]
        chunk_size = None if kind.chunk_size is None else 20_000
        target = f"{url or self.receiver.url}/{kind.path}/{number}"
        job = job_for(kind, target, self.file, self.directory, chunk_size=chunk_size)
        return replace(job, key=f"upload {number}")

    def arrived(self, number: int = 0) -> int:
        """Return how often an upload was delivered, having looked that it is whole."""
        paths = {f"/{speech.path}/{number}" for speech in SPEECHES.values()}
        deliveries = [d for d in self.receiver.deliveries if d.path in paths]
        assert all(d.read() == CONTENT for d in deliveries)
        return len(deliveries)


@pytest.fixture
def desk() -> Iterator[Desk]:
    with scratch() as directory, Receiver() as receiver:
        yield Desk(Path(directory), receiver)


def sent(job: Job) -> End:
    with running(job) as process:
        return process.end()


def is_said(end: End) -> bool:
    """Whether *end* is a store's error that says what to do, and nothing else."""
    remedied = any(remedy in end.message for remedy in _REMEDIES)
    return end.error == "StoreError" and remedied and not end.stderr


@posix
@each_effort
@each_speech
def test_a_disk_that_fills_up_at_any_point_loses_nothing(
    desk: Desk, speech: str, effort: Effort
) -> None:
    tally = Figures(f"disk full at any point, {speech}")
    assert sent(desk.job(speech, 0)).delivered
    # SQLite's log is what grows first: pages of 4 KiB and their frames.
    sizes = range(0, 150_000, number(effort, few=4096, sample=4096, full=1024))
    wanted = number(effort, few=2, sample=6, full=len(sizes))
    failed = 0
    for case, size in enumerate(random.Random(SEED).sample(sizes, wanted), start=1):
        shutil.rmtree(desk.state)
        job = desk.job(speech, case)
        full = sent(replace(job, size_limit=size))
        failed += full.error == "StoreError"
        assert full.delivered or is_said(full) or full.error == "OutcomeUnknown", full
        end = sent(job)
        tally = tally.plus(judged(tally.fault, desk, case, end))
        assert tally.clean, (size, full, end)
    record(tally)
    assert effort == "few" or failed > wanted // 4


def judged(fault: str, desk: Desk, case: int, end: End) -> Figures:
    """Judge an upload whose store is well again."""
    arrived = desk.arrived(case)
    told = end.error == "OutcomeUnknown"
    lost = bool(end.stderr) or not (told or (end.delivered and arrived == 1))
    return Figures(
        fault, 1, told=told, duplicated=arrived > 1, lost=lost and arrived < 2
    )


@posix
@pytest.mark.parametrize("kibibytes", [4, 64])
def test_a_full_file_system_loses_nothing_and_is_said(
    desk: Desk, kibibytes: int
) -> None:
    mounted = ["unshare", "-m", "sh", "-c"]
    probe = ["mount -t tmpfs none /mnt"]
    if shutil.which("unshare") is None or subprocess.call([*mounted, *probe]) != 0:
        pytest.skip("no file system can be mounted here")
    script = 'mkdir "$0"; mount -t tmpfs -o size={}k none "$0" && exec "$@"'
    job = desk.job("tus")
    end = ended(job, [*mounted, script.format(kibibytes), job.state])
    assert is_said(end), end
    assert "no room" in end.message
    assert desk.arrived() == 0
    tally = judged("file system full", desk, 0, sent(job))
    record(tally)
    assert tally.clean


@posix
@pytest.mark.parametrize("speech", ["rufh careful", "tus", "oneshot"])
def test_a_store_that_cannot_be_written_is_said_before_the_first_byte(
    desk: Desk, speech: str
) -> None:
    assert sent(desk.job(speech, 0)).delivered
    requests, whole = len(desk.receiver.requests), desk.arrived()
    for path in (desk.directory, *desk.directory.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    end = sent(replace(desk.job(speech, 1), as_nobody=True))
    assert is_said(end), end
    assert len(desk.receiver.requests) == requests
    for path in (desk.directory, *desk.directory.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    tally = judged("store read-only", desk, 1, sent(desk.job(speech, 1)))
    record(tally)
    assert tally.clean
    assert desk.arrived(0) == whole


def _garbled(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _truncated(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _scratched(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xaa" * 8192 + content[12288:])


def _future(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")


def _future_record(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE uploads SET fixed = json_set(fixed, '$.version', 2)")


def _planless(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM plans")


DAMAGES = (
    _garbled,
    _emptied,
    _truncated,
    _scratched,
    _future,
    _future_record,
    _planless,
)


@pytest.mark.parametrize(
    "speech", ["rufh careful", pytest.param("tus with upload", marks=pytest.mark.long)]
)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_sends_nothing_and_says_what_to_do(
    desk: Desk, speech: str, damage: Callable[[Path], None]
) -> None:
    with Link(desk.receiver.port, [Cut(30_000)]) as link:
        begun = sent(replace(desk.job(speech, url=link.url), attempts=1))
        assert begun.error == "TransportError", begun
        requests = len(desk.receiver.requests)
        path = desk.state / "state.sqlite3"
        _checkpointed(path)
        kept = path.read_bytes()
        damage(path)
        end = sent(desk.job(speech, url=link.url))
        assert is_said(end), end
        # A wrong belief about what was sent would be worse than none.
        assert len(desk.receiver.requests) == requests
        assert desk.arrived() == 0
        for beside in desk.state.glob("state.sqlite3*"):
            beside.unlink()
        path.write_bytes(kept)
        tally = judged(
            "store damaged between processes",
            desk,
            0,
            sent(desk.job(speech, url=link.url)),
        )
    record(tally)
    assert tally.clean


def _checkpointed(path: Path) -> None:
    """Have all of the state in one file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_store_damaged_under_a_running_upload_is_an_error_at_most(
    desk: Desk, damage: Callable[[Path], None]
) -> None:
    """Whatever becomes of the state, what is delivered is right, and once."""
    path = desk.state / "state.sqlite3"

    damaged = False

    def on_event(event: object) -> None:
        nonlocal damaged
        if path.exists() and not damaged:
            damage(path)
            damaged = True

    job = desk.job("tus")
    upload = ResumableUpload(
        job.target,
        content=desk.file,
        protocol=SPEECHES["tus"].protocol(),
        chunk_size=20_000,
        store=desk.state,
        retry=RetryPolicy(settle=0),
        on_event=on_event,
    )
    said = ""
    try:
        upload.send()
    except StoreError as error:
        said = str(error)
    assert damaged
    assert desk.arrived() == 1 or any(remedy in said for remedy in _REMEDIES)
    assert desk.arrived() <= 1
    record(Figures("store damaged under a running upload", 1, told=1))
