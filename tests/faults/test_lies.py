"""A server that lies: memory, time and secrets stay bounded, and nothing is lost.

Whatever it says, an upload ends in a documented error, or in success after every
byte was handed over; what is seen of it holds no secret; and once the server
tells the truth again, doing what the message says ends in exactly one upload.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from poster_resume import (
    OutcomeUnknown,
    Timeouts,
    UploadError,
)
from poster_resume.testing import Receiver

from .hostile import Asked, Hostile, Said, Script, Then
from .judging import (
    CONTENT,
    SECRET,
    WAYS,
    Verdict,
    Way,
    cancelled,
    sent,
    speaking,
    target_of,
)
from .lies import (
    ANYWHERE,
    ENDLESS,
    PLACES,
    RUFH_LIES,
    SLOW,
    TUS_LIES,
    Lie,
    saying,
)
from .report import Figures, record

#: Which request of which protocol is lied to.
Place = tuple[str, str]
RESUMABLE: list[Place] = [
    ("rufh", "POST"),
    ("rufh", "PATCH"),
    ("rufh", "HEAD"),
    ("tus", "POST"),
    ("tus", "PATCH"),
    ("tus", "HEAD"),
]
EVERYWHERE: list[Place] = [*RESUMABLE, ("oneshot", "POST")]

#: The truth may take its time.
PATIENT = Timeouts(connect=20, progress=20, answer=20, probe=20)

#: Seconds that three attempts may take here, whatever is said.
LIMIT = 18.0

SHA256 = hashlib.sha256(CONTENT).hexdigest()


def told_to(place: Place, lie: Lie) -> Script:
    """Tell the truth to all requests but those of *place*."""
    _, method = place

    def script(asked: Asked) -> Iterator[Said]:
        if asked.method == method:
            yield from lie(asked)
        elif method == "HEAD" and asked.method == "PATCH":
            yield Then.RESET  # so that the offset is asked for
        else:
            yield asked.truth()

    return script


def honest(asked: Asked) -> Iterator[Said]:
    yield asked.truth()


@dataclass
class Trial:
    """A liar, the truth that it knows, and a store; shared by a module's tests."""

    liar: Hostile
    receiver: Receiver
    store: Path
    number: int = 0

    def run(
        self,
        place: Place,
        way: Way,
        lie: Lie,
        *,
        fault: str,
        bends: bool = False,
        **options: Any,
    ) -> Verdict:
        """Send one upload past *lie*, and judge all that must hold of any.

        A lie that *bends* the truth lets the server have what was sent. Where
        nobody can know that, it may then be there more than once. The case
        counts for the class *fault*.
        """
        case = Figures(fault, 1, lost=1)
        began = time.monotonic()
        try:
            verdict = self._judged(place, way, lie, bends=bends, **options)
            case = Figures(
                fault, 1, told=verdict.error is not None, noticed=verdict.seconds
            )
        except BaseException:
            if time.monotonic() - began >= LIMIT:
                case = Figures(fault, 1, hung=1)
            raise
        finally:
            record(case)
        return verdict

    def _judged(
        self, place: Place, way: Way, lie: Lie, *, bends: bool, **options: Any
    ) -> Verdict:
        self.number += 1
        self.liar.script = told_to(place, lie)
        first = len(self.liar.asked)
        verdict = self._sent(place[0], way, **options)
        assert verdict.seconds < LIMIT
        shows_no_secret(verdict)
        if verdict.outcome is not None:
            assert handed_over(self.liar.asked[first:]) >= len(CONTENT)
        elif verdict.error is not None and verdict.error.resumable:
            self._recovered(place[0], way, verdict.error, bends=bends)
        return verdict

    def _sent(self, protocol: str, way: Way, **options: Any) -> Verdict:
        path = target_of(self.liar.origin, protocol, self.number)
        return sent(
            path,
            way,
            protocol=speaking(protocol),
            store=self.store,
            key=f"{self.number}",
            **options,
        )

    def _recovered(
        self, protocol: str, way: Way, error: UploadError, *, bends: bool
    ) -> None:
        """Do what the errors say until it is done, with an honest server."""
        self.liar.script = honest
        doubted = False
        for _ in range(3):
            doubted = doubted or isinstance(error, OutcomeUnknown)
            assume = "lost" if isinstance(error, OutcomeUnknown) else None
            if "cancel this upload" in str(error):
                doubted = True
                path = target_of(self.liar.origin, protocol, self.number)
                cancelled(path, key=f"{self.number}", store=self.store)
            verdict = self._sent(protocol, way, assume=assume, timeouts=PATIENT)
            shows_no_secret(verdict)
            if verdict.outcome is not None:
                break
            assert verdict.error is not None
            error = verdict.error
        else:
            raise AssertionError("never done") from error
        delivered = [
            each.sha256
            for each in self.receiver.deliveries
            if f"/{self.number}?" in each.path or each.path.endswith(f"/{self.number}")
        ]
        assert set(delivered) == {SHA256}
        assert len(delivered) == 1 or (bends and doubted)


