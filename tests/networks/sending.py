"""Uploads in processes of their own, which tell live what happens to them.

A process may live in a network namespace, be stopped, and have a clock of its
own. Moments are monotonic times, which all processes of a machine share.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, Protocol

import anyio
import tenacity

from poster_resume import (
    RUFH,
    AsyncResumableUpload,
    Event,
    Oneshot,
    ResumableUpload,
    RetryPolicy,
    Timeouts,
    Tus,
    UploadError,
    UploadProtocol,
)

Driver = Literal["blocking", "asyncio", "trio"]
Speech = Literal["rufh", "tus", "oneshot"]

#: The seconds of patience, where a job names none.
BRIEF = Timeouts(connect=1.0, progress=1.0, answer=1.0, probe=1.0)

PATHS: dict[Speech, str] = {"rufh": "rufh", "tus": "tus", "oneshot": "form"}


@dataclass(frozen=True)
class Job:
    """One call of ``send()``, for the form of one *file*.

    *state* is the store's directory, None keeps nothing. *patience* is how many
    seconds without progress it bears, *wait* those that it waits for another
    process. *namespace* is the path of the network namespace to live in.
    *assume* settles an unknown outcome.
    """

    speech: Speech
    target: str
    file: str
    driver: Driver = "blocking"
    state: str | None = None
    timeouts: Timeouts = BRIEF
    patience: float = 30.0
    wait: float = 0.0
    namespace: str | None = None
    assume: Literal["complete", "lost"] | None = None


@dataclass(frozen=True)
class Happened:
    """An event, or that it *began*.

    *offset* is what the server has, *sent* what had left and broke.
    """

    kind: str
    moment: float
    message: str = ""
    offset: int | None = None
    sent: int | None = None


@dataclass(frozen=True)
class End:
    """How ``send()`` ended: by an answer's *status*, or an *error*'s class."""

    status: int | None = None
    content: str = ""
    error: str = ""
    message: str = ""


def performed(job: Job, tell: Callable[[Happened], None]) -> End:
    """Do *job* in this process."""
    if job.namespace is not None:
        from .wan import enter

        descriptor = os.open(job.namespace, os.O_RDONLY)
        enter(descriptor)
        os.close(descriptor)
    protocols: dict[Speech, UploadProtocol] = {
        "rufh": RUFH(),
        "tus": Tus(form="multipart"),
        "oneshot": Oneshot(),
    }

    def heard(event: Event) -> None:
        sent = None if event.error is None else event.error.sent
        tell(Happened(event.kind, time.monotonic(), event.message, event.offset, sent))

    given: dict[str, Any] = {
        "protocol": protocols[job.speech],
        "store": job.state,
        "timeouts": job.timeouts,
        "retry": RetryPolicy(
            stop=tenacity.stop_after_delay(job.patience),
            wait=tenacity.wait_fixed(0.1),
            settle=0.1,
        ),
        "wait": job.wait,
        "on_event": heard,
    }
    tell(Happened("began", time.monotonic()))
    params = {"title": "a day's work", "scan": Path(job.file)}
    try:
        if job.driver == "blocking":
            outcome = ResumableUpload(job.target, params, **given).send(
                assume=job.assume
            )
        else:
            awaited = AsyncResumableUpload(job.target, params, **given)
            send = partial(awaited.send, assume=job.assume)
            outcome = anyio.run(send, backend=job.driver)
    except UploadError as error:
        return End(error=type(error).__name__, message=str(error))
    response = outcome.response
    return End(response.status_code, response.content.decode(errors="replace"))


class Sending:
    """A job that is being done by a process of its own."""

    def __init__(self, process: _Process, told: Connection, errors: Path) -> None:
        self._process, self._connection, self._errors = process, told, errors
        self._news = threading.Condition()
        self._happened: list[Happened] = []
        self._end: End | None = None
        self._over = False
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    @property
    def pid(self) -> int:
        pid = self._process.pid
        assert pid is not None
        return pid

    def all(self, kind: str, since: float = 0.0) -> list[Happened]:
        """Return the events of *kind* from the moment *since* on."""
        with self._news:
            return self._found(kind, since)

    def wait_for(
        self, kind: str, since: float = 0.0, seconds: float = 30, about: str = ""
    ) -> Happened:
        """Wait for an event of *kind* from the moment *since* on, and return it.

        Its message has *about* in it.

        Raises:
            AssertionError: none came within *seconds*, or before the end.
        """
        until = time.monotonic() + seconds
        with self._news:
            while not (found := self._found(kind, since, about)):
                assert not self._over, (kind, self._end, self._said())
                assert self._news.wait(until - time.monotonic()), f"no {kind} came"
            return found[0]

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self, seconds: float = 60) -> End:
        """Wait for its end, and return how it was."""
        self._listener.join(seconds)
        assert self._over, f"it does not end within {seconds} s"
        assert self._said() == ""
        assert self._end is not None, "it died"
        return self._end

    def stop(self) -> None:
        """Kill it, if it has not ended."""
        self._process.kill()
        self._listener.join()
        self._connection.close()

    def _found(self, kind: str, since: float, about: str = "") -> list[Happened]:
        of_kind = [h for h in self._happened if h.kind == kind and h.moment >= since]
        return [h for h in of_kind if about in h.message]

    def _said(self) -> str:
        return self._errors.read_text(errors="replace") if self._errors.exists() else ""

    def _listen(self) -> None:
        while True:
            try:
                told = self._connection.recv()
            except EOFError:
                told = None
            with self._news:
                if isinstance(told, Happened):
                    self._happened.append(told)
                elif isinstance(told, End):
                    self._end = told
                else:
                    self._over = True
                self._news.notify_all()
                if self._over:
                    return


class _Process(Protocol):
    """What the processes of ``subprocess`` and ``multiprocessing`` share."""

    @property
    def pid(self) -> int | None: ...
    def kill(self) -> None: ...


_context: Any = None


@contextmanager
def sending(job: Job, directory: Path) -> Iterator[Sending]:
    """Do *job* in a process that is ready in a moment; kill it in the end.

    *directory* gets what it says on its standard error.
    """
    global _context
    if _context is None:
        forking = "forkserver" in multiprocessing.get_all_start_methods()
        _context = multiprocessing.get_context("forkserver" if forking else "spawn")
        if forking:
            _context.set_forkserver_preload([__name__])
    errors = directory / f"stderr-{time.monotonic_ns()}"
    told, telling = _context.Pipe(duplex=False)
    process = _context.Process(target=_child, args=(job, telling, str(errors)))
    process.start()
    telling.close()
    sending = Sending(process, told, errors)
    try:
        yield sending
    finally:
        sending.stop()
        process.join()
        process.close()


@contextmanager
def executing(job: Job, directory: Path, **environment: str) -> Iterator[Sending]:
    """Do *job* in a new interpreter with this *environment*; kill it in the end."""
    errors = directory / f"stderr-{time.monotonic_ns()}"
    told, telling = multiprocessing.Pipe(duplex=False)
    number = telling.fileno()
    search = os.pathsep.join(filter(None, [os.fspath(_ROOT), *sys.path]))
    said = json.dumps(asdict(job))
    with telling, errors.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _COMMAND, said, str(number)],
            env=os.environ | {"PYTHONPATH": search} | environment,
            stdin=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=[number],
        )
    sending = Sending(process, told, errors)
    try:
        yield sending
    finally:
        sending.stop()
        process.wait()


_ROOT = Path(__file__).parents[2]
#: Not ``-m``: what is told has to be of this module, not of ``__main__``.
_COMMAND = f"from {__name__} import main; main()"


def _child(job: Job, telling: Connection, errors: str) -> None:
    descriptor = os.open(errors, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    with telling:
        telling.send(performed(job, telling.send))


def main() -> None:
    """Do the job that the command line has, and tell about it."""
    given = json.loads(sys.argv[1])
    job = Job(**given | {"timeouts": Timeouts(**given["timeouts"])})
    with Connection(int(sys.argv[2])) as telling:
        telling.send(performed(job, telling.send))
