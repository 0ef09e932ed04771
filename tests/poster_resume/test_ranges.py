"""Byte ranges and how HTTP spells them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poster_resume.ranges import ByteRange


@given(st.integers(0, 10), st.integers(0, 10))
def test_a_range_has_the_bytes_between_its_ends(start: int, size: int) -> None:
    wanted = ByteRange(start, start + size)
    assert wanted.length == size
    assert len(range(20)[wanted.start : wanted.stop]) == size
    assert str(wanted) == f"[{start}, {start + size})"


@pytest.mark.parametrize(("start", "stop"), [(-1, 0), (1, 0), (-2, -1)])
def test_what_is_no_range_cannot_be_made(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="not a byte range"):
        ByteRange(start, stop)


def test_http_counts_the_last_byte_in() -> None:
    assert ByteRange(0, 500).content_range(1234) == "bytes 0-499/1234"
    assert ByteRange(500, 501).content_range(None) == "bytes 500-500/*"
    assert ByteRange(7, 7).content_range(7) == "bytes */7"
