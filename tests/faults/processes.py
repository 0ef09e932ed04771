"""Uploads in processes of their own, which may be stopped or killed at any point.

A process tells what it did by lines of JSON on its standard output. Whatever
it says on its standard error is a fault of ours.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import anyio
import tenacity

from poster_resume import (
    AsyncResumableUpload,
    Event,
    Outcome,
    ResumableUpload,
    RetryPolicy,
    UploadError,
)

from .cutting import SPEECHES, Driver, Speech

#: What a process can do before or after its nth commit.
When = Literal["before", "after"]


@dataclass(frozen=True)
class Job:
    """One call of ``send()``, said in words that another process understands.

    *attempts* bounds the tries, *size_limit* the bytes of any file that it
    writes. *as_nobody* gives up root's rights, by which one may write anywhere.
    *dies_at* kills it at its nth commit to the store, counted from 1.
    """

    speech: str
    target: str
    file: str
    state: str
    driver: Driver = "blocking"
    key: str | None = None
    chunk_size: int | None = None
    wait: float = 0.0
    attempts: int = 1
    size_limit: int | None = None
    as_nobody: bool = False
    dies_at: int | None = None
    when: When = "before"


@dataclass(frozen=True)
class End:
    """How a process ended: *error* is a class' name, *message* what it said.

    *killed* by a signal, it said nothing of either. *commits* counts.
    """

    delivered: bool = False
    error: str = ""
    message: str = ""
    resource: bool = False
    commits: int = 0
    killed: bool = False
    stderr: str = field(default="", repr=True)


def job_for(speech: Speech, target: str, file: Path, state: Path, **more: Any) -> Job:
    """Return a job that sends *file* as *speech* does."""
    given = {"chunk_size": speech.chunk_size, **more}
    return Job(speech.name, target, str(file), str(state / "state"), **given)


def ended(job: Job, within: Sequence[str] = ()) -> End:
    """Do *job* in a new interpreter, by the command *within*; tell how it ended."""
    command = [sys.executable, "-W", "error", "-m", __name__, json.dumps(asdict(job))]
    process = subprocess.run(
        [*within, *command],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    lines = process.stdout.splitlines()
    assert lines, process.stderr
    assert process.stderr == ""
    return End(**json.loads(lines[-1]))


def performed(job: Job, began: Callable[[], None] = lambda: None) -> End:
    """Do *job* in this process."""
    if job.size_limit is not None:
        import resource

        limit = job.size_limit, job.size_limit
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    if job.as_nobody and os.geteuid() == 0:
        os.setuid(65534)
    _Dying.dies_at, _Dying.when, _Dying.count = job.dies_at, job.when, 0
    _die_at_commits()
    policy = RetryPolicy(
        stop=tenacity.stop_after_attempt(job.attempts),
        wait=tenacity.wait_fixed(0.05),
        settle=0.02,
    )
    speech = SPEECHES[job.speech]
    given: dict[str, Any] = {
        "content": Path(job.file),
        "protocol": speech.protocol(),
        "chunk_size": job.chunk_size,
        "key": job.key,
        "store": job.state,
        "retry": policy,
        "deadline": 30,
        "wait": job.wait,
        "on_event": _said,
    }
    began()
    upload: ResumableUpload | AsyncResumableUpload
    try:
        if job.driver == "blocking":
            upload = blocking = ResumableUpload(job.target, **given)
            outcome = blocking.send()
        else:
            upload = awaited = AsyncResumableUpload(job.target, **given)
            outcome = anyio.run(awaited.send, backend=job.driver)
        end = End(delivered=isinstance(outcome, Outcome))
    except UploadError as error:
        end = End(error=type(error).__name__, message=str(error))
    named = upload.state is not None and upload.state.resource is not None
    return replace(end, resource=named, commits=_Dying.count)


def _said(event: Event) -> None:
    """Listen, as most callers do: an event must not stop an upload."""


class _Dying(sqlite3.Connection):
    """A connection whose process dies before or after its nth commit."""

    dies_at: int | None = None
    when: When = "before"
    count = 0

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql != "COMMIT":
            return super().execute(sql, *parameters)
        _Dying.count += 1
        dies = _Dying.count == _Dying.dies_at
        if dies and _Dying.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        cursor = super().execute(sql)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return cursor


def _die_at_commits() -> None:
    connect = sqlite3.connect

    def connect_dying(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        return connect(*args, factory=_Dying, **kwargs)

    sqlite3.connect = connect_dying  # type: ignore[assignment]  # same signature


class Running:
    """A job that runs in a process of its own."""

    def __init__(self, process: Any, told: Connection, errors: Path) -> None:
        self._process, self._told, self._errors = process, told, errors

    @property
    def pid(self) -> int:
        pid: int = self._process.pid
        return pid

    def kill(self) -> None:
        """Kill it, whatever it does."""
        self._process.kill()

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait_until_begun(self, seconds: float = 30) -> None:
        """Wait until it is about to send."""
        assert self._told.poll(seconds), self.stderr
        assert self._told.recv() == "began"

    def end(self, seconds: float = 60) -> End:
        """Wait for its end, and return what it told.

        Raises:
            TimeoutError: it goes on for longer than *seconds*.
        """
        end = End(killed=True)
        until = time.monotonic() + seconds
        while self._told.poll(max(0.0, until - time.monotonic())):
            try:
                said = self._told.recv()
            except EOFError:
                break
            if isinstance(said, End):
                end = said
        self._process.join(max(0.1, until - time.monotonic()))
        if self._process.exitcode is None:
            raise TimeoutError(f"process {self.pid} does not end")
        return replace(end, stderr=self.stderr)

    @property
    def stderr(self) -> str:
        return self._errors.read_text(errors="replace") if self._errors.exists() else ""


_context: Any = None


@contextmanager
def running(job: Job) -> Iterator[Running]:
    """Run *job* in a process that is ready in a moment; kill it in the end."""
    global _context
    if _context is None:
        forking = "forkserver" in multiprocessing.get_all_start_methods()
        _context = multiprocessing.get_context("forkserver" if forking else "spawn")
        if forking:
            _context.set_forkserver_preload([__name__])
    with tempfile.TemporaryDirectory() as directory:
        errors = Path(directory) / "stderr"
        told, telling = _context.Pipe(duplex=False)
        process = _context.Process(target=_child, args=(job, telling, str(errors)))
        process.start()
        telling.close()
        try:
            yield Running(process, told, errors)
        finally:
            process.kill()
            process.join()
            process.close()
            told.close()


def _child(job: Job, telling: Connection, errors: str) -> None:
    descriptor = os.open(errors, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    telling.send(performed(job, lambda: telling.send("began")))
    telling.close()


if __name__ == "__main__":
    print(json.dumps(asdict(performed(Job(**json.loads(sys.argv[1]))))))
