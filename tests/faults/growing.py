"""A client in a process of its own, told one lie after the other.

Prints its greatest size before and after, in KiB, and how each upload ended.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

import httpx

from poster_resume import Timeouts

from .hostile import Hostile, answer
from .judging import Way, sent


def size() -> int:
    """Return the most memory that this process ever had, in KiB."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used // 1024 if sys.platform == "darwin" else used


def main(origin: str, way: Way, count: int) -> None:
    brief = Timeouts(connect=0.5, progress=0.1, answer=0.3, probe=0.2)
    options: dict[str, Any] = {
        "protocol": "oneshot",
        "store": None,
        "timeouts": brief,
        "headers": {},
    }
    with Hostile(lambda _: [answer(201)]) as honest:  # what is imported late
        sent(f"{honest.origin}/form", way, **options)
    before, ends = size(), []
    for index in range(count):
        auth = httpx.DigestAuth("user", "word")
        verdict = sent(f"{origin}/form/{index}", way, auth=auth, **options)
        ends.append(f"{type(verdict.error).__name__}, {size()}")
    print(json.dumps([before, size(), ends]))


if __name__ == "__main__":
    driver, whose = json.loads(sys.argv[2])
    main(sys.argv[1], (driver, whose), int(sys.argv[3]))
