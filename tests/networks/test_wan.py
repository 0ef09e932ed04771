"""Uploads over a real network's faults: packets that fare badly, links that die."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from poster_resume.testing import Receiver

from ..faults.effort import SEED
from ..faults.report import Figures, record
from . import namespaces
from .namespaces import DEAD, Server, Wan, inside, run, served
from .sending import BRIEF, PATHS, Driver, End, Job, Sending, Speech, sending
from .wan import Weather

_MISSING = namespaces.missing()
if _MISSING is not None:
    record(Figures(f"WAN between network namespaces: not run, {_MISSING}"))
pytestmark = pytest.mark.skipif(_MISSING is not None, reason=str(_MISSING))

SIZE = 600_000
#: How far into an upload a fault comes.
MIDDLE = 200_000
#: A link that carries an upload in about a second.
SLOW = Weather(delay=0.01, rate=600_000)
#: Seconds beyond the stated ones within which a fault has to be noticed: what the
#: kernel still took before, a look at its queue, and a machine with other work.
SLACK = 1.0

_CASES: list[tuple[Speech, Driver]] = [("rufh", "blocking"), ("tus", "asyncio")]
_OTHERS: list[tuple[Speech, Driver]] = [
    ("rufh", "asyncio"),
    ("rufh", "trio"),
    ("tus", "blocking"),
    ("tus", "trio"),
]
each_case = pytest.mark.parametrize(
    ("speech", "driver"),
    _CASES + [pytest.param(*case, marks=pytest.mark.long) for case in _OTHERS],
)


class World:
    """A client's host, a server's host, and a file to be sent."""

    def __init__(self, wan: Wan, server: Server, directory: Path) -> None:
        self.wan, self.server, self.directory = wan, server, directory
        self.file = directory / "scan.bin"
        self.content = random.Random(SEED).randbytes(SIZE)
        self.file.write_bytes(self.content)

    @property
    def receiver(self) -> Receiver:
        return self.server.receiver

    def job(self, speech: Speech, driver: Driver = "blocking") -> Job:
        return Job(
            speech,
            f"{self.server.url}/{PATHS[speech]}",
            str(self.file),
            driver,
            state=str(self.directory / "state"),
            namespace=f"/proc/{os.getpid()}/fd/{self.wan.client}",
        )

    @contextmanager
    def sent(self, job: Job) -> Iterator[Sending]:
        with sending(job, self.directory) as process:
            yield process

    def in_the_middle(self, count: int = MIDDLE) -> None:
        """Wait until *count* bytes of the upload have arrived."""
        self.receiver.wait(lambda receiver: receiver.received >= count)

    def changed(self, *commands: str) -> float:
        """Run ``ip`` on the client's host; return the moment before."""
        moment = time.monotonic()
        for command in commands:
            run(self.wan.client, "ip", *command.split())
        return moment

    def judged(self, fault: str, end: End, noticed: float | None = None) -> None:
        """Judge what the server has of a resumable upload, and report it."""
        deliveries, uploads = self.receiver.deliveries, self.receiver.uploads
        whole = [d for d in deliveries if self.content in d.read()]
        arrived = end.status is not None and len(whole) == len(deliveries) > 0
        again = any(u.lowest_resent is not None for u in uploads)
        figures = Figures(
            f"WAN: {fault}",
            cases=1,
            duplicated=len(deliveries) > 1 or len(uploads) > 1 or again,
            lost=not arrived,
            resent=sum(u.sent_twice for u in uploads),
            noticed=noticed,
        )
        record(figures)
        assert figures.clean, (figures, end)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Wan(SEED) as wan, served(wan) as server:
        yield World(wan, server, tmp_path)


WEATHERS = {
    "loss of 3 %": Weather(delay=0.01, loss=0.03),
    "jitter": Weather(delay=0.03, jitter=0.01),
    "reordering": Weather(delay=0.02, reorder=0.1),
    "duplicates": Weather(delay=0.01, duplicate=0.2),
    "corruption of 2 %": Weather(delay=0.01, corrupt=0.02),
    "a narrow line with a short queue": Weather(0, 0.02, rate=500_000, queue=16_000),
    "all at once": Weather(0.01, 0.02, 0.005, 0.02, 0.02, 0.01, 800_000),
}


@pytest.mark.parametrize("weather", WEATHERS)
@pytest.mark.parametrize(
    ("speech", "driver"),
    [_CASES[0]]
    + [pytest.param(*case, marks=pytest.mark.long) for case in _CASES[1:] + _OTHERS],
)
def test_bad_weather_harms_nothing(
    weather: str, speech: Speech, driver: Driver, world: World
) -> None:
    world.wan.set(WEATHERS[weather])
    with world.sent(world.job(speech, driver)) as upload:
        end = upload.end()
    world.judged(weather, end)


def test_a_slow_line_is_not_taken_for_a_dead_one(world: World) -> None:
    """Much waits in the kernel once a line was fast that is slow now."""
    with inside(world.wan.client):
        # What else grows with the speed of the line.
        sizes = "4096 800000 800000"
        Path("/proc/sys/net/ipv4/tcp_wmem").write_text(sizes)
    queue = 4_000_000
    timeouts = replace(BRIEF, progress=0.7, answer=0.7)
    world.wan.set(Weather(delay=0.01, rate=2_000_000, queue=queue))
    with world.sent(replace(world.job("rufh"), timeouts=timeouts)) as upload:
        world.in_the_middle(100_000)
        world.wan.set(Weather(delay=0.01, rate=120_000, queue=queue))
        end = upload.end()
        assert upload.all("interrupted") == []
    world.judged("a line that becomes slow", end)


@each_case
def test_a_dead_link_is_noticed_and_the_upload_goes_on_when_it_is_back(
    speech: Speech, driver: Driver, world: World
) -> None:
    world.wan.set(SLOW)
    with world.sent(world.job(speech, driver)) as upload:
        world.in_the_middle()
        dead = world.wan.set(DEAD)
        notice = upload.wait_for("interrupted", since=dead.moment)
        world.wan.set(SLOW)
        end = upload.end()
    noticed = notice.moment - dead.moment
    assert noticed < BRIEF.progress + SLACK
    world.judged("link dead, then back", end, noticed)
