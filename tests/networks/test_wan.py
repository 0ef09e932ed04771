"""Uploads over a real network's faults: packets that fare badly, links that die."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from poster_resume import Timeouts
from poster_resume.testing import Receiver

from ..faults.effort import SEED
from ..faults.report import Figures, record
from . import namespaces
from .judging import judge
from .namespaces import CLEAR, DEAD, Server, Wan, inside, run, served
from .sending import BRIEF, PATHS, Driver, End, Job, Sending, Speech, sending
from .wan import DEVICE, Weather

_MISSING = namespaces.missing()
if _MISSING is not None:
    record(Figures(f"WAN between network namespaces: not run, {_MISSING}"))
pytestmark = pytest.mark.skipif(_MISSING is not None, reason=str(_MISSING))

SIZE = 600_000
#: The size where several send at once: before all of them are in their middle,
#: none has to be at its end.
LARGE = 3_000_000
#: How much of an upload has arrived when a fault comes.
MIDDLE = 150_000
#: A link that takes longer for an upload than a fault does to come.
SLOW = Weather(delay=0.01, rate=600_000)
#: Half a second of patience with everything.
HASTY = Timeouts(connect=0.5, progress=0.5, answer=0.5, probe=0.5)
#: Seconds beyond the stated ones within which a fault has to be noticed: what the
#: kernel still took before, a look at its queue, and a machine with other work.
SLACK = 1.0


@dataclass(frozen=True)
class Case:
    """One of those that send at the same time: who, and to where."""

    speech: Speech
    driver: Driver

    @property
    def path(self) -> str:
        return f"/{PATHS[self.speech]}/{self.driver}"


_FEW = [Case("rufh", "blocking"), Case("tus", "asyncio")]
_OTHERS = [
    Case("rufh", "asyncio"),
    Case("rufh", "trio"),
    Case("tus", "blocking"),
    Case("tus", "trio"),
]
_PLAIN = [Case("oneshot", "blocking")]
_PLAIN_OTHERS = [Case("oneshot", "asyncio"), Case("oneshot", "trio")]


def _few_or_others(few: list[Case], others: list[Case]) -> pytest.MarkDecorator:
    more = pytest.param(others, id="others", marks=pytest.mark.long)
    return pytest.mark.parametrize("cases", [pytest.param(few, id="few"), more])


def _most_long(names: Iterable[str], few: Collection[str]) -> list[ParameterSet]:
    """Return *names* as parameters: the *few* always, the others in long runs."""
    return [
        pytest.param(name, marks=[] if name in few else [pytest.mark.long])
        for name in names
    ]


all_cases = _few_or_others(_FEW, _OTHERS)
all_plain_cases = _few_or_others(_PLAIN, _PLAIN_OTHERS)


class World:
    """A client's host, a server's host, and a file to be sent."""

    def __init__(self, wan: Wan, server: Server, directory: Path) -> None:
        self.wan, self.server, self.directory = wan, server, directory
        self.file = directory / "scan.bin"
        self.holds(SIZE)

    @property
    def receiver(self) -> Receiver:
        return self.server.receiver

    def holds(self, size: int) -> None:
        """Have *size* bytes to send."""
        self.content = random.Random(SEED).randbytes(size)
        self.file.write_bytes(self.content)

    def job(self, case: Case, timeouts: Timeouts = BRIEF) -> Job:
        return Job(
            case.speech,
            f"{self.server.url}{case.path}",
            str(self.file),
            case.driver,
            state=str(self.directory / f"state-{case.speech}-{case.driver}"),
            timeouts=timeouts,
            namespace=f"/proc/{os.getpid()}/fd/{self.wan.client}",
        )

    @contextmanager
    def sent(self, job: Job) -> Iterator[Sending]:
        with sending(job, self.directory) as process:
            yield process

    @contextmanager
    def all_sent(self, cases: list[Case]) -> Iterator[list[Sending]]:
        """Send as all of *cases* at once, in haste."""
        if len(self.content) != LARGE:
            self.holds(LARGE)
        with ExitStack() as stack:
            jobs = [self.job(case, HASTY) for case in cases]
            yield [stack.enter_context(self.sent(job)) for job in jobs]

    def in_the_middle(self, cases: list[Case], count: int = MIDDLE) -> float:
        """Wait until *count* bytes of each have arrived; return the moment."""
        paths = {case.path for case in cases}

        def arrived(receiver: Receiver) -> bool:
            seen = receiver.uploads
            return paths <= {u.target for u in seen if u.offset >= count}

        self.receiver.wait(arrived)
        return time.monotonic()

    def changed(self, *commands: str) -> None:
        """Run ``ip`` on the client's host."""
        for command in commands:
            run(self.wan.client, "ip", *command.split())

    def delivered(self, case: Case) -> int:
        """Return how many whole forms of *case* have arrived."""
        return sum(d.path == case.path for d in self.receiver.deliveries)

    def judged(
        self,
        fault: str,
        case: Case,
        end: End,
        noticed: float | None = None,
        *,
        told: bool = False,
    ) -> None:
        """Judge what the server has of an upload, and report it."""
        judge(
            self.receiver,
            case.path,
            self.content,
            end,
            f"WAN: {fault}",
            noticed=noticed,
            told=told,
        )


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
_FEW_WEATHERS = ("a narrow line with a short queue", "reordering", "all at once")


