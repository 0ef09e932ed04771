"""What tests of the command share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from poster_resume.testing import Receiver

from .command import Poster


@pytest.fixture
def poster(tmp_path: Path) -> Iterator[Poster]:
    poster = Poster(tmp_path)
    yield poster
    poster.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver
