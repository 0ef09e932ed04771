"""Hypothesis strategies that favour edges: where something begins or ends, 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from poster_resume.layout import Layout
from poster_resume.ranges import ByteRange


def sizes(limit: int) -> st.SearchStrategy[int]:
    """Sizes up to *limit*, 0 and 1 first of all."""
    return st.sampled_from([0, 1, limit]) | st.integers(0, limit)


def offsets(edges: Sequence[int], length: int) -> st.SearchStrategy[int]:
    """Offsets in *length* bytes, most of them at *edges* or beside them."""
    near = {e + d for e in (0, length, *edges) for d in (-1, 0, 1)}
    within = sorted(e for e in near if 0 <= e <= length)
    return st.sampled_from(within) | st.integers(0, length)


def ranges(edges: Sequence[int], length: int) -> st.SearchStrategy[ByteRange]:
    """Ranges within *length* bytes, most of them from edge to edge."""
    return st.tuples(offsets(edges, length), offsets(edges, length)).map(
        lambda pair: ByteRange(min(pair), max(pair))
    )


def edges_of(layout: Layout) -> list[int]:
    """Return the offsets at which the segments of *layout* begin and end."""
    edges = [0]
    for segment in layout.segments:
        edges.append(edges[-1] + segment.length)
    return edges


#: Names that every parser gives back as they are.
names = st.text(
    st.characters(categories=("L", "N", "P"), exclude_characters='"/\\%&;=,+<>'),
    min_size=1,
    max_size=20,
)
#: Text that UTF-8 can spell.
texts = st.sampled_from(["", "x", "\r\n", "--", "☃"]) | st.text(
    st.characters(codec="utf-8"), max_size=100
)
#: Contents short and long, around the lengths at which planning takes another way.
contents = (
    st.sampled_from([b"", b"\n", b"\r\n--", b"\0", b"-" * 4096, b"=" * 4097])
    | st.binary(max_size=300)
    | st.sampled_from([65535, 65536, 65537]).map(lambda n: b"\xff" * n)
)
