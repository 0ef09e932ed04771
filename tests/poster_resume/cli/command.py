"""The command as a user starts it: arguments, streams, an exit code.

Starting an interpreter costs a second, so commands run in this process unless
the process is what a test is about.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from poster_resume.cli import main
from poster_resume.stores import open_store

#: The command runs in another directory than the tests.
IMPORTABLE = {"PYTHONPATH": str(Path(__file__).parents[3])}


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, object]]:
        """Standard output, as lines of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


class Poster:
    """Starts ``poster`` with a state directory of its own, in *directory*."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self._stores = {self.state}

    def __call__(
        self, *words: str | bytes, stdin: bytes = b"", encoding: str = "utf-8"
    ) -> Done:
        """Run a command in this process, to its end."""
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2))
        code: object = None
        on_interrupt = signal.getsignal(signal.SIGINT)
        with (
            patch.object(sys, "argv", ["poster", *map(os.fsdecode, words)]),
            patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding)),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            patch.dict(os.environ, self._environment),
            contextlib.chdir(self.directory),
        ):
            try:
                main()
            except SystemExit as end:
                code = end.code
            finally:
                signal.signal(signal.SIGINT, on_interrupt)
        assert isinstance(code, int)
        if "--state" in words:
            self._stores.add(Path(os.fsdecode(words[words.index("--state") + 1])))
        return Done(
            code,
            _read(out),
            _read(err),
        )

    def started(
        self,
        *words: str | bytes,
        stdout: int = subprocess.PIPE,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "poster_resume", *words],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=self.directory,
            env=os.environ | IMPORTABLE | self._environment | dict(environment or {}),
        )

    def close(self) -> None:
        """Close the stores that commands in this process left open."""
        for directory in self._stores:
            open_store(directory).close()

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "POSTER_RESUME_STATE": str(self.state),
            "TERM": "dumb",
            "COLUMNS": "200",
        }


def _read(stream: io.TextIOWrapper) -> str:
    stream.flush()
    written = stream.detach()
    assert isinstance(written, io.BytesIO)
    return written.getvalue().decode("utf-8", "backslashreplace")
