"""One client sends once, in a process of its own, and says what it cost.

    python -m tests.bench.one NAME URL FILE [AUTHORITY|-] [NATIVE]

Prints JSON: seconds of wall clock, user and system time, and how many bytes the
peak of resident memory rose above what it was before sending.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from .senders import SENDERS, Task, Unavailable

# Linux counts kilobytes, macOS bytes.
_UNIT = 1 if sys.platform == "darwin" else 1024


def main() -> None:
    name, url, path, *others = sys.argv[1:]
    authority = Path(others[0]) if others and others[0] != "-" else None
    native = Path(others[1]) if len(others) > 1 else None
    _, apart, sender = SENDERS[name]
    try:
        run = sender(Task(url, Path(path), authority, native))
    except Unavailable as exc:
        print(json.dumps({"unavailable": str(exc)}))
        return
    who = resource.RUSAGE_CHILDREN if apart else resource.RUSAGE_SELF
    before = resource.getrusage(who)
    began = time.perf_counter()
    run()
    wall = time.perf_counter() - began
    after = resource.getrusage(who)
    print(
        json.dumps(
            {
                "wall": wall,
                "user": after.ru_utime - before.ru_utime,
                "system": after.ru_stime - before.ru_stime,
                "rss": (after.ru_maxrss - before.ru_maxrss) * _UNIT,
            }
        )
    )


main()
