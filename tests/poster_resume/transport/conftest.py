from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from poster_resume.plan import Plan, plan_form

#: Notes how many seconds something took, to be shown at the end of ``pytest -v``.
Figure: TypeAlias = Callable[[str, float], None]

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


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    return record_property


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures: dict[str, list[float]] = defaultdict(list)
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if isinstance(value, float):
                test, _, variant = report.nodeid.rpartition("::")[2].partition("[")
                figures[f"{name} [{variant}" if variant else test].append(value)
    if not figures or terminalreporter.verbosity <= 0:
        return
    terminalreporter.section("seconds")
    for name, values in figures.items():
        terminalreporter.line(f"{max(values):8.4f}  {name}")
