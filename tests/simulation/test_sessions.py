"""Whole uploads against model servers, under every kind of fault."""

from __future__ import annotations

import random

import pytest
import tenacity
from hypothesis import given, settings
from hypothesis import strategies as st

from poster_resume.errors import OutcomeUnknown, UploadError
from poster_resume.protocols import PROTOCOLS
from poster_resume.protocols.oneshot import Incomplete
from poster_resume.retry import RetryPolicy
from poster_resume.session import Rules, Session
from poster_resume.upload import Upload

from .driving import HandDriver, Killed
from .models import MODELS, URL, Model
from .wire import Busy, Cut, Fault, Forget, LoseAnswer, Refuse, random_script

RESUMABLE = ("rufh", "tus")
SIZE = 3000


def patient(attempts: int = 60) -> RetryPolicy:
    return RetryPolicy(
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_exponential(multiplier=0.5, max=60),
    )


def fresh(protocol: str, length: int) -> Upload:
    return Upload(
        id="u1",
        protocol=protocol,
        target=URL,
        length=length,
        content_type="application/octet-stream",
    )


def session(upload: Upload, chunk_size: int | None = None) -> Session:
    rules = Rules(policy=patient(), chunk_size=chunk_size)
    return Session(upload, PROTOCOLS[upload.protocol](), rules)


def exactly_once(model: Model, data: bytes) -> None:
    assert model.delivered == [data]
    assert model.resent_below_retrieved == 0


faults = st.lists(
    st.none()
    | st.builds(Cut, st.integers(0, 700))
    | st.builds(LoseAnswer)
    | st.builds(Refuse)
    | st.builds(
        Busy,
        st.sampled_from([408, 423, 429, 500, 502, 503, 504]),
        st.integers(0, 700),
        st.sampled_from([None, "0", "7", "Thu, 01 Jan 1970 00:00:10 GMT"]),
    ),
    max_size=12,
)


@pytest.mark.parametrize("protocol", RESUMABLE)
@given(
    script=faults, size=st.integers(1, 1500), chunk_size=st.none() | st.integers(1, 400)
)
@settings(deadline=None, max_examples=150)
def test_under_any_faults_an_upload_arrives_exactly_once(
    protocol: str, script: list[Fault | None], size: int, chunk_size: int | None
) -> None:
    data, model = random.Random(size).randbytes(size), MODELS[protocol]()
    driver = HandDriver(model, data, script)
    upload = driver.run(session(fresh(protocol, size), chunk_size).run())
    assert upload.complete
    exactly_once(model, data)


@pytest.mark.parametrize("protocol", RESUMABLE)
def test_an_empty_upload_is_delivered(protocol: str) -> None:
    model = MODELS[protocol]()
    driver = HandDriver(model, b"")
    assert driver.run(session(fresh(protocol, 0)).run()).complete
    exactly_once(model, b"")


@given(script=faults)
@settings(deadline=None, max_examples=60)
def test_an_empty_upload_is_created_first_where_that_completes_nothing(
    script: list[Fault | None],
) -> None:
    model = MODELS["rufh"]()
    driver = HandDriver(model, b"", script)
    assert driver.run(session(fresh("rufh", 0)).run()).complete
    exactly_once(model, b"")


@pytest.mark.parametrize("seed", range(200))
@pytest.mark.parametrize("protocol", RESUMABLE)
def test_two_hundred_seeds_lose_and_duplicate_nothing(protocol: str, seed: int) -> None:
    data, model = random.Random(seed).randbytes(SIZE), MODELS[protocol]()
    chunk_size = random.Random(seed).choice([None, 500, 1000])
    driver = HandDriver(model, data, random_script(seed, 12, size=SIZE))
    driver.run(session(fresh(protocol, SIZE), chunk_size).run())
    exactly_once(model, data)


@pytest.mark.parametrize("protocol", RESUMABLE)
@given(script=faults, size=st.integers(1, 1500), chunk_size=st.integers(200, 700))
@settings(deadline=None, max_examples=60)
def test_a_death_at_any_save_loses_nothing(
    protocol: str, script: list[Fault | None], size: int, chunk_size: int
) -> None:
    data = random.Random(size).randbytes(size)
    for dies_at in range(1, 200):
        model = MODELS[protocol]()
        driver = HandDriver(model, data, script, dies_at=dies_at)
        try:
            driver.run(session(fresh(protocol, size), chunk_size).run())
        except Killed:
            pass
        else:
            exactly_once(model, data)
            return
        # Another process finds what was saved, and nothing else.
        again = HandDriver(model, data)
        upload = Upload.model_validate_json(driver.saved[-1].model_dump_json())
        if not upload.complete:
            upload = again.run(session(upload, chunk_size).run())
        assert upload.complete
        assert data in model.delivered
        assert len(model.delivered) == 1
    raise AssertionError("it never ends")


@pytest.mark.parametrize("seed", range(200))
def test_a_plain_request_is_whole_or_unknown_or_known_to_be_incomplete(
    seed: int,
) -> None:
    data, model = random.Random(seed).randbytes(SIZE), MODELS["oneshot"]()
    chunk_size = random.Random(seed).choice([None, 500])
    driver = HandDriver(model, data, random_script(seed, 6, size=SIZE))
    try:
        driver.run(session(fresh("oneshot", SIZE), chunk_size).run())
    except Incomplete:
        assert model.delivered == []
    except OutcomeUnknown:
        assert model.delivered in ([], [data])
        assert driver.saved[-1].phase == "unknown"
    else:
        exactly_once(model, data)


@pytest.mark.parametrize("protocol", RESUMABLE)
def test_an_upload_that_the_server_forgot_starts_over_once(protocol: str) -> None:
    data, model = b"x" * 1000, MODELS[protocol]()
    script: list[Fault | None] = [None, Cut(300), Forget()]
    driver = HandDriver(model, data, script)
    upload = driver.run(session(fresh(protocol, 1000), 600).run())
    assert upload.complete
    exactly_once(model, data)
    assert [e.kind for e in driver.events].count("restarted") == 1

    model = MODELS[protocol]()
    driver = HandDriver(model, data, [None, Cut(300), Forget(), None, Cut(5), Forget()])
    with pytest.raises(UploadError, match="404"):
        driver.run(session(fresh(protocol, 1000), 600).run())


@pytest.mark.parametrize("protocol", RESUMABLE)
def test_gone_after_the_last_bytes_is_unknown_and_never_starts_over(
    protocol: str,
) -> None:
    data, model = b"x" * 1000, MODELS[protocol]()
    script = [None, LoseAnswer(), Forget(), *[Forget()] * 3]
    driver = HandDriver(model, data, script)
    with pytest.raises(OutcomeUnknown):
        driver.run(session(fresh(protocol, 1000)).run())
    assert driver.saved[-1].phase == "unknown"
    assert model.delivered == [data]
    # Run again: the proof is repeated, and fails again.
    driver = HandDriver(model, data)
    with pytest.raises(OutcomeUnknown):
        driver.run(session(Upload(**dict(driver_saved(driver, protocol)))).run())
    assert model.delivered == [data]


def driver_saved(driver: HandDriver, protocol: str) -> Upload:
    return fresh(protocol, 1000).evolve(
        phase="unknown", resource=f"{URL}/1", offset=0, session={"dialect": "9"}
    )
