"""Locks across ``fork()``: a child begins with none of its parent's troubles.

Another thread may hold a store's lock, or be inside SQLite, at the moment of a
fork; the child would wait for it for ever. So the forking thread takes the
locks first, and both sides let go of them.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """What is told of a fork, in the thread that forks."""

    def before_fork(self) -> None:
        """Come to rest, and stay so."""

    def after_fork(self) -> None:
        """Go on: called in the parent and in the child."""


def mind_forks(what: Forkable) -> None:
    """Tell *what* of every fork, for as long as it lives."""
    _MINDED.add(what)


def _before() -> None:
    for each in list(_MINDED):
        each.before_fork()
        _AT_REST.append(each)


def _after() -> None:
    while _AT_REST:
        _AT_REST.pop().after_fork()


_MINDED: weakref.WeakSet[Forkable] = weakref.WeakSet()
_AT_REST: list[Forkable] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
