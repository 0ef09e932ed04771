"""Real servers in processes of their own, on loopback and free ports.

Readiness is a connection that is accepted, never a wait. What a server took in
whole lies in its directory ``kept``, one file and one note each.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
APPS = HERE / "apps"
NPM = HERE / "npm"

#: Seconds within which a server has to be there, and to be gone.
PATIENCE = 30.0


@dataclass(frozen=True)
class Kept:
    """One representation that a server has taken in whole."""

    sha256: str
    length: int
    content_type: str | None
    metadata: Mapping[str, str]
    file: Path


class RealServer:
    """A server that is running, and what it has kept since it was last asked."""

    def __init__(self, name: str, port: int, root: Path) -> None:
        self.name, self.port = name, port
        self._kept, self._partial = root / "kept", root / "partial"
        self._known: set[Path] = set()

    def url(self, path: str = "/files", port: int | None = None) -> str:
        """Return the URL of a target resource, seen through *port* if given."""
        return f"http://127.0.0.1:{self.port if port is None else port}{path}"

    def mark(self) -> None:
        """Forget what was kept until now."""
        self._known = set(self._kept.glob("*.json"))

    def kept(self) -> list[Kept]:
        """Return what was kept since :meth:`mark`, oldest first."""
        notes = set(self._kept.glob("*.json")) - self._known
        return [_read(note) for note in sorted(notes, key=lambda n: n.stat().st_mtime)]

    def unfinished(self) -> int:
        """Return the bytes of uploads that have not been removed."""
        return sum(f.stat().st_size for f in self._partial.rglob("*") if f.is_file())


def _read(note: Path) -> Kept:
    said = json.loads(note.read_text())
    file = note.with_suffix(".bin")
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return Kept(sha256, file.stat().st_size, said["type"], said["metadata"], file)


@contextlib.contextmanager
def running(
    name: str,
    command: Sequence[str],
    root: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[RealServer]:
    """Run a server that prints its port, until the block ends.

    ``{port}`` in *command* is replaced by a free port, for servers that cannot
    choose one themselves.
    """
    root.mkdir(parents=True, exist_ok=True)
    port = _free_port() if any("{port}" in word for word in command) else None
    words = [word.replace("{port}", str(port)) for word in command]
    environment = {**os.environ, "SERVER_ROOT": str(root), **(environment or {})}
    log = root / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            words, stdout=sink, stderr=sink, cwd=APPS, env=environment
        )
    try:
        yield RealServer(name, _ready(process, log, port), root)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def peregrine(root: Path) -> contextlib.AbstractContextManager[RealServer]:
    """Run peregrine with its resumable uploads."""
    command = [sys.executable, "-m", "peregrine", "--port", "{port}"]
    command += ["--max-body", str(1 << 32), "--graceful-timeout", "500"]
    return running("peregrine", [*command, "peregrine_app:app"], root)


def resumable_upload(
    root: Path, **environment: str
) -> contextlib.AbstractContextManager[RealServer]:
    """Run the tus server of resumable-upload."""
    command = [sys.executable, "resumable_upload_app.py"]
    return running("resumable_upload", command, root, environment)


def tus_node(
    root: Path, **environment: str
) -> contextlib.AbstractContextManager[RealServer]:
    """Run @tus/server."""
    command = [node(), str(NPM / "tus_server.mjs")]
    return running("tus_node", command, root, environment)


def node() -> str:
    """Return the path of node, which :func:`npm_missing` said is there."""
    found = shutil.which("node")
    assert found is not None
    return found


def npm_missing() -> str | None:
    """Return why what npm provides cannot be used, if it cannot."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (NPM / "node_modules" / "@tus" / "server").is_dir():
        return "not installed: npm ci --prefix tests/servers/npm"
    return None


def _ready(process: subprocess.Popen[bytes], log: Path, port: int | None) -> int:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if port is None:
            first, newline, _ = log.read_bytes().partition(b"\n")
            port = int(first) if newline and first.isdigit() else None
        if port is not None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return port
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    raise RuntimeError(f"the server did not start: {log.read_text(errors='replace')}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