@pytest.mark.parametrize("weather", _most_long(WEATHERS, _FEW_WEATHERS))
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.path, marks=[pytest.mark.long] if place else [])
        for place, case in enumerate([*_FEW, *_OTHERS])
    ],
)
def test_bad_weather_harms_nothing(weather: str, case: Case, world: World) -> None:
    world.wan.set(WEATHERS[weather])
    with world.sent(world.job(case)) as upload:
        end = upload.end()
    world.judged(weather, case, end)


def test_a_slow_line_is_not_taken_for_a_dead_one(world: World) -> None:
    """Much waits in the kernel once a line was fast that is slow now."""
    with inside(world.wan.client):
        # What else grows with the speed of the line.
        sizes = "4096 800000 800000"
        Path("/proc/sys/net/ipv4/tcp_wmem").write_text(sizes)
    queue = 4_000_000
    timeouts = replace(BRIEF, progress=0.5, answer=0.5)
    case = _FEW[0]
    world.wan.set(Weather(delay=0.01, rate=2_000_000, queue=queue))
    with world.sent(world.job(case, timeouts)) as upload:
        world.in_the_middle([case], 100_000)
        world.wan.set(Weather(delay=0.01, rate=240_000, queue=queue))
        end = upload.end()
        assert upload.all("interrupted") == []
    world.judged("a line that becomes slow", case, end)


@dataclass(frozen=True)
class Outage:
    """A fault of the client's link: how it *begins*, and how it is over."""

    begins: Callable[[World], object]
    ends: Callable[[World], object]


def _clear(world: World) -> None:
    world.wan.set(CLEAR)


def _up_again(world: World) -> None:
    world.changed(f"link set {DEVICE} up")
    world.wan.set(CLEAR)


def _forgiven(world: World) -> None:
    world.server.forgive()
    world.wan.set(CLEAR)


def _moved(world: World) -> None:
    world.changed(f"addr flush dev {DEVICE}", f"addr add 10.88.0.9/24 dev {DEVICE}")
    world.wan.set(CLEAR)


OUTAGES = {
    "a dead link": Outage(lambda world: world.wan.set(DEAD), _clear),
    "the way up dead": Outage(lambda world: world.wan.set(DEAD, SLOW), _clear),
    "the way down dead": Outage(lambda world: world.wan.set(SLOW, DEAD), _clear),
    "the link down": Outage(
        lambda world: world.changed(f"link set {DEVICE} down"),
        _up_again,
    ),
    "another address": Outage(_moved, lambda world: None),
}
_FEW_OUTAGES = ("the way down dead", "the link down", "another address")


@all_cases
@pytest.mark.parametrize("fault", _most_long(OUTAGES, _FEW_OUTAGES))
def test_an_outage_is_noticed_and_the_upload_goes_on_after_it(
    fault: str, cases: list[Case], world: World
) -> None:
    outage = OUTAGES[fault]
    world.wan.set(SLOW)
    with world.all_sent(cases) as uploads:
        world.in_the_middle(cases)
        began = time.monotonic()
        outage.begins(world)
        notices = [upload.wait_for("interrupted", since=began) for upload in uploads]
        outage.ends(world)
        ends = [upload.end() for upload in uploads]
    for case, notice, end in zip(cases, notices, ends, strict=True):
        noticed = notice.moment - began
        world.judged(fault, case, end, noticed)
        assert noticed < HASTY.progress + SLACK
    if fault == "another address":
        assert "10.88.0.9" in world.wan.seen().addresses


@all_cases
def test_a_link_that_flaps_is_no_interruption(cases: list[Case], world: World) -> None:
    world.holds(LARGE)
    world.wan.set(SLOW)
    with ExitStack() as stack:
        uploads = [stack.enter_context(world.sent(world.job(case))) for case in cases]
        world.in_the_middle(cases)
        for _ in range(3):
            world.changed(f"link set {DEVICE} down", f"link set {DEVICE} up")
        world.wan.set(CLEAR)
        ends = [upload.end() for upload in uploads]
        assert [upload.all("interrupted") for upload in uploads] == [[] for _ in cases]
    for case, end in zip(cases, ends, strict=True):
        world.judged("the link down for a moment", case, end)


