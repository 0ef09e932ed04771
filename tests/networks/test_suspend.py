"""Senders that are stopped in the middle of an upload, and go on much later."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pytest

from poster_resume import Timeouts

from .loopback import Line, lines
from .sending import Driver, Sending, Speech, sending

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGSTOP is POSIX")

#: What becomes of the connection while its sender is stopped: it is reset, it is
#: closed, nothing passes any more, or it is as it was.
Way = Literal["rst", "fin", "silent", "alive"]

SLACK = 2.0


@dataclass(frozen=True)
class Stopped:
    """One sender that is stopped."""

    speech: Speech
    driver: Driver
    way: Way


_FEW = [
    Stopped("rufh", "blocking", "rst"),
    Stopped("rufh", "asyncio", "fin"),
    Stopped("rufh", "trio", "alive"),
    Stopped("tus", "asyncio", "silent"),
    Stopped("tus", "blocking", "alive"),
    Stopped("oneshot", "blocking", "rst"),
]
_SENDERS: list[tuple[Speech, Driver]] = [
    ("rufh", "blocking"),
    ("rufh", "asyncio"),
    ("rufh", "trio"),
    ("tus", "trio"),
    ("oneshot", "asyncio"),
]
_ALL = [
    Stopped(speech, driver, way) for speech, driver in _SENDERS for way in get_args(Way)
]


@pytest.mark.parametrize(
    ("cases", "seconds", "patience"),
    [
        pytest.param(_FEW, 1.2, 0.8, id="a moment"),
        pytest.param(
            _ALL,
            61,
            3.0,
            id="a minute",
            marks=[pytest.mark.long, pytest.mark.timeout(600)],
        ),
    ],
)
def test_a_stopped_sender_goes_on_and_ends_exactly_once(
    cases: list[Stopped], seconds: float, patience: float, tmp_path: Path
) -> None:
    timeouts = Timeouts(patience, patience, patience, patience)
    with (
        lines([(case.speech, case.driver) for case in cases], tmp_path) as made,
        ExitStack() as stack,
    ):
        sent: list[tuple[Stopped, Line, Sending]] = []
        for case, line in zip(cases, made, strict=True):
            # Out of patience by the time that it goes on, but it made progress.
            job = line.job(timeouts, patience=seconds * 0.75)
            upload = stack.enter_context(sending(job, line.directory))
            sent.append((case, line, upload))
            # One after the other: some would be at their end, all at once.
            line.in_the_middle()
            upload.signal(signal.SIGSTOP)
            match case.way:
                case "rst" | "fin":
                    assert line.link.cut_now(case.way) >= 1
                case "silent":
                    line.link.hold()
                case "alive":
                    pass
        # What is tested is that so much time passes, and nothing else happens.
        time.sleep(seconds)
        for case, line, upload in sent:
            went_on = time.monotonic()
            upload.signal(signal.SIGCONT)
            _judge(case, line, upload, went_on, timeouts)


def _judge(
    case: Stopped, line: Line, upload: Sending, went_on: float, timeouts: Timeouts
) -> None:
    fault = f"SIGSTOP for a while, the connection {_SAID[case.way]}"
    if case.way == "alive":
        end = upload.end()
        assert upload.all("interrupted", since=went_on) == []
        line.judged(fault, end)
        return
    if case.speech != "oneshot":
        notice = upload.wait_for("interrupted", since=went_on)
        line.link.release()
        noticed = notice.moment - went_on
        line.judged(fault, upload.end(), noticed=noticed)
    else:
        end = upload.end()
        noticed = time.monotonic() - went_on
        assert end.error == "Incomplete", end
        assert not line.receiver.deliveries
        line.link.release()
        with sending(line.job(timeouts), line.directory) as again:
            line.judged(fault, again.end(), noticed=noticed, told=True)
    assert noticed < timeouts.progress + SLACK


_SAID: dict[Way, str] = {
    "rst": "reset",
    "fin": "closed",
    "silent": "dead",
    "alive": "alive",
}
