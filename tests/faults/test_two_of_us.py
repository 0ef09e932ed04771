"""Several senders of one upload: processes, threads, and owners dead or asleep."""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from filelock import SoftFileLock

from poster_resume import (
    AsyncResumableUpload,
    Outcome,
    ResumableUpload,
    UploadBusy,
    UploadError,
)
from poster_resume.stores import MemoryStore, SQLiteStore, StateStore
from poster_resume.testing import Link, Receiver, Throttle

from .cutting import SPEECHES
from .effort import Effort, number
from .processes import End, Job, Running, job_for, running
from .report import Figures, record

posix = pytest.mark.skipif(
    sys.platform == "win32", reason="processes stop otherwise there"
)
_LONG = [pytest.mark.long, pytest.mark.timeout(3600)]
each_way = pytest.mark.parametrize(
    ("speech", "effort"),
    [("rufh careful", "few")]
    + [
        pytest.param(speech, "long", marks=_LONG)
        for speech in ("rufh careful", "tus", "oneshot")
    ],
)

CONTENT = random.Random(7).randbytes(150_000)
_CHUNK = 20_000
#: Bytes per second, slow enough that all meet while the first one sends.
_RATE = 400_000
#: Seconds in which whoever has begun to send has come to the claim.
_GATHERING = 0.4


class Meeting:
    """A slow server, and what several senders want to send there."""

    def __init__(self, directory: Path, speech: str) -> None:
        self.directory, self._speech = directory, SPEECHES[speech]
        self.file = directory / "scan.bin"
        self.file.write_bytes(CONTENT)
        self._stack = ExitStack()
        self.receiver = self._stack.enter_context(Receiver())
        self.link = Link(self.receiver.port, iter(lambda: Throttle(_RATE, "up"), None))
        self._stack.enter_context(self.link)
        self.path = f"/{self._speech.path}/meeting"

    def close(self) -> None:
        self._stack.close()

    @property
    def target(self) -> str:
        return self.link.url + self.path

    def job(self, number: int = 0, *, wait: float = 0) -> Job:
        chunk_size = None if self._speech.chunk_size is None else _CHUNK
        return job_for(
            self._speech,
            f"{self.target}/{number}",
            self.file,
            self.directory,
            chunk_size=chunk_size,
            key=f"meeting {number}",
            wait=wait,
        )

    def arrived(self, number: int = 0) -> int:
        """Return how often it was delivered, having looked that it is whole."""
        path = f"{self.path}/{number}"
        deliveries = [d for d in self.receiver.deliveries if d.path == path]
        assert all(d.read() == CONTENT for d in deliveries)
        for upload in self.receiver.uploads:
            assert upload.lowest_resent is None or self._speech.path == "form"
        return len(deliveries)

    def gather(self, several: list[Running]) -> None:
        """Let the link through once *several* processes must have met."""
        for process in several:
            process.wait_until_begun()
        time.sleep(_GATHERING)
        self.link.release()

    def carriers(self, number: int = 0) -> int:
        """Return over how many connections its content came; none has been cut."""
        path = f"{self.path}/{number}"
        ids = {u.id for u in self.receiver.uploads if u.target == path}
        mine = [r for r in self.receiver.requests if r.upload in ids or r.path == path]
        return len({request.connection for request in mine if request.received})

    def uploads(self, number: int = 0) -> int:
        """Return how many uploads the server has seen where one is meant."""
        path = f"{self.path}/{number}"
        return len([u for u in self.receiver.uploads if u.target == path])


@each_way
def test_of_several_processes_one_sends_and_the_others_say_so(
    tmp_path: Path, speech: str, effort: Effort
) -> None:
    meeting = Meeting(tmp_path, speech)
    tally = Figures(f"processes at once, {speech}")
    try:
        for case in range(number(effort, few=1, sample=2, full=25)):
            meeting.link.hold()
            with ExitStack() as stack:
                job = meeting.job(case)
                several = [stack.enter_context(running(job)) for _ in range(4)]
                meeting.gather(several)
                ends = [process.end() for process in several]
            tally = tally.plus(judged(tally.fault, meeting, case, ends))
            assert tally.clean, ends
    finally:
        meeting.close()
    record(tally)


@each_way
@pytest.mark.parametrize("keyed", [True, False])
def test_processes_that_wait_get_the_outcome_of_the_one_that_sent(
    tmp_path: Path, speech: str, keyed: bool, effort: Effort
) -> None:
    meeting = Meeting(tmp_path, speech)
    tally = Figures(f"processes that wait, {speech}")
    try:
        for case in range(number(effort, few=1, sample=2, full=25)):
            meeting.link.hold()
            with ExitStack() as stack:
                job = meeting.job(case, wait=30)
                job = job if keyed else replace(job, key=None)
                several = [stack.enter_context(running(job)) for _ in range(3)]
                meeting.gather(several)
                ends = [process.end() for process in several]
            assert all(end.delivered for end in ends), ends
            tally = tally.plus(judged(tally.fault, meeting, case, ends))
            assert tally.clean, ends
    finally:
        meeting.close()
    record(tally)


