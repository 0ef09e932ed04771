"""Spooled content: files of ours that are removed when no upload needs them.

Only files that lie in a spool directory are ever removed: a record is read
from disk, and must not be able to name a user's file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..records import PlanRecord


def spool_paths(record: PlanRecord) -> list[str]:
    """Return where the spooled sources of *record* are."""
    return [
        source.path
        for source in record.sources
        if source.kind == "spool" and source.path is not None
    ]


def remove_spools(paths: Iterable[str], directory: Path) -> None:
    """Remove those of *paths* that lie in *directory*; others are left alone.

    What cannot be removed now (open, on Windows) is swept up later.
    """
    home = os.path.realpath(directory)
    for path in paths:
        if os.path.realpath(os.path.dirname(path)) == home:
            with suppress(OSError):
                os.unlink(path)


def sweep_spools(needed: Iterable[str], directory: Path, before: float) -> None:
    """Remove from *directory* what nothing needs and nobody wrote since *before*."""
    kept = {os.path.realpath(path) for path in needed}
    with suppress(OSError):
        for path in list(directory.iterdir()):
            if os.path.realpath(path) in kept or path.stat().st_mtime >= before:
                continue
            if path.is_dir():  # a memory store's, whose process was killed
                shutil.rmtree(path, ignore_errors=True)
                continue
            with suppress(OSError):
                path.unlink()
