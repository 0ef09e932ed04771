"""The blocking and the async driver do the same, whatever the link does."""

from __future__ import annotations

import random
from collections.abc import Sequence

import anyio
import httpx
import pytest
import tenacity

from poster_resume import AsyncResumableUpload, ResumableUpload, RetryPolicy
from poster_resume.errors import OutcomeUnknown
from poster_resume.protocols.oneshot import Incomplete

from .models import MODELS, URL, Model
from .wire import Fault, Wire, random_script

SIZE = 3000
PATIENT = RetryPolicy(
    stop=tenacity.stop_after_attempt(60), wait=tenacity.wait_none(), settle=0
)


def outcome_of(
    driver: str, wire: Wire, data: bytes, protocol: str, chunk_size: int | None
) -> str:
    """Send *data* through *wire* and say how it ended."""
    upload = {
        "content": data,
        "protocol": protocol,
        "chunk_size": chunk_size,
        "store": None,
        "retry": PATIENT,
    }

    async def awaited() -> None:
        async with httpx.AsyncClient(transport=wire) as client:
            await AsyncResumableUpload(URL, client=client, **upload).send()  # type: ignore[arg-type]  # by name

    try:
        if driver == "blocking":
            with httpx.Client(transport=wire) as client:
                ResumableUpload(URL, client=client, **upload).send()  # type: ignore[arg-type]  # by name
        else:
            anyio.run(awaited, backend=driver)
    except (Incomplete, OutcomeUnknown) as error:
        return type(error).__name__
    return "complete"


def judge(protocol: str, model: Model, data: bytes, outcome: str) -> None:
    # Of a resumable upload there is nothing that nobody knows, once it is named.
    assert outcome == "complete" or protocol == "oneshot"
    if outcome == "complete":
        assert model.delivered == [data]
    elif outcome == "Incomplete":
        assert model.delivered == []
    else:
        assert model.delivered in ([], [data])
    assert model.resent_below_retrieved == 0


def same_for_all(seed: int, protocol: str, drivers: Sequence[str]) -> None:
    rng = random.Random(seed)
    data, chunk_size = rng.randbytes(SIZE), rng.choice([None, 500, 1000])
    script: list[Fault | None] = random_script(seed, 12, size=SIZE)
    traces = []
    for driver in drivers:
        model = MODELS[protocol]()
        wire = Wire(model, script)
        outcome = outcome_of(driver, wire, data, protocol, chunk_size)
        judge(protocol, model, data, outcome)
        traces.append((outcome, wire.trace))
    assert all(trace == traces[0] for trace in traces)


@pytest.mark.parametrize("protocol", MODELS)
@pytest.mark.parametrize("seed", range(20))
def test_all_drivers_do_the_same(seed: int, protocol: str) -> None:
    same_for_all(seed, protocol, ("blocking", "asyncio", "trio"))


@pytest.mark.long
@pytest.mark.parametrize("protocol", MODELS)
@pytest.mark.parametrize("seed", range(20, 220))
def test_all_drivers_do_the_same_under_two_hundred_more_seeds(
    seed: int, protocol: str
) -> None:
    same_for_all(seed, protocol, ("blocking", "asyncio", "trio"))
