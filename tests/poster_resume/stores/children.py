"""Run pieces of Python in processes of their own, to be killed and stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PRELUDE = """
import os, sys
from pathlib import Path
from poster_resume.errors import *
from poster_resume.stores import *
from poster_resume.testing.contracts_store import sample_upload
directory = Path(sys.argv[1])
store = SQLiteStore(directory)
def say(*what):
    print(*what, flush=True)
"""


@contextmanager
def child(script: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Start *script* with a ``store`` in *directory*; kill it in the end."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", _PRELUDE + script, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def run(script: str, directory: Path) -> str:
    """Run *script* to its end and return what it said."""
    with child(script, directory) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert err == ""
    return out.strip()


def heard(process: subprocess.Popen[str]) -> str:
    """Return the next line that *process* says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()
