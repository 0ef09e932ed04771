from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from poster_resume.plan import Plan, plan_form

#: More than the socket buffers of both ends take together.
LARGE = 24 * 1024 * 1024


@pytest.fixture
def large_file(tmp_path: Path) -> Path:
    """A file that cannot vanish into socket buffers; most of it is a hole."""
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.write(b"begin")
        file.truncate(LARGE)
    return path


@pytest.fixture
def large_plan(large_file: Path) -> Iterator[Plan]:
    plan = plan_form({"title": "Holiday", "video": large_file})
    yield plan
    plan.close()
