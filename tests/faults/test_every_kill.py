"""Processes that die: at random moments, and at every commit to their store."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from poster_resume.testing import Cut, Link, Receiver, Throttle
from poster_resume.testing.faults import Faults

from .cutting import DRIVERS, SPEECHES, Driver, Speech
from .effort import SEED, Effort, chosen, each_effort, number, scratch
from .processes import End, Job, When, job_for, running
from .report import Figures, record

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="processes die otherwise there"
)

each_speech = pytest.mark.parametrize("speech", SPEECHES)

_SIZE = 120_000
_CHUNK = 50_000
#: Bytes per second: a whole upload takes about as long as a process needs to start.
_RATE = 2_000_000
#: Lives that one upload may need.
_LIVES = 12


class Place:
    """A server, a slow link to it, a file and a state directory."""

    def __init__(self, directory: Path, receiver: Receiver, link: Link) -> None:
        self.directory, self.receiver, self.link = directory, receiver, link
        self.file = directory / "scan.bin"
        self.content = random.Random(SEED).randbytes(_SIZE)
        self.file.write_bytes(self.content)
        self._uploads = 0

    def job(self, speech: Speech, driver: Driver = "blocking") -> Job:
        """Return a job for an upload that has not been yet."""
        self._uploads += 1
        target = f"{self.link.url}/{speech.path}/{self._uploads}"
        chunk_size = None if speech.chunk_size is None else _CHUNK
        return job_for(
            speech,
            target,
            self.file,
            self.directory / f"{self._uploads}",
            chunk_size=chunk_size,
            driver=driver,
            key=target,
            attempts=3,
        )

    def judged(self, fault: str, job: Job, end: End) -> Figures:
        """Judge an upload by what the server has, now that *end* has come."""
        path = job.target.removeprefix(self.link.url)
        deliveries = [d for d in self.receiver.deliveries if d.path == path]
        speech = SPEECHES[job.speech]
        may = speech.path == "form" or (
            speech.name.startswith("rufh optimistic") and not end.resource
        )
        told = may and end.error in ("OutcomeUnknown", "Incomplete")
        wrong = [d for d in deliveries if d.read() != self.content]
        arrived = end.delivered and len(deliveries) == 1
        uploads = [u for u in self.receiver.uploads if u.target == path]
        again = speech.path != "form" and any(
            u.lowest_resent is not None for u in uploads
        )
        resent = sum(u.received for u in uploads) - _SIZE
        return Figures(
            fault,
            cases=1,
            told=told,
            duplicated=len(deliveries) > 1 or again,
            lost=not again
            and len(deliveries) < 2
            and (bool(wrong) or bool(end.stderr) or not (told or arrived)),
            resent=max(0, resent),
        )


@contextmanager
def place(*, rate: float | None, every: int | None = None) -> Iterator[Place]:
    """Yield a place whose link is slow, and is cut after *every* so many bytes."""
    source = random.Random(SEED)

    def faults() -> Iterator[Faults]:
        while True:
            slow = () if rate is None else (Throttle(rate, "up"),)
            cuts = every is not None and source.random() < 0.5
            after = source.randrange(every or 1)
            yield (*slow, Cut(after)) if cuts else slow

    with (
        scratch() as directory,
        Receiver(Path(directory) / "server") as receiver,
        Link(receiver.port, faults()) as link,
    ):
        yield Place(Path(directory), receiver, link)


@each_effort
@each_speech
def test_a_process_killed_at_any_moment_loses_and_duplicates_nothing(
    speech: str, effort: Effort
) -> None:
    source = random.Random(f"{SEED} {speech}")
    tally = Figures(f"SIGKILL at a random moment, {speech}")
    wanted = number(effort, few=3, sample=20, full=160)
    with place(rate=_RATE, every=_SIZE) as where:
        while tally.cases < wanted:
            kills = 0
            job = where.job(SPEECHES[speech], source.choice(DRIVERS))
            end = End(killed=True)
            for life in range(_LIVES):
                with running(job) as process:
                    process.wait_until_begun()
                    if life < 4 and source.random() < 0.75:
                        # A process needs some milliseconds until it sends; and
                        # small numbers are as interesting as large ones.
                        time.sleep(source.random() ** 2 * 0.2)
                        process.kill()
                    end = process.end()
                kills += end.killed
                if end.delivered or end.error == "OutcomeUnknown":
                    break
            judged = where.judged(tally.fault, job, end)
            tally = tally.plus(replace(judged, cases=max(1, kills)))
            assert tally.clean, (job, end)
    record(tally)


@each_effort
@each_speech
def test_a_process_killed_at_any_commit_loses_and_duplicates_nothing(
    speech: str, effort: Effort
) -> None:
    tally = Figures(f"SIGKILL before or after any commit, {speech}")
    source = random.Random(f"{SEED} {speech}")
    drivers = [source.choice(DRIVERS)] if effort == "few" else DRIVERS
    with place(rate=None) as where:
        for driver in drivers:
            job = where.job(SPEECHES[speech], driver)
            with running(job) as process:
                whole = process.end()
            assert whole.delivered, whole
            deaths: list[tuple[int, When]] = []
            for commit in range(1, whole.commits + 1):
                deaths += [(commit, "before"), (commit, "after")]
            for dies_at, when in chosen(deaths, effort, few=3, sample=8):
                job = where.job(SPEECHES[speech], driver)
                with running(replace(job, dies_at=dies_at, when=when)) as process:
                    first = process.end()
                assert first.killed, (dies_at, when, first)
                with running(job) as process:
                    end = process.end()
                tally = tally.plus(where.judged(tally.fault, job, end))
                assert tally.clean, (dies_at, when, end)
    record(tally)
