"""Runs the long suites: ``python -m tests.long``, or a sample with ``--sample``.

They are the tests that carry the marker ``long``, beside the fault suites'
ordinary ones. What the fault suites counted is printed as a table; ``--write``
puts it into docs/explanation/reliability.md, with its conditions.
"""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from .faults import report

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "reliability.md"

#: What the sample runs: arguments of pytest, a suite a line.
SAMPLE = (
    ("tests/faults", "-m", "not long"),
    ("tests/poster_resume/test_memory.py", "-m", "long", "-k", "20GiB and blocking"),
    ("tests/servers", "-m", "long"),
)
ALL = (
    ("tests/faults", "tests/networks", "-m", "long or not long"),
    ("tests/servers", "tests/poster_resume", "tests/simulation", "-m", "long"),
)


def main() -> int:
    """Run the suites; return 0 if all passed and nothing was lost."""
    arguments = sys.argv[1:]
    worst = 0
    with tempfile.TemporaryDirectory() as directory:
        lines = Path(directory) / "figures.jsonl"
        lines.touch()
        for suite in SAMPLE if "--sample" in arguments else ALL:
            command = [sys.executable, "-m", "pytest", "-q", *suite]
            print("==", " ".join(command[2:]), flush=True)
            environment = os.environ | {report.REPORT: str(lines)}
            done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
            worst = max(worst, done.returncode)
        rows = report.merged(lines.read_text(encoding="utf-8").splitlines())
    table = report.table(rows)
    print(table)
    if "--write" in arguments:
        page = PAGE.read_text(encoding="utf-8")
        shown = f"{conditions(arguments)}\n\n{table}"
        PAGE.write_text(report.written(page, shown), encoding="utf-8")
    return worst or int(not all(row.clean for row in rows))


def conditions(arguments: list[str]) -> str:
    """Say when and where the figures were made."""
    day = datetime.datetime.now(tz=datetime.UTC).date()
    release = platform.release().partition("-")[0]
    run = "a sample" if "--sample" in arguments else "the long suites"
    return (
        f"{day}: {run}, Python {platform.python_version()}, "
        f"{platform.system()} {release}, {os.cpu_count()} cores."
    )


if __name__ == "__main__":
    sys.exit(main())
