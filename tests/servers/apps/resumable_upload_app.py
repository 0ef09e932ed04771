"""The tus server of the package resumable-upload, keeping what arrived whole.

Listens on a free port and prints it. ``/files`` checks sha1 and sha256 sums.
``EXPIRY`` seconds, if set, is how long an unfinished upload lives.
"""

from __future__ import annotations

import json
import os
import shutil
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from resumable_upload import SQLiteStorage
from resumable_upload.locks import InMemoryLockBackend
from resumable_upload.server import TusHTTPRequestHandler, TusServer

ROOT = Path(os.environ["SERVER_ROOT"])
KEPT = ROOT / "kept"
KEPT.mkdir(parents=True, exist_ok=True)


def finished(upload_id: str, metadata: dict[str, str], info: Any) -> None:
    shutil.copyfile(ROOT / "partial" / upload_id, KEPT / f"{upload_id}.bin")
    note = {"type": None, "metadata": metadata}
    (KEPT / f"{upload_id}.json").write_text(json.dumps(note))


class Handler(TusHTTPRequestHandler):  # type: ignore[misc]  # it has no types
    tus_server = TusServer(
        storage=SQLiteStorage(str(ROOT / "uploads.db"), str(ROOT / "partial")),
        base_path="/files",
        checksum_algorithms=("sha1", "sha256"),
        upload_expiry=int(os.environ["EXPIRY"]) if "EXPIRY" in os.environ else None,
        on_upload_complete=finished,
        lock_backend=InMemoryLockBackend(),
    )


if __name__ == "__main__":
    ROOT.joinpath("partial").mkdir(exist_ok=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
