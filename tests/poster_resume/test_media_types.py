"""Media types by the ending of a name."""

from __future__ import annotations

import mimetypes
import re

import pytest

from poster_resume.media_types import MEDIA_TYPES, media_type


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("holiday.mov", "video/quicktime"),
        ("HOLIDAY.MOV", "video/quicktime"),
        ("a.tar.gz", "application/gzip"),
        ("dir.txt/data", "application/octet-stream"),
        ("C:\\dir.txt\\data", "application/octet-stream"),
        (".txt", "application/octet-stream"),
        ("data.", "application/octet-stream"),
        ("data.unheard-of", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_the_ending_says_the_type(name: str, expected: str) -> None:
    assert media_type(name) == expected


def test_the_machine_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    mimetypes.add_type("text/wrong", ".mov")
    try:
        assert media_type("a.mov") == "video/quicktime"
    finally:
        mimetypes.init()


def test_every_type_is_spelled_as_one() -> None:
    token = r"[a-z0-9][a-z0-9.+-]*"
    for ending, kind in MEDIA_TYPES.items():
        assert re.fullmatch(f"{token}/{token}", kind), ending
        assert ending == ending.lower()
