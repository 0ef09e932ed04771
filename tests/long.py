"""Runs the long suites: ``python -m tests.long``, or a sample with ``--sample``.

They are the tests that carry the marker ``long``, beside the fault suites'
ordinary ones, as many at once as there are cores. What the fault suites counted
is printed as a table; ``--write`` puts it into docs/explanation/reliability.md,
with its conditions.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from .faults import effort, report

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "reliability.md"

_CUTS = "tests/faults/test_every_cut.py"
_FAULTS = "tests/faults"
_KILLS = "tests/faults/test_every_kill.py"
_BEYOND = ("tests/servers", "tests/networks", "tests/poster_resume", "tests/simulation")

#: Arguments of pytest, a suite a line, the longest first.
ALL = (
    (_CUTS, "-k", "any_byte and trio"),
    (_CUTS, "-k", "any_byte and asyncio"),
    (_CUTS, "-k", "any_byte and blocking"),
    (_FAULTS, "--ignore", _CUTS, "--ignore", _KILLS),
    (_KILLS,),
    (_CUTS, "-k", "not any_byte"),
    (*_BEYOND,),
)

#: The same, of which each long suite here takes a part; and what is beyond.
SAMPLE = (
    (_KILLS,),
    (_CUTS,),
    (
        "tests/faults/test_two_of_us.py",
        "tests/faults/test_bad_stores.py",
        "tests/faults/test_moving_sources.py",
    ),
    ("tests/poster_resume/test_memory.py", "-k", "20GiB and blocking"),
    ("tests/servers",),
)


def main() -> int:
    """Run the suites; return 0 if all passed and nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.long")
    parser.add_argument("--sample", action="store_true", help="a part of each suite")
    parser.add_argument("--write", action="store_true", help="show it in the docs")
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        lines = Path(directory) / "figures.jsonl"
        lines.touch()
        environment = os.environ | {report.REPORT: str(lines)}
        if asked.sample:
            environment |= {effort.EFFORT: "sample"}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            run = partial(passed, environment, everything=not asked.sample)
            fine = list(pool.map(run, SAMPLE if asked.sample else ALL))
        rows = report.merged(lines.read_text(encoding="utf-8").splitlines())
    table = report.table(rows)
    print(table)
    if asked.write:
        page = PAGE.read_text(encoding="utf-8")
        minutes = (time.monotonic() - began) / 60
        shown = f"{conditions(minutes, sample=asked.sample)}\n\n{table}"
        PAGE.write_text(report.written(page, shown), encoding="utf-8")
    clean = bool(rows) and all(row.clean for row in rows)
    return 0 if clean and all(fine) else 1


def passed(
    environment: dict[str, str], suite: Sequence[str], *, everything: bool
) -> bool:
    """Run pytest on *suite*, show what it says, and return whether all passed."""
    ordinary = everything and suite[0].startswith(_FAULTS)
    marked = "long or not long" if ordinary else "long"
    command = [sys.executable, "-m", "pytest", "-q", "-m", marked, *suite]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    print("==", " ".join(command[2:]), "\n", done.stdout, sep="", flush=True)
    return done.returncode == 0


def conditions(minutes: float, *, sample: bool) -> str:
    """Say when and where the figures were made."""
    day = datetime.datetime.now(tz=datetime.UTC).date()
    run = "a sample" if sample else "the long suites"
    kernel = platform.release().partition("-")[0]
    return (
        f"{day}: {run}, seed {effort.SEED}, in {minutes:.0f} minutes; "
        f"Python {platform.python_version()}, {platform.system()} {kernel}, "
        f"{os.cpu_count()} cores."
    )


if __name__ == "__main__":
    sys.exit(main())
