"""What large files don't show: small forms, many parts, going on, broken links.

    python -m tests.bench.others WHAT ARGUMENTS...

Each prints JSON. One process per measurement.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import itertools
import json
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from poster_resume.plan import plan_form
from poster_resume.ranges import ByteRange
from poster_resume.transport import async_client, client, segment_request

FIELD = "x" * 10_000
#: Forms that are sent before the measured ones.
WARM = 50


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _measured(send: Callable[[], object], count: int) -> dict[str, float]:
    for _ in range(WARM):
        send()
    began, cpu = time.perf_counter(), _cpu()
    for _ in range(count):
        send()
    return _each(began, cpu, count)


async def _awaited(
    send: Callable[[], Awaitable[object]], count: int
) -> dict[str, float]:
    for _ in range(WARM):
        await send()
    began, cpu = time.perf_counter(), _cpu()
    for _ in range(count):
        await send()
    return _each(began, cpu, count)


def _each(began: float, cpu: float, count: int) -> dict[str, float]:
    each = 1_000_000 / count
    return {
        "cpu": (_cpu() - cpu) * each,
        "wall": (time.perf_counter() - began) * each,
    }


def _ours(url: str, count: int) -> dict[str, float]:
    with client(trust_env=False) as ours:
        return _measured(
            lambda: ours.send(
                segment_request(
                    ours, "POST", url, plan_form({"a": "b", "field": FIELD})
                )
            ),
            count,
        )


def _ours_async(backend: str, url: str, count: int) -> dict[str, float]:
    async def main() -> dict[str, float]:
        async with async_client(trust_env=False) as ours:
            return await _awaited(
                lambda: ours.send(
                    segment_request(
                        ours, "POST", url, plan_form({"a": "b", "field": FIELD})
                    )
                ),
                count,
            )

    return anyio.run(main, backend=backend)


def _httpx(url: str, count: int) -> dict[str, float]:
    import httpx

    form: Any = {"a": (None, "b"), "field": (None, FIELD)}
    with httpx.Client(trust_env=False) as theirs:
        return _measured(lambda: theirs.post(url, files=form), count)


def _httpx_async(url: str, count: int) -> dict[str, float]:
    import httpx

    form: Any = {"a": (None, "b"), "field": (None, FIELD)}

    async def main() -> dict[str, float]:
        async with httpx.AsyncClient(trust_env=False) as theirs:
            return await _awaited(lambda: theirs.post(url, files=form), count)

    return asyncio.run(main())


def _requests(url: str, count: int) -> dict[str, float]:
    import requests

    form: Any = {"a": (None, "b"), "field": (None, FIELD)}
    with requests.Session() as session:
        session.trust_env = False
        return _measured(lambda: session.post(url, files=form), count)


def _aiohttp(url: str, count: int) -> dict[str, float]:
    import aiohttp

    async def main() -> dict[str, float]:
        async with aiohttp.ClientSession() as session:

            async def send() -> None:
                form = aiohttp.FormData(default_to_multipart=True)
                form.add_field("a", "b")
                form.add_field("field", FIELD)
                async with session.post(url, data=form) as response:
                    await response.read()

            return await _awaited(send, count)

    return asyncio.run(main())


def _pycurl(url: str, count: int) -> dict[str, float]:
    pycurl = importlib.import_module("pycurl")

    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.NOPROXY, "*")
    curl.setopt(pycurl.HTTPHEADER, ["Expect:"])
    curl.setopt(pycurl.WRITEFUNCTION, lambda data: None)

    def send() -> None:
        curl.setopt(pycurl.HTTPPOST, [("a", "b"), ("field", FIELD)])
        curl.perform()

    return _measured(send, count)


FORMS: dict[str, Callable[[str, int], dict[str, float]]] = {
    "poster_resume, blocking": _ours,
    "poster_resume, asyncio": functools.partial(_ours_async, "asyncio"),
    "poster_resume, trio": functools.partial(_ours_async, "trio"),
    "httpx": _httpx,
    "httpx, asyncio": _httpx_async,
    "requests": _requests,
    "aiohttp": _aiohttp,
    "pycurl": _pycurl,
}


def forms(name: str, url: str, count: str) -> dict[str, Any]:
    """CPU per form of 10 KB, in microseconds, on one kept connection."""
    try:
        return FORMS[name](url, int(count))
    except ImportError as exc:
        return {"unavailable": f"{exc.name} is not installed"}


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
    """Upload *size* bytes by RUFH over a link that is cut every so many bytes.

    *every* 0: never cut.
    """
    from poster_resume import ResumableUpload
    from poster_resume.testing import Cut, Delay, Link, Receiver
    from poster_resume.testing.faults import Fault

    seconds = float(delay) / 2
    with tempfile.TemporaryDirectory() as directory, Receiver() as receiver:
        path = Path(directory) / "file.bin"
        with path.open("wb") as file:
            file.truncate(int(size))
        faults: tuple[Fault, ...] = (Delay(seconds),)
        if int(every):
            faults = (Cut(after=int(every)), *faults)
        with (
            Link(receiver.port, itertools.repeat(faults)) as link,
            client(trust_env=False) as ours,
        ):
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