@all_cases
def test_a_server_that_vanishes_without_a_word_is_noticed(
    cases: list[Case], world: World
) -> None:
    world.server.drop_after(MIDDLE)
    world.wan.set(SLOW)
    with world.all_sent(cases) as uploads:
        moment = world.in_the_middle(cases, MIDDLE * 4 // 5)
        notices = [upload.wait_for("interrupted") for upload in uploads]
        world.server.forgive()
        world.wan.set(CLEAR)
        ends = [upload.end() for upload in uploads]
    for case, notice, end in zip(cases, notices, ends, strict=True):
        world.judged("half-open", case, end, max(0.0, notice.moment - moment))
        assert notice.moment - moment < HASTY.progress + SLACK


@all_cases
def test_resets_by_a_middlebox_cost_nothing_that_arrived(
    cases: list[Case], world: World
) -> None:
    world.server.reset_after(LARGE // 3)
    world.wan.set(Weather(delay=0.005))
    with world.all_sent(cases) as uploads:
        ends = [upload.end() for upload in uploads]
        for case, upload, end in zip(cases, uploads, ends, strict=True):
            world.judged("resets by a middlebox", case, end)
            assert len(upload.all("interrupted")) >= 3


@all_cases
def test_an_answer_lost_after_the_last_byte_is_asked_for(
    cases: list[Case], world: World
) -> None:
    # More than the content goes over the line, so these are its last bytes.
    world.server.lose_answers_after(LARGE)
    with world.all_sent(cases) as uploads:
        world.receiver.wait(lambda _: all(map(world.delivered, cases)))
        moment = time.monotonic()
        notices = [upload.wait_for("interrupted") for upload in uploads]
        ends = [upload.end() for upload in uploads]
    for case, notice, end in zip(cases, notices, ends, strict=True):
        noticed = max(0.0, notice.moment - moment)
        world.judged("the answer lost after the last byte", case, end, noticed)
        assert noticed < HASTY.answer + SLACK


CONNECT_FAULTS: dict[str, Callable[[World], object]] = {
    "connection refused": lambda world: world.server.refuse(),
    "host unreachable": lambda world: world.server.unreachable(),
    "a black hole at the connect": lambda world: world.wan.set(DEAD),
    "no network at the connect": lambda world: world.changed(f"link set {DEVICE} down"),
}
_FEW_CONNECT_FAULTS = ("connection refused", "a black hole at the connect")


@_few_or_others(_FEW + _PLAIN, _OTHERS + _PLAIN_OTHERS)
@pytest.mark.parametrize("fault", _most_long(CONNECT_FAULTS, _FEW_CONNECT_FAULTS))
def test_a_server_out_of_reach_is_waited_for(
    fault: str, cases: list[Case], world: World
) -> None:
    CONNECT_FAULTS[fault](world)
    with world.all_sent(cases) as uploads:
        begun = [upload.wait_for("planned").moment for upload in uploads]
        notices = [upload.wait_for("interrupted") for upload in uploads]
        world.server.forgive()
        world.changed(f"link set {DEVICE} up")
        world.wan.set(CLEAR)
        ends = [upload.end() for upload in uploads]
    for case, moment, notice, end in zip(cases, begun, notices, ends, strict=True):
        noticed = notice.moment - moment
        world.judged(fault, case, end, noticed)
        assert noticed < HASTY.connect + SLACK


BREAKS = OUTAGES | {
    "half-open": Outage(
        lambda world: world.server.drop_after(MIDDLE),
        _forgiven,
    ),
    "resets by a middlebox": Outage(
        lambda world: world.server.reset_after(MIDDLE),
        _forgiven,
    ),
}


@all_plain_cases
@pytest.mark.parametrize("fault", _most_long(BREAKS, ("half-open",)))
def test_a_plain_form_that_breaks_off_says_so_and_may_be_sent_again(
    fault: str, cases: list[Case], world: World
) -> None:
    world.wan.set(SLOW)
    with world.all_sent(cases) as uploads:
        moment = world.in_the_middle(cases)
        BREAKS[fault].begins(world)
        ends = [upload.end() for upload in uploads]
        noticed = time.monotonic() - moment
    assert {end.error for end in ends} == {"Incomplete"}
    assert [world.delivered(case) for case in cases] == [0 for _ in cases]
    BREAKS[fault].ends(world)
    with world.all_sent(cases) as uploads:
        ends = [upload.end() for upload in uploads]
    for case, end in zip(cases, ends, strict=True):
        world.judged(fault, case, end, noticed, told=True)
    assert noticed < HASTY.progress + SLACK


@all_plain_cases
def test_a_plain_form_whose_answer_is_lost_is_never_sent_twice_unasked(
    cases: list[Case], world: World
) -> None:
    world.server.lose_answers_after(LARGE)
    for _ in range(2):
        with world.all_sent(cases) as uploads:
            ends = [upload.end() for upload in uploads]
        assert {end.error for end in ends} == {"OutcomeUnknown"}
        assert [world.delivered(case) for case in cases] == [1 for _ in cases]
    for case in cases:
        job = replace(world.job(case), assume="complete")
        with world.sent(job) as upload:
            end = upload.end()
        fault = "the answer lost after the last byte"
        world.judged(fault, case, end, told=True)
