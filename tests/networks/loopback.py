"""Several uploads at once on loopback, each over a link of its own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from poster_resume import Timeouts
from poster_resume.testing import Behaviour, Link, Receiver, Throttle

from ..faults.effort import SEED
from .judging import judge
from .sending import PATHS, Driver, End, Job, Speech

SIZE = 600_000
#: How much of an upload has arrived when something happens.
MIDDLE = 100_000
#: Bytes per second, while the link is slow.
RATE = 400_000


@dataclass(frozen=True)
class Line:
    """One upload's *link* to its *receiver*, and where it goes there."""

    receiver: Receiver
    link: Link
    speech: Speech
    driver: Driver
    directory: Path
    content: bytes

    @property
    def path(self) -> str:
        return f"/{PATHS[self.speech]}/{self.driver}"

    def job(
        self, timeouts: Timeouts, *, patience: float = 30.0, wait: float = 0.0
    ) -> Job:
        """Return the job of sending over this line."""
        return Job(
            self.speech,
            f"{self.link.url}{self.path}",
            str(self.directory / "scan.bin"),
            self.driver,
            state=str(self.directory / "state"),
            timeouts=timeouts,
            patience=patience,
            wait=wait,
        )

    def in_the_middle(self) -> None:
        """Wait until a part of the upload has arrived."""

        def arrived(receiver: Receiver) -> bool:
            return any(u.offset >= MIDDLE for u in receiver.uploads)

        self.receiver.wait(arrived)

    def judged(
        self,
        fault: str,
        end: End,
        *,
        noticed: float | None = None,
        told: bool = False,
    ) -> None:
        """Judge what the server has, and report it."""
        judge(
            self.receiver,
            self.path,
            self.content,
            end,
            fault,
            noticed=noticed,
            told=told,
        )


@contextmanager
def lines(
    cases: list[tuple[Speech, Driver]],
    directory: Path,
    behaviour: Behaviour | None = None,
) -> Iterator[list[Line]]:
    """Yield a slow line for each of *cases*."""
    content = random.Random(SEED).randbytes(SIZE)
    with ExitStack() as stack:
        made = []
        for number, (speech, driver) in enumerate(cases):
            own = directory / str(number)
            own.mkdir()
            (own / "scan.bin").write_bytes(content)
            receiver = stack.enter_context(Receiver(behaviour=behaviour))
            slow = repeat(Throttle(RATE, "up"))
            link = stack.enter_context(Link(receiver.port, slow))
            made.append(Line(receiver, link, speech, driver, own, content))
        yield made
