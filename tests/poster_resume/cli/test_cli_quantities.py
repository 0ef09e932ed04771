"""Sizes and durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poster_resume.cli.quantities import parse_seconds, parse_size


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("500k", 500 * 1024),
        ("64MiB", 64 * 1024**2),
        ("64 mib", 64 * 1024**2),
        ("8M", 8 * 1024**2),
        ("1GB", 10**9),
        ("1.5KiB", 1536),
        (".5k", 512),
        ("1.", 1),
        ("2TiB", 2 * 1024**4),
        ("1PB", 10**15),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    "text", ["", "k", "-1", "1 2", "3x", "1kibi", "1e6", "٣", "1.5.5", "1mm"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


@given(st.integers(0, 2**60))
def test_bytes_are_exact_whatever_their_number(count: int) -> None:
    assert parse_size(str(count)) == count
    assert parse_size(f"{count}KiB") == 1024 * count


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("15m", 900),
        ("1.5h", 5400),
        ("2d", 172800),
        (".5", 0.5),
    ],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5", "1y", "inf", "nan"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_seconds(text)
