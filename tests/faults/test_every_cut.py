"""A small conversation, cut at every byte of every request and every answer."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from poster_resume.testing import ConnectionSeen, Cut, Link, Pass, Receiver
from poster_resume.testing.faults import How

from .cutting import (
    AGAIN,
    CONTENT,
    DRIVERS,
    HOWS,
    SHA256,
    SPEECHES,
    Again,
    Case,
    Driver,
    Seen,
    every_cut,
    figures,
    measured,
    run,
)
from .effort import SEED, Effort, chosen, each_effort, number
from .processes import ended, job_for
from .report import Figures, record

each_speech = pytest.mark.parametrize("speech", SPEECHES)
each_driver = pytest.mark.parametrize("driver", DRIVERS)

#: Bytes between two cuts, where two are made.
_GRID = 131
#: Bytes that the second conversation has more than the first: it asks first.
_MORE = 400


def grid(whole: ConnectionSeen, more: int = 0) -> list[Cut]:
    """Return cuts at equal distances, up to *more* bytes past a conversation."""
    up = [Cut(after, "up") for after in range(0, whole.up + more + 1, _GRID)]
    return up + [Cut(after, "down") for after in range(0, whole.down + more + 1, _GRID)]


def _in_turn(number: int) -> Sequence[Again]:
    """Return how async goes on after cut *number*: each way at every other byte.

    Cuts by RST and by FIN follow each other; they must not share their ways out.
    """
    return AGAIN[(number // 2 + number) % 2 :][:1]


def nothing_is_lost(fault: str, seen: Sequence[Seen]) -> None:
    tally = figures(fault, seen)
    record(tally)
    wrong = [each for each in seen if each.verdict not in ("delivered", "told")]
    assert tally.clean, wrong[:5]


@each_effort
@each_driver
@each_speech
def test_a_cut_at_any_byte_loses_and_duplicates_nothing(
    speech: str, driver: Driver, effort: Effort
) -> None:
    places = every_cut(SPEECHES[speech])
    cases = [
        Case(speech, driver, again, (*[Pass()] * connection, cut))
        for number, (connection, cut) in enumerate(places)
        for again in (AGAIN if driver == "blocking" else _in_turn(number))
    ]
    seen = run(chosen(cases, effort, few=12, sample=60))
    nothing_is_lost(f"cut at any byte, {speech}", seen)


@each_effort
@each_driver
@each_speech
def test_two_cuts_in_one_upload_lose_and_duplicate_nothing(
    speech: str, driver: Driver, effort: Effort
) -> None:
    (whole,) = measured(SPEECHES[speech])
    hows: Iterator[tuple[How, How]]
    hows = itertools.cycle([("rst", "rst"), ("rst", "fin"), ("fin", "rst")])
    cases = []
    for one, other in itertools.product(grid(whole), grid(whole, more=_MORE)):
        first, second = next(hows)
        cuts = replace(one, how=first), replace(other, how=second)
        cases += [Case(speech, driver, again, cuts) for again in AGAIN]
    seen = run(chosen(cases, effort, few=6, sample=24))
    nothing_is_lost(f"cut twice, {speech}", seen)


@each_effort
@pytest.mark.parametrize("speech", ["rufh careful", "tus", "oneshot"])
def test_another_process_goes_on_after_a_cut(
    speech: str, effort: Effort, tmp_path: Path
) -> None:
    source, path = random.Random(SEED), SPEECHES[speech].path
    (whole,) = measured(SPEECHES[speech])
    file = tmp_path / "scan.bin"
    file.write_bytes(CONTENT)
    cases = number(effort, few=1, sample=5, full=100)
    tally = Figures(f"cut, then another process, {speech}")
    with Receiver() as receiver:
        for case in range(cases):
            cut = Cut(source.randint(0, whole.up), "up", source.choice(HOWS))
            with Link(receiver.port, [cut]) as link:
                job = job_for(
                    SPEECHES[speech], f"{link.url}/{path}/{case}", file, tmp_path
                )
                told = [ended(job), ended(job)]
            deliveries = [d for d in receiver.deliveries if d.path == f"/{path}/{case}"]
            good = [d for d in deliveries if d.sha256 == SHA256]
            unknown = told[-1].error == "OutcomeUnknown" and path == "form"
            tally = tally.plus(
                Figures(
                    tally.fault,
                    cases=1,
                    told=unknown,
                    duplicated=len(deliveries) > 1,
                    lost=len(good) != len(deliveries)
                    or not (unknown or (good and told[-1].delivered)),
                )
            )
    record(tally)
    assert tally.clean, tally
