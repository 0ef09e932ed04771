"""The application that peregrine serves: keeps uploads, and says what it kept.

``POST /files`` takes whole representations, resumably or not, ``POST /small``
the same with narrow limits. What arrived whole lies in ``KEPT`` as one file
each, besides a note with its content type.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from peregrine.contrib.uploads import (
    FileUploadStore,
    ResumableUploads,
    UploadLimits,
)

ROOT = Path(os.environ["SERVER_ROOT"])
KEPT = ROOT / "kept"
KEPT.mkdir(parents=True, exist_ok=True)


def finished(upload: Any) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    name = secrets.token_hex(8)
    shutil.move(upload.path, KEPT / f"{name}.bin")
    content = (KEPT / f"{name}.bin").read_bytes()
    note = {"type": upload.info.content_type, "metadata": {}}
    (KEPT / f"{name}.json").write_text(json.dumps(note))
    upload.remove()
    said = {"sha256": hashlib.sha256(content).hexdigest(), "length": len(content)}
    return 201, [(b"content-type", b"application/json")], json.dumps(said).encode()


def rejecting(upload: Any) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    upload.remove()
    return 422, [(b"content-type", b"text/plain")], b"not a film"


small = ResumableUploads(
    None,
    "/small",
    uploads="/small-uploads",
    store=FileUploadStore(str(ROOT / "small")),
    limits=UploadLimits(
        max_size=4 << 20, max_append_size=1 << 20, min_append_size=1 << 16
    ),
    on_complete=finished,
)
picky = ResumableUploads(
    small,
    "/picky",
    uploads="/picky-uploads",
    store=FileUploadStore(str(ROOT / "picky")),
    on_complete=rejecting,
)
app = ResumableUploads(
    picky,
    "/files",
    store=FileUploadStore(str(ROOT / "partial")),
    on_complete=finished,
    progress_interval=1 << 18,
)
