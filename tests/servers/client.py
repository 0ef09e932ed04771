"""One call of the library in a process of its own, described by JSON.

``python -m tests.servers.client JSON`` makes the very same call each time it
gets the same JSON, and prints how that ended: running it again is resuming.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import httpx2
import tenacity
import trio

from poster_resume import (
    RUFH,
    AsyncResumableUpload,
    Event,
    Oneshot,
    Outcome,
    ResumableUpload,
    RetryPolicy,
    Tus,
    UploadError,
    UploadProtocol,
    UploadRejected,
)

Driver = Literal["blocking", "asyncio", "trio"]
_PROTOCOLS: dict[str, type[UploadProtocol]] = {
    "rufh": RUFH,
    "tus": Tus,
    "oneshot": Oneshot,
}


@dataclass(frozen=True)
class Call:
    """What to send, where, and how; *attempts* without progress before it fails."""

    target: str
    file: str
    store: str
    form: dict[str, str] | None = None
    protocol: str = "auto"
    options: dict[str, Any] = field(default_factory=dict)
    driver: Driver = "blocking"
    client: Literal["ours", "httpx", "httpx2"] = "ours"
    chunk_size: int | None = None
    attempts: int = 8


@dataclass(frozen=True)
class Result:
    """How one call ended: an outcome, or the name of an error."""

    status: int | None = None
    content: str = ""
    verified: str = ""
    protocol: str = ""
    error: str = ""
    message: str = ""
    resumable: bool = False
    events: list[str] = field(default_factory=list)


def again(call: Call, *, patience: float = 60) -> Result:
    """Make *call* in a new process, and return how it ended."""
    with started(call) as process:
        out, _ = process.communicate(timeout=patience)
    if process.returncode:
        raise RuntimeError(f"the client died: {out.decode(errors='replace')}")
    return Result(**json.loads(out.splitlines()[-1]))


@contextlib.contextmanager
def started(call: Call) -> Iterator[subprocess.Popen[bytes]]:
    """Make *call* in a new process, which is gone when the block ends."""
    root = Path(__file__).parents[2]
    words = [sys.executable, "-m", "tests.servers.client", json.dumps(asdict(call))]
    process = subprocess.Popen(
        words, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def made(call: Call) -> Result:
    """Make *call* in this process."""
    events: list[Event] = []
    try:
        outcome = _DRIVERS[call.driver](call, events)
    except UploadRejected as error:
        said = error.response.content.decode(errors="replace")
        failed = Result(
            error.response.status_code, content=said, error="UploadRejected"
        )
    except UploadError as error:
        failed = Result(
            error=type(error).__name__, message=str(error), resumable=error.resumable
        )
    else:
        response = outcome.response
        return Result(
            response.status_code,
            response.content.decode(errors="replace"),
            outcome.verified,
            outcome.upload.protocol,
            events=[event.kind for event in events],
        )
    return Result(**{**asdict(failed), "events": [event.kind for event in events]})


def _arguments(call: Call, events: list[Event]) -> dict[str, Any]:
    what: dict[str, Any] = {"content": Path(call.file)}
    if call.form is not None:
        what = {"params": {**call.form, "file": Path(call.file)}}
    protocol: str | UploadProtocol = call.protocol
    if call.protocol in _PROTOCOLS:
        protocol = _PROTOCOLS[call.protocol].from_options(call.options)
    retry = RetryPolicy(
        stop=tenacity.stop_after_attempt(call.attempts),
        wait=tenacity.wait_fixed(0.05),
        settle=0.1,
    )
    return what | {
        "protocol": protocol,
        "store": call.store,
        "chunk_size": call.chunk_size,
        "retry": retry,
        "on_event": events.append,
    }


def _blocking(call: Call, events: list[Event]) -> Outcome:
    arguments = _arguments(call, events)
    if call.client == "ours":
        return ResumableUpload(call.target, **arguments).send()
    make = httpx.Client if call.client == "httpx" else httpx2.Client
    with make() as client:
        return ResumableUpload(call.target, client=client, **arguments).send()


async def _awaited(call: Call, events: list[Event]) -> Outcome:
    arguments = _arguments(call, events)
    if call.client == "ours":
        return await AsyncResumableUpload(call.target, **arguments).send()
    make = httpx.AsyncClient if call.client == "httpx" else httpx2.AsyncClient
    async with make() as client:
        upload = AsyncResumableUpload(call.target, client=client, **arguments)
        return await upload.send()


def _on_asyncio(call: Call, events: list[Event]) -> Outcome:
    return asyncio.run(_awaited(call, events))


def _on_trio(call: Call, events: list[Event]) -> Outcome:
    return trio.run(_awaited, call, events)


_DRIVERS = {"blocking": _blocking, "asyncio": _on_asyncio, "trio": _on_trio}


if __name__ == "__main__":
    print(json.dumps(asdict(made(Call(**json.loads(sys.argv[1]))))))
