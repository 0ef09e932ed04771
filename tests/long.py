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
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .faults import effort, report

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "reliability.md"

_CUTS = "tests/faults/test_every_cut.py"
_FUZZ = "tests/faults/test_fuzz.py"
_HOSTILE = "tests/faults/test_hostile_servers.py"
_KILLS = "tests/faults/test_every_kill.py"
_LIES = "tests/faults/test_lies.py"
_MOVING = "tests/faults/test_moving_sources.py"
_PRIVATE = "tests/faults/test_kept_private.py"
_STORES = "tests/faults/test_bad_stores.py"
_TWO = "tests/faults/test_two_of_us.py"

#: Arguments of pytest, a suite a line, the longest first.
ALL = (
    (_CUTS, "-k", "not any_byte"),
    (_KILLS,),
    (_FUZZ,),
    (_TWO,),
    (_CUTS, "-k", "any_byte and blocking"),
    (_LIES,),
    (_CUTS, "-k", "any_byte and trio"),
    (_CUTS, "-k", "any_byte and asyncio"),
    (_MOVING,),
    (_STORES,),
    ("tests/networks",),
    ("tests/servers",),
    ("tests/poster_resume", "tests/simulation"),
    (_HOSTILE, _PRIVATE),
)

#: The same, of which each long suite here takes a part; and what is beyond.
SAMPLE = (
    (_KILLS,),
    (_CUTS,),
    (_TWO,),
    (_MOVING, "-k", "(planned or process or answer) and tus and blocking"),
    (_STORES,),
    ("tests/poster_resume/test_memory.py", "-k", "20GiB and blocking"),
    ("tests/servers",),
)
#: Suites whose ordinary tests are the sample that is wanted of them.
ORDINARY = ((_LIES, _FUZZ, _HOSTILE, _PRIVATE, _MOVING), ("tests/networks",))


@dataclass(frozen=True)
class Ran:
    """What became of a suite: how long it took, and which tests of it failed."""

    suite: Sequence[str]
    seconds: float
    failed: Sequence[str]
    fine: bool


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
            run = partial(ran, environment)
            wanted: list[tuple[Sequence[str], str]]
            if asked.sample:
                wanted = [(suite, "long") for suite in SAMPLE]
                wanted += [(suite, "not long") for suite in ORDINARY]
            else:
                wanted = [(suite, _marked(suite)) for suite in ALL]
            suites = list(pool.map(lambda each: run(*each), wanted))
        rows = report.merged(lines.read_text(encoding="utf-8").splitlines())
    table = report.table(rows)
    print(table)
    print(summary(suites))
    if asked.write:
        page = PAGE.read_text(encoding="utf-8")
        minutes = (time.monotonic() - began) / 60
        shown = f"{conditions(minutes, sample=asked.sample)}\n\n{table}"
        PAGE.write_text(report.written(page, shown), encoding="utf-8")
    clean = bool(rows) and all(row.clean for row in rows)
    return 0 if clean and all(suite.fine for suite in suites) else 1


def _marked(suite: Sequence[str]) -> str:
    # Beside what is long, the faults' ordinary tests are counted as well.
    counted = suite[0].startswith(("tests/faults", "tests/networks"))
    return "long or not long" if counted else "long"


def ran(environment: dict[str, str], suite: Sequence[str], marked: str) -> Ran:
    """Run pytest on *suite*, show what it says, and return what became of it."""
    # What was logged until a failure can be longer than anybody reads.
    brief = ("-q", "-rfE", "--show-capture=no")
    command = [sys.executable, "-m", "pytest", *brief, "-m", marked, *suite]
    began = time.monotonic()
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
    failed = [
        line.split(" ", 1)[1].partition(" - ")[0]
        for line in done.stdout.splitlines()
        if line.startswith(("FAILED ", "ERROR tests/"))
    ]
    if done.returncode == 5:  # by pytest's exit codes
        failed = ["no test ran"]
    seconds = time.monotonic() - began
    return Ran(suite, seconds, failed, done.returncode == 0)


def summary(suites: Sequence[Ran]) -> str:
    """Say how long each suite took, and what failed."""
    lines = []
    for suite in suites:
        said = "passed" if suite.fine else "FAILED"
        lines.append(f"{suite.seconds:7.0f} s  {said}  {' '.join(suite.suite)}")
        lines += [f"{'':19}{name}" for name in suite.failed]
    return "\n".join(lines)


def conditions(minutes: float, *, sample: bool) -> str:
    """Say when and where the figures were made."""
    day = datetime.datetime.now(tz=datetime.UTC).date()
    run = "a sample" if sample else "the long suites"
    if not sample:
        run += (
            " (every byte in blocking, asyncio and trio, there going on by the same "
            "object and by a new one in turn; every other one of the answers that "
            "are alike)"
        )
    kernel = platform.release().partition("-")[0]
    return (
        f"{day}: {run}, seed {effort.SEED}, in {minutes:.0f} minutes; "
        f"Python {platform.python_version()}, {platform.system()} {kernel}, "
        f"{os.cpu_count()} cores."
    )


if __name__ == "__main__":
    sys.exit(main())