def judged(fault: str, meeting: Meeting, case: int, ends: list[End]) -> Figures:
    """Judge senders that met: one delivery, and everybody knows why."""
    arrived = meeting.arrived(case)
    busy = [end for end in ends if end.error == "UploadBusy"]
    fine = all(end.delivered or end in busy for end in ends)
    fine = fine and any(end.delivered for end in ends)
    fine = fine and not any(end.stderr for end in ends)
    fine = fine and all("process" in end.message for end in busy)
    fine = fine and meeting.uploads(case) == 1 and meeting.carriers(case) == 1
    return Figures(
        fault,
        cases=1,
        told=bool(busy),
        duplicated=arrived > 1,
        lost=arrived == 0 or (arrived == 1 and not fine),
    )


#: What threads of one process share: a file each of them opens, a store in memory,
#: or one for file systems that have no locks.
Keeping = Literal["sqlite", "memory", "soft"]
KEEPINGS: tuple[Keeping, ...] = ("sqlite", "memory", "soft")


def stores_of(keeping: Keeping, state: str, count: int) -> list[StateStore]:
    """Return *count* stores of the same state; the first two are one object."""
    if keeping == "memory":
        return [MemoryStore()] * count
    kind = {"lock_class": SoftFileLock} if keeping == "soft" else {}
    stores: list[StateStore] = [SQLiteStore(state, **kind) for _ in range(count - 1)]
    return [stores[0], *stores]


@each_way
@pytest.mark.parametrize("wait", [0, 30])
@pytest.mark.parametrize("keeping", KEEPINGS)
def test_of_several_threads_one_sends_and_the_others_say_so_or_wait(
    tmp_path: Path, speech: str, keeping: Keeping, wait: float, effort: Effort
) -> None:
    meeting = Meeting(tmp_path, speech)
    how = "threads that wait" if wait else "threads at once"
    tally = Figures(f"{how}, {keeping} store, {speech}")
    try:
        for case in range(number(effort, few=1, sample=2, full=12)):
            job, gate = meeting.job(case, wait=wait), threading.Barrier(6)
            stores = stores_of(keeping, job.state, 6)
            ends = met(
                meeting, [partial(sent_by_a_thread, job, gate, s) for s in stores]
            )
            for store in stores:
                store.close()
            tally = tally.plus(judged(tally.fault, meeting, case, ends))
            assert tally.clean, ends
            assert not wait or all(end.delivered for end in ends), ends
    finally:
        meeting.close()
    record(tally)


def met(meeting: Meeting, senders: list[Any]) -> list[End]:
    """Let *senders*, each in a thread, meet while the link is held; tell their ends."""
    meeting.link.hold()
    threading.Timer(_GATHERING, meeting.link.release).start()
    with ThreadPoolExecutor(len(senders)) as pool:
        results = list(pool.map(lambda send: send(), senders))
    return [end_of(each) for each in results]


def end_of(result: Outcome | UploadError) -> End:
    if isinstance(result, Outcome):
        return End(delivered=True)
    return End(error=type(result).__name__, message=str(result))


def given_by(job: Job, store: StateStore) -> dict[str, Any]:
    return {
        "content": Path(job.file),
        "protocol": SPEECHES[job.speech].protocol(),
        "chunk_size": job.chunk_size,
        "key": job.key,
        "store": store,
        "wait": job.wait,
    }


def sent_by_a_thread(
    job: Job, gate: threading.Barrier, store: StateStore
) -> Outcome | UploadError:
    upload = ResumableUpload(job.target, **given_by(job, store))
    gate.wait(20)
    try:
        return upload.send()
    except UploadError as error:
        return error


@each_way
@pytest.mark.parametrize("wait", [0, 30])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_of_several_tasks_one_sends_and_the_others_say_so_or_wait(
    tmp_path: Path, speech: str, backend: str, wait: float, effort: Effort
) -> None:
    meeting = Meeting(tmp_path, speech)
    how = "tasks that wait" if wait else "tasks at once"
    tally = Figures(f"{how}, {speech}")
    try:
        for case in range(number(effort, few=1, sample=2, full=12)):
            job = meeting.job(case, wait=wait)
            stores = stores_of("sqlite", job.state, 5)
            results: list[Outcome | UploadError] = []
            meeting.link.hold()
            threading.Timer(_GATHERING, meeting.link.release).start()
            anyio.run(sent_by_tasks, job, stores, results, backend=backend)
            for store in stores:
                store.close()
            ends = [end_of(each) for each in results]
            tally = tally.plus(judged(tally.fault, meeting, case, ends))
            assert tally.clean, ends
            assert not wait or all(end.delivered for end in ends), ends
    finally:
        meeting.close()
    record(tally)


async def sent_by_tasks(
    job: Job, stores: list[StateStore], results: list[Outcome | UploadError]
) -> None:
    async def send(store: StateStore) -> None:
        upload = AsyncResumableUpload(job.target, **given_by(job, store))
        try:
            results.append(await upload.send())
        except UploadError as error:
            results.append(error)

    async with anyio.create_task_group() as tasks:
        for store in stores:
            tasks.start_soon(send, store)


