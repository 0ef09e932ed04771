"""Sends one upload at a liar and looks at everything that came of it.

The secrets of such an upload all hold ``SECRET``: where it turns up, it leaked.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import tenacity

from poster_resume import (
    AsyncResumableUpload,
    Event,
    Outcome,
    ResumableUpload,
    RetryPolicy,
    Timeouts,
    UploadError,
    UploadProtocol,
    async_client,
    client,
)
from poster_resume.protocols import protocol_named

SECRET = "".join(["s3", "cr3t"])  # in no line of source that a traceback may show
CONTENT = bytes(range(256)) * 24

Driver = Literal["blocking", "asyncio"]
Whose = Literal["ours", "httpx"]
Way = tuple[Driver, Whose]
WAYS: tuple[Way, ...] = (
    ("blocking", "ours"),
    ("blocking", "httpx"),
    ("asyncio", "ours"),
    ("asyncio", "httpx"),
)
PROTOCOLS = ("rufh", "tus", "oneshot")

CREDENTIALS = {
    "Authorization": f"Bearer {SECRET}",
    "X-Api-Key": SECRET,
    "Cookie": f"session={SECRET}",
    "Proxy-Authorization": f"Basic {SECRET}",
}

#: Gives up after a moment, so that each lie is told a few times only.
HASTY = RetryPolicy(
    stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(0), settle=0
)
BRIEF = Timeouts(connect=2, progress=0.4, answer=0.4, probe=0.3)


@dataclass
class Verdict:
    """How one send ended, and all that it let anybody see."""

    outcome: Outcome | None = None
    error: UploadError | None = None
    seconds: float = 0.0
    events: list[Event] = field(default_factory=list)
    logged: str = ""

    @property
    def shown(self) -> str:
        """Everything that a user or a log file gets to see."""
        shown = [self.logged]
        for event in self.events:
            shown += [event.message, *_shown(event.error)]
        shown += _shown(self.error)
        return "\n".join(shown)


#: How every send ended since whoever is interested emptied this.
VERDICTS: list[Verdict] = []


def _shown(error: BaseException | None) -> Iterator[str]:
    if error is None:
        return
    yield from traceback.format_exception(error)
    # What "from None" hides, debuggers and crash reporters show all the same.
    links: list[BaseException] = [error]
    for link in links:
        yield from (str(link), repr(link))
        further = (link.__cause__, link.__context__)
        links += [each for each in further if each and each not in links]


def speaking(name: str, **options: Any) -> UploadProtocol:
    return protocol_named(name, options)


def target_of(origin: str, protocol: str, number: int = 0) -> str:
    """Return a target with a secret in its path and in its query."""
    path = {"rufh": "rufh", "tus": "tus", "oneshot": "form"}[protocol]
    return f"{origin}/{path}/{SECRET}/{number}?signature={SECRET}"


def sent(
    target: str,
    way: Way,
    *,
    store: Path | None,
    trust: Any = None,
    assume: Any = None,
    **options: Any,
) -> Verdict:
    """Send to *target* and tell how it went; *trust* is the client's ``verify``."""
    verdict = Verdict()
    given: dict[str, Any] = {
        "content": CONTENT,
        "headers": CREDENTIALS,
        "retry": HASTY,
        "timeouts": BRIEF,
        "key": "lies",
        "on_event": verdict.events.append,
        "store": store,
        **options,
    }
    driver, whose = way
    verify = {} if trust is None else {"verify": trust}
    with logged() as log:
        began = time.monotonic()
        try:
            if driver == "blocking":
                build = client if whose == "ours" else httpx.Client
                with build(**verify) as http:
                    upload = ResumableUpload(target, client=http, **given)
                    verdict.outcome = upload.send(assume=assume)
            else:
                awaited = _awaited(target, whose, verify, assume, given)
                verdict.outcome = asyncio.run(awaited)
        except UploadError as error:
            verdict.error = error
        verdict.seconds = time.monotonic() - began
    verdict.logged = log.getvalue()
    VERDICTS.append(verdict)
    return verdict


async def _awaited(
    target: str,
    whose: Whose,
    verify: dict[str, Any],
    assume: Any,
    given: dict[str, Any],
) -> Outcome:
    build = async_client if whose == "ours" else httpx.AsyncClient
    async with build(**verify) as http:
        return await AsyncResumableUpload(target, client=http, **given).send(
            assume=assume
        )


def cancelled(target: str, **options: Any) -> None:
    """Cancel what was sent to *target*."""
    with client() as http:
        given = {"content": CONTENT, "retry": HASTY, "timeouts": BRIEF, **options}
        ResumableUpload(target, client=http, **given).cancel()


@contextlib.contextmanager
def logged() -> Iterator[io.StringIO]:
    """Catch what every logger says at DEBUG, httpx' and httpcore's included."""
    root, stream = logging.getLogger(), io.StringIO()
    handler, before = logging.StreamHandler(stream), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
