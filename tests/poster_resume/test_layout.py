"""Layouts: arithmetic over segments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poster_resume.layout import Extent, Inline, Layout, Segment
from poster_resume.ranges import ByteRange
from tests.strategies import edges_of, ranges, sizes

SOURCE = bytes(range(256)) * 4

segments = st.one_of(
    sizes(9).map(lambda n: Inline(b"inline-91"[:n])),
    st.tuples(sizes(700), sizes(300)).map(lambda t: Extent(0, *t)),
)
groups = st.lists(st.lists(segments, max_size=4), max_size=6)


def read(pieces: list[Segment]) -> bytes:
    """Return the bytes of *pieces*, extents taken from SOURCE."""
    found = b""
    for piece in pieces:
        match piece:
            case Inline(data):
                found += data
            case Extent(_, offset, length):
                found += SOURCE[offset : offset + length]
    return found


@given(st.data())
def test_any_range_of_a_layout_is_that_slice_of_the_whole(data: st.DataObject) -> None:
    made = data.draw(groups)
    ends, end = [], 0
    for group in made:
        end += sum(each.length for each in group)
        ends.append(end)
    layout = Layout(ends, made.__getitem__)
    whole = read([each for group in made for each in group])
    assert layout.length == len(whole)
    wanted = data.draw(ranges(edges_of(layout), layout.length))
    pieces = list(layout.cut(wanted))
    assert read(pieces) == whole[wanted.start : wanted.stop]
    assert all(piece.length for piece in pieces)


@given(st.lists(segments, max_size=6))
def test_a_layout_of_segments_has_them(made: list[Segment]) -> None:
    layout = Layout.of(iter(made))
    assert list(layout.segments) == [each for each in made if each.length]


def test_past_the_end_there_is_nothing_to_cut() -> None:
    layout = Layout.of([Inline(b"abc")])
    with pytest.raises(IndexError, match=r"\[1, 4\) is outside a layout of 3 bytes"):
        layout.cut(ByteRange(1, 4))
    assert list(layout.cut(ByteRange(3, 3))) == []
    assert Layout.of([]).length == 0


def test_only_the_groups_that_are_touched_are_made() -> None:
    made: list[int] = []

    def render(group: int) -> list[Segment]:
        made.append(group)
        return [Inline(b"x"), Inline(b"y")]

    layout = Layout(range(2, 2_000_002, 2), render)
    assert read(list(layout.cut(ByteRange(999_999, 1_000_003)))) == b"yxyx"
    assert made == [499_999, 500_000, 500_001]
