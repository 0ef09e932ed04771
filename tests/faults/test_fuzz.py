"""Answers that nobody thought of: random bytes, and valid answers bent.

The laws are those of ``test_lies``; a run of this is as long as one likes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poster_resume import Timeouts
from poster_resume.testing import Receiver

from .hostile import Asked, Hostile, Said
from .judging import WAYS
from .test_lies import EVERYWHERE, Trial, honest

#: What is worth putting into an answer.
_WORDS = [
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b": ",
    b"HTTP/1.1 ",
    b"100",
    b"104",
    b"200",
    b"204",
    b"307",
    b"500",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Upload-Offset: ",
    b"Upload-Offset: 6144\r\n",
    b"Upload-Complete: ?1\r\n",
    b"Upload-Complete: ?0\r\n",
    b"Upload-Limit: max-append-size=1\r\n",
    b"Location: //x\r\n",
    b"Location: http://127.0.0.1:1/\r\n",
    b"Retry-After: 99999\r\n",
    b"-1",
    b"9" * 20,
    b"\xff\xfe",
]
words = st.sampled_from(_WORDS) | st.binary(max_size=20)
junk = st.lists(words, max_size=12).map(b"".join)
#: Where in an answer, how many bytes of it go, and what comes instead.
cuts = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), words), min_size=1, max_size=4
)
places = st.sampled_from(EVERYWHERE)
ways = st.sampled_from([way for way in WAYS if way != ("blocking", "httpx")])
BRISK = Timeouts(connect=1, progress=0.1, answer=0.1, probe=0.1)

brief = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
thorough = settings(
    max_examples=1200, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    with Receiver() as receiver, Hostile(honest, receiver) as liar:
        yield Trial(liar, receiver, tmp_path_factory.mktemp("state"))


def bent(truth: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for where, count, instead in changes:
        at = int(where * len(truth))
        truth = truth[:at] + instead + truth[at + count :]
    return truth


def random_answers(trial: Trial, place: object, way: object, said: bytes) -> None:
    fault = "fuzz: random answers"
    trial.run(place, way, lambda _: [said], fault=fault, timeouts=BRISK)  # type: ignore[arg-type] # drawn


def bent_answers(
    trial: Trial, place: object, way: object, changes: list[tuple[float, int, bytes]]
) -> None:
    def lie(asked: Asked) -> list[Said]:
        return [bent(asked.truth(), changes)]

    trial.run(place, way, lie, fault="fuzz: bent answers", timeouts=BRISK, bends=True)  # type: ignore[arg-type] # drawn


@brief
@given(place=places, way=ways, said=junk)
def test_random_answers_break_no_law(
    trial: Trial, place: object, way: object, said: bytes
) -> None:
    random_answers(trial, place, way, said)


@brief
@given(place=places, way=ways, changes=cuts)
def test_bent_answers_break_no_law(
    trial: Trial, place: object, way: object, changes: list[tuple[float, int, bytes]]
) -> None:
    bent_answers(trial, place, way, changes)


@pytest.mark.long
@pytest.mark.timeout(3600)
@thorough
@given(place=places, way=ways, said=junk)
def test_many_random_answers_break_no_law(
    trial: Trial, place: object, way: object, said: bytes
) -> None:
    random_answers(trial, place, way, said)


@pytest.mark.long
@pytest.mark.timeout(3600)
@thorough
@given(place=places, way=ways, changes=cuts)
def test_many_bent_answers_break_no_law(
    trial: Trial, place: object, way: object, changes: list[tuple[float, int, bytes]]
) -> None:
    bent_answers(trial, place, way, changes)
