"""The command as a user starts it: a process with arguments, streams, an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Done:
    """What a process left."""

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

    def __call__(
        self, *words: str | bytes, stdin: bytes = b"", **environment: str
    ) -> Done:
        """Run a command to its end. No traceback is ever shown."""
        with self.started(*words, environment=environment) as process:
            out, err = process.communicate(stdin, timeout=60)
        done = Done(
            process.returncode,
            out.decode("utf-8", "backslashreplace"),
            err.decode("utf-8", "backslashreplace"),
        )
        assert "Traceback" not in done.err, done.err
        return done

    def started(
        self,
        *words: str | bytes,
        stdout: int = subprocess.PIPE,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command."""
        given = {"POSTER_RESUME_STATE": str(self.state), "TERM": "dumb"}
        return subprocess.Popen(
            [sys.executable, "-m", "poster_resume", *words],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=self.directory,
            env=os.environ | IMPORTABLE | given | dict(environment or {}),
        )


#: The command runs in another directory than the tests.
IMPORTABLE = {"PYTHONPATH": str(Path(__file__).parents[3])}
