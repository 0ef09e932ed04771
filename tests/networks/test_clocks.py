"""Clocks that are set while an upload goes on, or between two attempts at it."""

from __future__ import annotations

import email.utils
import os
import time
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

import pytest

from poster_resume import Timeouts, uploads
from poster_resume.stores.sqlite import SQLiteStore
from poster_resume.testing import Behaviour
from poster_resume.testing import Rule as ServerRule

from .loopback import Line, lines
from .sending import BRIEF, Driver, Job, Sending, Speech, executing, sending

_LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
pytestmark = pytest.mark.skipif(
    _LIBRARY is None, reason="libfaketime is not installed (Debian's faketime)"
)

Jump = Literal["forward by a day", "back by a year"]
DAY: Final = 86400
_SECONDS: dict[Jump, int] = {"forward by a day": DAY, "back by a year": -365 * DAY}
JUMPS: tuple[Jump, ...] = get_args(Jump)


#: Only a jump could make this end.
PATIENT = Timeouts(20, 20, 20, 20)


class Clock:
    """A wall clock that can be set while processes look at it."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self._set(0)

    def jump(self, jump: Jump) -> None:
        self._set(_SECONDS[jump])

    def _set(self, seconds: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)

    def sending(self, job: Job, directory: Path) -> AbstractContextManager[Sending]:
        """Do *job* in a process that lives by this clock."""
        return executing(
            job,
            directory,
            LD_PRELOAD=os.fspath(_LIBRARY or ""),
            FAKETIME_TIMESTAMP_FILE=str(self._file),
            FAKETIME_NO_CACHE="1",
            # Clocks are set; time goes on as ever, and files keep theirs.
            FAKETIME_DONT_FAKE_MONOTONIC="1",
            DONT_FAKE_MONOTONIC="1",
            NO_FAKE_STAT="1",
        )


@dataclass(frozen=True)
class Case:
    """Who sends, and what happens to his clock."""

    speech: Speech
    driver: Driver
    jump: Jump


_FEW = [
    Case("rufh", "blocking", "forward by a day"),
    Case("tus", "asyncio", "back by a year"),
]
_FEW_PLAIN = [Case("oneshot", "trio", "back by a year")]
_ALL = [
    Case(speech, driver, jump)
    for speech in ("rufh", "tus")
    for driver in get_args(Driver)
    for jump in JUMPS
]
_ALL_PLAIN = [
    Case("oneshot", driver, jump) for driver in get_args(Driver) for jump in JUMPS
]


def _few_or_all(few: list[Case], everything: list[Case]) -> pytest.MarkDecorator:
    more = pytest.param(everything, id="all", marks=pytest.mark.long)
    return pytest.mark.parametrize("cases", [pytest.param(few, id="few"), more])


def _said(line: Line, jump: Jump) -> None:
    """Look that the clock has jumped: the state says when it was written."""
    (info,) = uploads(line.directory / "state")
    assert abs(info.updated - time.time() - _SECONDS[jump]) < 3600


@_few_or_all(_FEW + _FEW_PLAIN, _ALL + _ALL_PLAIN)
def test_a_clock_that_jumps_in_the_middle_of_an_upload_is_no_interruption(
    cases: list[Case], tmp_path: Path
) -> None:
    with (
        lines([(case.speech, case.driver) for case in cases], tmp_path) as made,
        ExitStack() as stack,
    ):
        sent = []
        for case, line in zip(cases, made, strict=True):
            clock = Clock(line.directory)
            job = line.job(PATIENT)
            upload = stack.enter_context(clock.sending(job, line.directory))
            sent.append((case, line, upload))
            # One after the other: the first would be at its end by the last's middle.
            line.in_the_middle()
            clock.jump(case.jump)
        for case, line, upload in sent:
            end = upload.end()
            line.judged(f"the clock jumps {case.jump}, mid-upload", end)
            assert upload.all("interrupted") == []
            _said(line, case.jump)


@_few_or_all(_FEW, _ALL)
def test_an_upload_goes_on_although_the_clock_jumped_between_two_attempts(
    cases: list[Case], tmp_path: Path
) -> None:
    """By the clock that went forward, the upload has expired long ago."""
    expiring = Behaviour(max_age=3600)
    named = [(case.speech, case.driver) for case in cases]
    with lines(named, tmp_path, expiring) as made:
        for case, line in zip(cases, made, strict=True):
            clock = Clock(line.directory)
            job = line.job(BRIEF)
            with sending(job, line.directory):
                line.in_the_middle()
            clock.jump(case.jump)
            with clock.sending(job, line.directory) as upload:
                end = upload.end()
                found = upload.wait_for("found")
            line.judged(f"the clock jumps {case.jump}, between attempts", end)
            assert found is not None
            _said(line, case.jump)


@pytest.mark.parametrize(
    "spelled", [pytest.param("seconds", marks=pytest.mark.long), "date"]
)
@_few_or_all(_FEW, _ALL)
def test_a_jump_makes_no_wait_longer_or_shorter(
    cases: list[Case], spelled: str, tmp_path: Path
) -> None:
    """The server says 2 s; by the clock of the jump that date is far away."""
    with lines([(case.speech, case.driver) for case in cases], tmp_path) as made:
        sent = []
        with ExitStack() as stack:
            for case, line in zip(cases, made, strict=True):
                clock = Clock(line.directory)
                moment = time.time()
                headers = {"retry-after": "2"}
                if spelled == "date":
                    # The wait is a difference of whole seconds, by the server's clock.
                    headers = {
                        "retry-after": email.utils.formatdate(moment + 2, usegmt=True),
                        "date": email.utils.formatdate(moment, usegmt=True),
                    }
                    clock.jump(case.jump)
                line.receiver.script(ServerRule(status=503, headers=headers))
                job = line.job(BRIEF)
                upload = stack.enter_context(clock.sending(job, line.directory))
                sent.append((case, line, clock, upload))
            asked = []
            for case, _, clock, upload in sent:
                asked.append(upload.wait_for("interrupted", about="503"))
                clock.jump(case.jump)
            for (case, line, _, upload), told in zip(sent, asked, strict=True):
                line.in_the_middle()
                waited = time.monotonic() - told.moment
                end = upload.end()
                line.judged(f"the clock jumps {case.jump}, during Retry-After", end)
                # Other lines were looked at in between: only the lower bound is sharp.
                assert 2.0 <= waited < 20.0
                _said(line, case.jump)


@pytest.mark.parametrize(
    ("speech", "jump"),
    [
        ("rufh", "back by a year"),
        pytest.param("rufh", "forward by a day", marks=pytest.mark.long),
        pytest.param("tus", "back by a year", marks=pytest.mark.long),
        pytest.param("oneshot", "back by a year", marks=pytest.mark.long),
    ],
)
def test_who_waits_for_another_process_sends_nothing_again_after_a_jump(
    speech: Speech, jump: Jump, tmp_path: Path
) -> None:
    with lines([(speech, "blocking")], tmp_path) as (line,):
        clock = Clock(line.directory)
        # libfaketime has time.sleep() fail at a jump: nobody may have to wait for
        # the other to make the database.
        with closing(SQLiteStore(line.directory / "state")) as store:
            assert store.load("none") is None
        # Both have to begin while nothing gets through, however long that takes.
        job = line.job(PATIENT, wait=30)
        line.link.hold()
        with (
            clock.sending(job, line.directory) as one,
            clock.sending(job, line.directory) as other,
        ):
            one.wait_for("began")
            other.wait_for("began")
            line.link.release()
            line.in_the_middle()
            clock.jump(jump)
            ends = [one.end(), other.end()]
        assert [end.message for end in ends] == ["", ""]
        assert ends[0].content == ends[1].content
        line.judged(f"the clock jumps {jump}, while another process waits", ends[1])
