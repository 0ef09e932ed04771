"""Fields and headers as curl users write them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poster_resume.cli.fields import (
    FieldGiven,
    Mistake,
    form_of,
    parse_field,
    parse_header,
    parse_headers,
    parse_pairs,
    parse_string,
)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("a=b", FieldGiven("a", "text", "b")),
        ("a=", FieldGiven("a", "text", "")),
        ("a=b=c", FieldGiven("a", "text", "b=c")),
        ("a=b,c", FieldGiven("a", "text", "b,c")),
        ('a="b;c"', FieldGiven("a", "text", "b;c")),
        (r'a="b\"\\c\d"', FieldGiven("a", "text", r'b"\c\d')),
        ('a="b', FieldGiven("a", "text", '"b')),
        ("a=b;type=text/html", FieldGiven("a", "text", "b", "text/html")),
        ("a=@f.txt", FieldGiven("a", "file", "f.txt")),
        ('a=@"x,y;z";type=a/b', FieldGiven("a", "file", "x,y;z", "a/b")),
        (
            "a=@f;type=text/plain;charset=utf-8",
            FieldGiven("a", "file", "f", "text/plain;charset=utf-8"),
        ),
        (
            "a=@f;type=text/plain; charset=utf-8 ;filename=g",
            FieldGiven("a", "file", "f", "text/plain;charset=utf-8", "g"),
        ),
        (
            'a=@f;filename="x;y\\".bin";type=a/b',
            FieldGiven("a", "file", "f", "a/b", 'x;y".bin'),
        ),
        ("a=@f;filename=", FieldGiven("a", "file", "f", None, "")),
        ("a=<f", FieldGiven("a", "text from file", "f")),
        ("a=<a,b", FieldGiven("a", "text from file", "a,b")),
        ("a=@-", FieldGiven("a", "file", "-")),
    ],
)
def test_a_field_means_what_it_means_to_curl(text: str, field: FieldGiven) -> None:
    assert parse_field(text) == [field]


def test_several_files_repeat_the_field() -> None:
    assert parse_field('a=@x,"y,z",w;type=a/b') == [
        FieldGiven("a", "file", "x", "a/b"),
        FieldGiven("a", "file", "y,z", "a/b"),
        FieldGiven("a", "file", "w", "a/b"),
    ]


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("a", "write NAME=VALUE"),
        ("=b", "write NAME=VALUE"),
        ("a=b;c", "double quotes"),
        ("a=b;typ=text/plain", "double quotes"),
        ('a="b"c', "--form-string"),
        ("a=@", "write a=@FILE"),
        ("a=@x,", "write a=@FILE"),
        ("a=@x;type=html", "no media type"),
        ("a=@x;encoder=base64", "not supported"),
        ("a=@x;headers=@h", "not supported"),
        ("a=@x,y;filename=z", "one -F for each"),
    ],
)
def test_what_curl_would_guess_about_is_refused_with_a_remedy(
    text: str, remedy: str
) -> None:
    with pytest.raises(Mistake, match=remedy):
        parse_field(text)


@given(st.text())
def test_any_text_can_be_sent_as_form_string_and_in_quotes(text: str) -> None:
    assert parse_string(f"a={text}") == FieldGiven("a", "text", text)
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_field(f'a="{quoted}"') == [FieldGiven("a", "text", text)]


@given(st.text())
def test_a_field_is_understood_or_refused(text: str) -> None:
    try:
        fields = parse_field(text)
    except Mistake:
        return
    assert fields


def test_a_form_keeps_the_order_and_the_names_of_its_files() -> None:
    fields = [f for text in ("b=1", "a=@x/y.txt", "b=<z") for f in parse_field(text)]
    assert form_of(fields) == [
        ("b", "1"),
        ("a", ("y.txt", Path("x/y.txt"), None)),
        ("b", (None, Path("z"), None)),
    ]


def test_text_in_another_encoding_is_sent_as_its_bytes() -> None:
    (field,) = parse_field(os.fsdecode(b"a=caf\xe9"))
    assert form_of([field]) == [("a", b"caf\xe9")]


def test_standard_input_is_read_once_only() -> None:
    fields = [f for text in ("a=@-", "b=<-") for f in parse_field(text)]
    with pytest.raises(Mistake, match="once only"):
        form_of(fields)


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("A: b", ("A", "b")),
        ("A:b:c", ("A", "b:c")),
        ("A;", ("A", "")),
    ],
)
def test_a_header_means_what_it_means_to_curl(
    text: str, header: tuple[str, str]
) -> None:
    assert parse_header(text) == header


@pytest.mark.parametrize("text", ["", ":", "A:", "secret", ": secret", ";"])
def test_a_header_that_is_none_is_refused_without_its_value(text: str) -> None:
    with pytest.raises(Mistake) as caught:
        parse_header(text)
    assert "secret" not in str(caught.value)


def test_headers_come_from_files_too(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("Authorization: Bearer x\n\nx-a: 2\n", "utf-8")
    assert parse_headers(["X-A: 1", f"@{file}"]) == {
        "X-A": "1, 2",
        "Authorization": "Bearer x",
    }
    with pytest.raises(Mistake, match="No such file"):
        parse_headers([f"@{tmp_path / 'nope'}"])


def test_pairs_need_a_name() -> None:
    assert parse_pairs("--metadata", ["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    with pytest.raises(Mistake, match="NAME=VALUE"):
        parse_pairs("--metadata", ["a"])
