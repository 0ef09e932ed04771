"""Runs the long suites: ``python -m tests.long``, or a sample with ``--sample``.

They are the tests that carry the marker ``long``. The sample is what fits into
a few minutes on two cores; each suite has a part in it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: What the sample runs: arguments of pytest, a suite a line.
SAMPLE = (
    ("tests/poster_resume/test_memory.py", "-k", "20GiB and blocking"),
    ("tests/servers",),
)


def main() -> int:
    """Run the suites; return pytest's own exit code, the worst of all."""
    suites = SAMPLE if "--sample" in sys.argv[1:] else (("tests",),)
    worst = 0
    for suite in suites:
        command = [sys.executable, "-m", "pytest", "-q", "-m", "long", *suite]
        print("==", " ".join(command[2:]), flush=True)
        worst = max(worst, subprocess.run(command, cwd=ROOT, check=False).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