def shows_no_secret(verdict: Verdict) -> None:
    assert SECRET not in verdict.shown
    assert "/uploads/" not in verdict.shown


def handed_over(asked: list[Asked]) -> int:
    """Return how many bytes from the first on the server was given; each is right."""
    end = 0
    for each in asked:
        start = int(each.headers.get("upload-offset", "0"))
        stop = start + len(each.content)
        assert each.content == CONTENT[start:stop]
        if start <= end:
            end = max(end, stop)
    return end


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    with Receiver() as receiver, Hostile(honest, receiver) as liar:
        yield Trial(liar, receiver, tmp_path_factory.mktemp("state"))


def some(
    lies: dict[str, Lie], places: list[Place], each: int, *, share: int = 1
) -> list[Any]:
    """Pair every lie with *each* places and ways in turn; if long, with all of them.

    *share* 2 makes that every other one, in turn, of many lies that are alike.
    """
    everything = list(itertools.product(places, WAYS))
    turn = itertools.cycle(_shuffled(everything))
    chosen = []
    for number, (name, lie) in enumerate(lies.items()):
        now = {next(turn) for _ in range(each)}
        for at, (place, way) in enumerate(everything):
            usual = (place, way) in now
            # Ways are four in number: so each place has two of them each time.
            if not usual and (at + at // 4 + number) % share:
                continue
            marks = [] if usual else [pytest.mark.long]
            told = f"{name}-{place[0]}-{place[1]}-{way[0]}-{way[1]}"
            chosen.append(pytest.param(lie, place, way, id=told, marks=marks))
    return chosen


def _shuffled(everything: list[Any]) -> list[Any]:
    # A step that has no divisor in common with any of the lengths used here.
    return [everything[(i * 11) % len(everything)] for i in range(len(everything))]


@pytest.mark.parametrize(
    ("lie", "place", "way"), some(ANYWHERE, EVERYWHERE, 1, share=2)
)
def test_an_answer_that_is_none_ends_in_an_error_and_loses_nothing(
    trial: Trial, lie: Lie, place: Place, way: Way
) -> None:
    trial.run(place, way, lie, fault="lie: no answer at all")


@pytest.mark.parametrize(
    ("lie", "place", "way"),
    some(RUFH_LIES, [("rufh", "PATCH"), ("rufh", "HEAD")], 1),
)
def test_what_a_rufh_server_says_of_an_upload_is_believed_only_if_it_can_be(
    trial: Trial, lie: Lie, place: Place, way: Way
) -> None:
    trial.run(place, way, lie, fault="lie: what cannot be of an upload, rufh")


@pytest.mark.parametrize(
    ("lie", "place", "way"), some(TUS_LIES, [("tus", "PATCH"), ("tus", "HEAD")], 1)
)
def test_what_a_tus_server_says_of_an_upload_is_believed_only_if_it_can_be(
    trial: Trial, lie: Lie, place: Place, way: Way
) -> None:
    trial.run(place, way, lie, fault="lie: what cannot be of an upload, tus")


def placed(location: str) -> Lie:
    head = f"HTTP/1.1 201 x\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    return saying(head.encode("latin-1"))


@pytest.mark.parametrize(
    ("lie", "place", "way"),
    some(
        {name: placed(location) for name, location in PLACES.items()},
        [("rufh", "POST"), ("tus", "POST")],
        1,
    ),
)
def test_an_upload_resource_that_cannot_be_is_not_asked_for(
    trial: Trial, lie: Lie, place: Place, way: Way
) -> None:
    trial.run(place, way, lie, fault="lie: an upload resource that cannot be")


def bounded(name: str, way: Way) -> bool:
    """Whether *way* can notice this: httpx itself waits for ever for some."""
    return way != ("blocking", "httpx") or not name.startswith(("interim", "104"))


#: Ten times these is what interim responses may cost.
SHORT = Timeouts(connect=0.2, progress=0.03, answer=0.06, probe=0.06)


@pytest.mark.parametrize(
    ("lie", "place", "way"),
    [
        case
        for case in some(ENDLESS, EVERYWHERE, 1)
        if bounded(str(case.id), case.values[2])
    ],
)
def test_an_answer_without_end_ends(
    trial: Trial, lie: Lie, place: Place, way: Way
) -> None:
    trial.run(place, way, lie, timeouts=SHORT, fault="lie: an answer without end")


@pytest.mark.parametrize(
    ("lie", "place", "way"),
    [
        case
        for case in some(SLOW, EVERYWHERE, 1)
        if case.values[2] != ("blocking", "httpx")
    ],
)
def test_a_byte_now_and_then_is_not_waited_for_for_ever(
    trial: Trial, lie: Lie, place: Place, way: Way
) -> None:
    trial.run(place, way, lie, timeouts=SHORT, fault="lie: a byte now and then")
