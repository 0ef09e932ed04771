"""One upload from its state to its end: the loop, its rules, its append sizes."""

from __future__ import annotations

from .guard import MAX_REDIRECTS, Guard, Rules
from .loop import Session
from .sizes import next_append

__all__ = ["MAX_REDIRECTS", "Guard", "Rules", "Session", "next_append"]
