"""Counts tests that are one case each of a fault class, by their mark."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from . import judging
from .report import Figures, record


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "fault(name): the test is one case of this fault class"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    marker = item.get_closest_marker("fault")
    if marker is None:
        return (yield)
    judging.VERDICTS.clear()
    case = Figures(marker.args[0], 1, lost=1)
    try:
        result = yield
        seconds = [verdict.seconds for verdict in judging.VERDICTS]
        told = any(verdict.error is not None for verdict in judging.VERDICTS)
        case = Figures(case.fault, 1, told=told, noticed=max(seconds, default=None))
        return result
    except pytest.skip.Exception:
        case = Figures(case.fault)
        raise
    finally:
        record(case)
