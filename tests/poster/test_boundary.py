"""Boundaries are what RFC 2046 allows, and never stand in what they enclose."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poster.boundary import (
    Scan,
    boundary_parameter,
    check_boundary,
    content_type,
    new_boundary,
    occurs,
)

ALLOWED = "0123456789ABCxyz'()+_,-./:=? "


def test_new_boundaries_are_tokens_of_128_random_bits() -> None:
    made = {new_boundary() for _ in range(100)}
    assert len(made) == 100
    for boundary in made:
        assert re.fullmatch(r"[0-9a-f]{32}", boundary)
        assert check_boundary(boundary) == boundary
        assert boundary_parameter(boundary) == boundary


@given(st.text(ALLOWED, min_size=1, max_size=70))
def test_what_the_standard_lists_is_allowed_unless_it_ends_with_a_space(
    boundary: str,
) -> None:
    if boundary.endswith(" "):
        with pytest.raises(ValueError, match="no space at the end"):
            check_boundary(boundary)
    else:
        assert check_boundary(boundary) == boundary


@pytest.mark.parametrize(
    "boundary", ["", "x" * 71, "a@b", "a\r\nb", 'a"b', "é", "a%b", "a\\b", "abc\n"]
)
def test_any_other_boundary_is_refused_with_the_remedy(boundary: str) -> None:
    with pytest.raises(ValueError, match="use 1 to 70 letters"):
        check_boundary(boundary)


@pytest.mark.parametrize("boundary", ["ABC", "a'b+c_d-e.f"])
def test_tokens_stand_bare_in_the_content_type(boundary: str) -> None:
    assert content_type(boundary) == f"multipart/form-data; boundary={boundary}"


@pytest.mark.parametrize("char", "(),/:=? ")
def test_other_boundaries_stand_quoted_in_the_content_type(char: str) -> None:
    boundary = f"a{char}b"
    assert content_type(boundary) == f'multipart/form-data; boundary="{boundary}"'


@pytest.mark.parametrize(
    "data",
    [
        b"--B",
        b"--B--",
        b"--Bmore",
        b"x\r\n--B\r\n",
        b"x\n--B\nx",
        b"x\r--B",
        b"\r\n--B--",
        b"x--B\r\n--B",
        b"--\r\n--B",
    ],
)
def test_a_line_that_begins_with_the_delimiter_is_found(data: bytes) -> None:
    assert occurs(b"B", data)


@pytest.mark.parametrize("data", [b"", b"B", b"x--B", b" --B", b"-\r\n-B", b"\r\n--b"])
def test_what_no_receiver_takes_for_a_delimiter_is_not_found(data: bytes) -> None:
    assert not occurs(b"B", data)


@pytest.mark.parametrize("cut", range(len(b"long before\r\n--AB and after")))
def test_a_delimiter_is_found_in_two_blocks_cut_anywhere(cut: int) -> None:
    content = b"long before\r\n--AB and after"
    scan = Scan(b"AB")
    assert scan.feed(content[:cut]) or scan.feed(content[cut:])


@given(
    st.lists(st.sampled_from([b"--", b"AB", b"-", b"A", b"\r", b"\n", b"x", b""])),
    st.data(),
)
def test_a_delimiter_is_found_however_the_content_is_cut_into_blocks(
    pieces: list[bytes], data: st.DataObject
) -> None:
    content = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=6)))
    scan = Scan(b"AB")
    edges = [0, *cuts, len(content)]
    blocks = [content[a:b] for a, b in itertools.pairwise(edges)]
    found = any(scan.feed(block) for block in blocks)
    assert found == occurs(b"AB", content)
    assert found == bool(re.search(rb"(?:\A|[\r\n])--AB", content))
