"""How much of an exhaustive suite runs: a few cases, a sample, or all of it.

What is chosen depends on the seed alone, so a failure can be had again.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, TypeVar

import pytest

T = TypeVar("T")

Effort = Literal["few", "long"]

#: Set to ``sample``, it makes of each long suite a sample.
EFFORT: Final = "POSTER_RESUME_FAULT_EFFORT"
#: The seed of everything random here; another one chooses other cases.
SEED: Final = int(os.environ.get("POSTER_RESUME_FAULT_SEED", "1"))

each_effort = pytest.mark.parametrize(
    "effort",
    ["few", pytest.param("long", marks=[pytest.mark.long, pytest.mark.timeout(3600)])],
)


def sampled() -> bool:
    """Whether long suites are to be samples of themselves."""
    return os.environ.get(EFFORT) == "sample"


def number(effort: Effort, few: int, sample: int, full: int) -> int:
    """Return how many cases are wanted."""
    if effort == "few":
        return few
    return sample if sampled() else full


def chosen(cases: Sequence[T], effort: Effort, few: int, sample: int) -> list[T]:
    """Return so many of *cases*, in their order; all of them in the long run."""
    wanted = number(effort, few, sample, len(cases))
    if wanted >= len(cases):
        return list(cases)
    places = random.Random(f"{SEED} {len(cases)}").sample(range(len(cases)), wanted)
    return [cases[place] for place in sorted(places)]


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a directory that is fast: nothing in it has to outlive the machine."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    return tempfile.TemporaryDirectory(dir=memory if usable else None)