@each_way
def test_of_processes_and_threads_together_one_sends(
    tmp_path: Path, speech: str, effort: Effort
) -> None:
    meeting = Meeting(tmp_path, speech)
    tally = Figures(f"processes and threads at once, {speech}")
    try:
        for case in range(number(effort, few=1, sample=2, full=12)):
            meeting.link.hold()
            with ExitStack() as stack:
                job = meeting.job(case)
                several = [stack.enter_context(running(job)) for _ in range(2)]
                for process in several:
                    process.wait_until_begun()
                gate = threading.Barrier(3)
                stores = stores_of("sqlite", job.state, 3)
                ends = met(
                    meeting, [partial(sent_by_a_thread, job, gate, s) for s in stores]
                )
                for store in stores:
                    store.close()
                ends += [process.end() for process in several]
            tally = tally.plus(judged(tally.fault, meeting, case, ends))
            assert tally.clean, ends
    finally:
        meeting.close()
    record(tally)


@pytest.mark.parametrize("speech", ["rufh careful", "tus", "oneshot"])
def test_what_another_process_sends_is_neither_cancelled_nor_forgotten(
    tmp_path: Path, speech: str
) -> None:
    meeting = Meeting(tmp_path, speech)
    try:
        job = meeting.job()
        with running(job) as owner:
            begun(meeting, owner, 0)
            with closing(SQLiteStore(job.state)) as store:
                upload = ResumableUpload(job.target, **given_by(job, store))
                for work in (upload.cancel, upload.forget):
                    with pytest.raises(UploadBusy, match=f"process {owner.pid}"):
                        work()
            end = owner.end()
        tally = judged(f"cancelled by another, {speech}", meeting, 0, [end])
        record(tally)
        assert tally.clean, end
    finally:
        meeting.close()


@pytest.mark.parametrize("speech", ["rufh careful", "tus", "oneshot"])
def test_one_file_may_go_to_several_places_at_once(tmp_path: Path, speech: str) -> None:
    meeting = Meeting(tmp_path, speech)
    try:
        with ExitStack() as stack:
            jobs = [meeting.job(case) for case in range(3)]
            several = [stack.enter_context(running(job)) for job in jobs]
            ends = [process.end() for process in several]
        for case, end in enumerate(ends):
            tally = judged(f"one file, several uploads, {speech}", meeting, case, [end])
            record(tally)
            assert tally.clean, end
    finally:
        meeting.close()


@posix
@each_way
def test_a_dead_owner_is_followed_and_a_stopped_one_is_not(
    tmp_path: Path, speech: str, effort: Effort
) -> None:
    meeting = Meeting(tmp_path, speech)
    followed = Figures(f"owner killed, another waits, {speech}")
    refused = Figures(f"owner stopped, another comes, {speech}")
    try:
        for case in range(number(effort, few=1, sample=2, full=20)):
            job = meeting.job(case)
            with running(job) as owner:
                begun(meeting, owner, case)
                owner.signal(signal.SIGSTOP)
                with running(replace(job, wait=0.5)) as other:
                    end = other.end()
                # It is alive, and may go on any moment: nobody takes its place.
                assert (end.error, end.stderr) == ("UploadBusy", ""), end
                assert str(owner.pid) in end.message
                refused = refused.plus(
                    Figures(
                        refused.fault,
                        1,
                        told=1,
                        duplicated=meeting.uploads(case) > 1
                        or meeting.arrived(case) > 1,
                    )
                )
                with running(replace(job, wait=30)) as waiting:
                    waiting.wait_until_begun()
                    owner.kill()
                    end = waiting.end()
            arrived = meeting.arrived(case)
            unknown = speech == "oneshot" and end.error == "OutcomeUnknown"
            followed = followed.plus(
                Figures(
                    followed.fault,
                    1,
                    told=unknown,
                    duplicated=arrived > 1,
                    lost=arrived < 2
                    and not (unknown or (end.delivered and arrived == 1)),
                )
            )
            assert followed.clean, end
            assert refused.clean, end
    finally:
        meeting.close()
    record(followed)
    record(refused)


@posix
@pytest.mark.parametrize("speech", ["rufh careful", "tus", "oneshot"])
def test_a_stopped_owner_goes_on_where_it_was(tmp_path: Path, speech: str) -> None:
    meeting = Meeting(tmp_path, speech)
    try:
        job = meeting.job()
        with running(job) as owner:
            begun(meeting, owner, 0)
            owner.signal(signal.SIGSTOP)
            with running(job) as other:
                assert other.end().error == "UploadBusy"
            owner.signal(signal.SIGCONT)
            assert owner.end().delivered
        assert meeting.arrived() == 1
    finally:
        meeting.close()


def begun(meeting: Meeting, owner: Running, case: int) -> None:
    """Wait until *owner* sends the upload *case*, and nobody else any other."""
    before = case * len(CONTENT)
    owner.wait_until_begun()
    meeting.receiver.wait(lambda receiver: receiver.received > before)
