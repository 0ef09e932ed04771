"""What large files don't show: small forms, many parts, going on, broken links.

    python -m tests.bench.others WHAT ARGUMENTS...

Each prints JSON. One process per measurement.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from poster_resume.plan import plan_form
from poster_resume.ranges import ByteRange
from poster_resume.transport import client, segment_request

FIELD = "x" * 10_000


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _form_ours(url: str) -> Callable[[], object]:
    ours = client(trust_env=False)
    return lambda: ours.send(
        segment_request(ours, "POST", url, plan_form({"a": "b", "field": FIELD}))
    )


def _form_httpx(url: str) -> Callable[[], object]:
    import httpx

    theirs = httpx.Client(trust_env=False)
    form: Any = {"a": (None, "b"), "field": (None, FIELD)}
    return lambda: theirs.post(url, files=form)


def _form_requests(url: str) -> Callable[[], object]:
    import requests

    session = requests.Session()
    session.trust_env = False
    form: Any = {"a": (None, "b"), "field": (None, FIELD)}
    return lambda: session.post(url, files=form)


def _form_pycurl(url: str) -> Callable[[], object]:
    pycurl = importlib.import_module("pycurl")

    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.NOPROXY, "*")
    curl.setopt(pycurl.HTTPHEADER, ["Expect:"])
    curl.setopt(pycurl.WRITEFUNCTION, lambda data: None)

    def send() -> None:
        curl.setopt(pycurl.HTTPPOST, [("a", "b"), ("field", FIELD)])
        curl.perform()

    return send


FORMS: dict[str, Callable[[str], Callable[[], object]]] = {
    "poster_resume": _form_ours,
    "httpx": _form_httpx,
    "requests": _form_requests,
    "pycurl": _form_pycurl,
}


def forms(name: str, url: str, count: str) -> dict[str, float]:
    """CPU per form of 10 KB, in microseconds, on one kept connection."""
    try:
        send = FORMS[name](url)
    except ImportError:
        return {}
    for _ in range(50):
        send()
    began, cpu = time.perf_counter(), _cpu()
    for _ in range(int(count)):
        send()
    each = 1_000_000 / int(count)
    return {
        "cpu": (_cpu() - cpu) * each,
        "wall": (time.perf_counter() - began) * each,
    }


def planning(count: str) -> dict[str, float]:
    """Seconds and bytes of memory to plan so many parts."""
    params = [(f"field{number}", "value") for number in range(int(count))]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    plan = plan_form(params)
    length = plan.length
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    for number in range(1000):
        next(plan.layout.cut(ByteRange(number * length // 1000, length)))
    return {
        "seconds": seconds,
        "rss": (after - before) * (1 if sys.platform == "darwin" else 1024),
        "look-up": (time.perf_counter() - began) / 1000,
    }


def resuming(url: str, path: str) -> dict[str, float]:
    """Seconds from a call to the first byte, from seven eighths of a file on."""
    plan = plan_form({"file": Path(path)})
    ours = client(trust_env=False)
    first: list[float] = []

    def moved(count: int) -> None:
        if not first:
            first.append(time.perf_counter())

    start = plan.length * 7 // 8
    best = float("inf")
    for _ in range(5):
        first.clear()
        began = time.perf_counter()
        request = segment_request(
            ours,
            "PATCH",
            url,
            plan,
            ByteRange(start, min(start + 1_000_000, plan.length)),
            on_progress=moved,
        )
        ours.send(request)
        best = min(best, first[0] - began)
    return {"seconds": best}


def cuts(size: str, every: str, delay: str) -> dict[str, float]:
    """Upload *size* bytes by RUFH over a link that is cut every so many bytes."""
    from poster_resume import ResumableUpload
    from poster_resume.testing import Cut, Delay, Link, Receiver

    seconds = float(delay) / 2
    with tempfile.TemporaryDirectory() as directory, Receiver() as receiver:
        path = Path(directory) / "file.bin"
        with path.open("wb") as file:
            file.truncate(int(size))
        faults = [
            (Cut(after=int(every)), Delay(seconds))
            for _ in range(int(size) // int(every) * 4)
        ]
        with Link(receiver.port, faults) as link, client(trust_env=False) as ours:
            began = time.perf_counter()
            upload = ResumableUpload(
                f"{link.url}/rufh/form",
                {"file": path},
                client=ours,
                store=None,
                protocol="rufh",
            )
            upload.send()
            wall = time.perf_counter() - began
            length = receiver.delivery().length
        return {
            "wall": wall,
            "received": receiver.received,
            "length": length,
            "requests": len(receiver.requests),
        }


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    print(json.dumps(globals()[what](*arguments)))
