"""The page on progress names every kind of event, and no other."""

from __future__ import annotations

import re
from typing import get_args

from poster_resume.progress import EventKind

from .test_code_blocks import ROOT


def test_every_kind_of_event_is_on_the_page() -> None:
    page = (ROOT / "docs" / "how-to" / "progress.md").read_text("utf-8")
    named = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert named == list(get_args(EventKind))
