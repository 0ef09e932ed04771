"""Uploads over a link that is cut at an exact byte, and what became of them.

A conversation is measured once, whole. Then each case runs it again over a
link of its own whose connections are cut as the case says, and is judged by
what the server has got: nothing that a client believes counts.
"""

from __future__ import annotations

import hashlib
import itertools
import ssl
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import anyio
import tenacity

from poster_resume import (
    RUFH,
    AsyncResumableUpload,
    DeadlineExceeded,
    Event,
    Oneshot,
    Outcome,
    OutcomeUnknown,
    ResumableUpload,
    RetryPolicy,
    Tus,
    Upload,
    UploadError,
    UploadProtocol,
    async_client,
    client,
)
from poster_resume.protocols.oneshot import Incomplete
from poster_resume.stores import SQLiteStore
from poster_resume.testing import (
    ConnectionSeen,
    Cut,
    Delivery,
    Link,
    Receiver,
    RequestSeen,
)
from poster_resume.testing.faults import Direction, Faults, How

from .effort import scratch
from .report import Figures

Driver = Literal["blocking", "asyncio", "trio"]
#: How it goes on after a break: the same call, or new objects over the store.
Again = Literal["same", "fresh"]
Verdict = Literal["delivered", "told", "lost", "duplicated", "hung"]

DRIVERS: tuple[Driver, ...] = ("blocking", "asyncio", "trio")
AGAIN: tuple[Again, ...] = ("same", "fresh")
HOWS: tuple[How, ...] = ("rst", "fin")

CONTENT = bytes(range(256)) + b"\r\n--" * 11
SHA256 = hashlib.sha256(CONTENT).hexdigest()

#: Seconds after which a case counts as hung.
PATIENCE = 20.0
#: Cases that share one receiver.
_BATCH = 64
#: Calls that a fresh process makes at most.
_CALLS = 8

# Loopback is not encrypted, and reading certificates takes longer than a case.
_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True)
class Speech:
    """A way of uploading: *protocol* at *path*, in appends of *chunk_size* bytes."""

    name: str
    path: str
    protocol: Callable[[], UploadProtocol]
    chunk_size: int | None = 170

    def may_be_unknown(self, state: Upload | None) -> bool:
        """Whether nobody can say how it ended, once everything had left.

        So of plain requests, and of an optimistic creation that no 104 named.
        """
        if self.path == "form":
            return True
        optimistic = self.name.startswith("rufh optimistic")
        return optimistic and state is not None and state.resource is None


SPEECHES = {
    speech.name: speech
    for speech in (
        Speech("rufh careful", "rufh", lambda: RUFH(creation="careful")),
        Speech("rufh optimistic", "rufh", lambda: RUFH(creation="optimistic"), None),
        Speech(
            "rufh optimistic, expecting",
            "rufh",
            lambda: RUFH(creation="optimistic", expect_continue=True),
            None,
        ),
        Speech("tus", "tus", Tus),
        Speech("tus with upload", "tus", lambda: Tus(with_upload=True)),
        Speech("tus checksum", "tus", lambda: Tus(checksum="sha256")),
        Speech("oneshot", "form", Oneshot, None),
    )
}


@dataclass(frozen=True)
class Case:
    """One upload: how it is sent, and the faults of its connections in turn."""

    speech: str
    driver: Driver
    again: Again
    faults: tuple[Faults, ...]


@dataclass(frozen=True)
class Attempt:
    """One call of ``send()``, on objects that are new."""

    target: str
    speech: Speech
    store: SQLiteStore | None
    retry: RetryPolicy
    on_event: Callable[[Event], None]
    content: bytes | Path = CONTENT


Answered: TypeAlias = tuple[Outcome | UploadError, Upload | None]


@dataclass
class Seen:
    """What became of a case."""

    case: Case
    verdict: Verdict
    why: str = ""
    resent: int = 0
    noticed: float | None = None
    connections: Sequence[ConnectionSeen] = field(default=(), repr=False)


@dataclass
class _Run:
    case: Case
    target: str
    result: Outcome | UploadError | None = None
    state: Upload | None = None
    seconds: float = 0.0
    noticed: float | None = None
    #: An error said that nothing was delivered, before the server's log was read.
    incomplete: bool = False
    connections: Sequence[ConnectionSeen] = ()


def measured(speech: Speech) -> list[ConnectionSeen]:
    """Return the connections of a conversation that nothing disturbs."""
    (seen,) = run([Case(speech.name, "blocking", "same", ())])
    assert seen.verdict == "delivered", seen.why
    return list(seen.connections)


def every_cut(speech: Speech, step: int = 1) -> Iterator[tuple[int, Cut]]:
    """Yield each place of a conversation: the connection, and the cut there."""
    for connection in measured(speech):
        sizes: tuple[tuple[Direction, int], ...]
        sizes = (("up", connection.up), ("down", connection.down))
        for direction, size in sizes:
            for after in range(0, size + 1, step):
                for how in HOWS:
                    yield connection.number, Cut(after, direction, how)


def run(cases: Iterable[Case], content: bytes = CONTENT) -> list[Seen]:
    """Run *cases* and judge each."""
    seen: list[Seen] = []
    pending = list(cases)
    for driver in DRIVERS:
        these = [case for case in pending if case.driver == driver]
        for start in range(0, len(these), _BATCH):
            seen += _batch(these[start : start + _BATCH], driver)
    return seen


def _batch(cases: Sequence[Case], driver: Driver) -> list[Seen]:
    with scratch() as directory, Receiver(Path(directory) / "server") as receiver:
        runs: list[_Run] = []
        store = Path(directory) / "state"
        if driver == "blocking":
            for number, case in enumerate(cases):
                runs.append(_blocking(_scenario(case, number, receiver, store)))
        else:

            async def all_of_them() -> None:
                for number, case in enumerate(cases):
                    flow = _scenario(case, number, receiver, store)
                    runs.append(await _awaited(flow))

            anyio.run(all_of_them, backend=driver)
        receiver.close()  # what was under way arrives or not: now it is known
        return [_judged(run, receiver) for run in runs]


def _scenario(
    case: Case, number: int, receiver: Receiver, store: Path
) -> Generator[Attempt, Answered, _Run]:
    speech = SPEECHES[case.speech]
    accepted: list[float] = []
    noticed: list[float] = []

    def faults() -> Iterator[Faults]:
        for fault in case.faults:
            accepted.append(time.monotonic())
            yield fault

    def on_event(event: Event) -> None:
        if event.kind == "interrupted":
            noticed.append(time.monotonic())

    attempts = _CALLS if case.again == "same" else 1
    retry = RetryPolicy(
        stop=tenacity.stop_after_attempt(attempts), wait=tenacity.wait_none(), settle=0
    )
    with Link(receiver.port, faults()) as link:
        run = _Run(case, f"/{speech.path}/{number:04}")
        target = link.url + run.target
        began = time.monotonic()
        for _ in range(_CALLS if case.again == "fresh" else 1):
            opened = SQLiteStore(store) if case.again == "fresh" else None
            attempt = Attempt(target, speech, opened, retry, on_event)
            run.result, run.state = yield attempt
            if opened is not None:
                opened.close()
            if isinstance(run.result, Outcome):
                break
            noticed.append(time.monotonic())
            if isinstance(run.result, Incomplete):
                run.incomplete = True
            if isinstance(run.result, OutcomeUnknown):
                break
        run.seconds = time.monotonic() - began
        if noticed and accepted:
            run.noticed = noticed[0] - accepted[0]
    run.connections = link.connections
    return run


def _blocking(flow: Generator[Attempt, Answered, _Run]) -> _Run:
    try:
        attempt = next(flow)
        while True:
            with client(verify=_CONTEXT, trust_env=False) as http:
                upload = ResumableUpload(
                    attempt.target,
                    content=attempt.content,
                    protocol=attempt.speech.protocol(),
                    chunk_size=attempt.speech.chunk_size,
                    store=attempt.store,
                    retry=attempt.retry,
                    deadline=PATIENCE,
                    on_event=attempt.on_event,
                    client=http,
                )
                result: Outcome | UploadError
                try:
                    result = upload.send()
                except UploadError as error:
                    result = error
            attempt = flow.send((result, upload.state))
    except StopIteration as stop:
        run: _Run = stop.value
        return run


async def _awaited(flow: Generator[Attempt, Answered, _Run]) -> _Run:
    try:
        attempt = next(flow)
        while True:
            async with async_client(verify=_CONTEXT, trust_env=False) as http:
                upload = AsyncResumableUpload(
                    attempt.target,
                    content=attempt.content,
                    protocol=attempt.speech.protocol(),
                    chunk_size=attempt.speech.chunk_size,
                    store=attempt.store,
                    retry=attempt.retry,
                    deadline=PATIENCE,
                    on_event=attempt.on_event,
                    client=http,
                )
                result: Outcome | UploadError
                try:
                    result = await upload.send()
                except UploadError as error:
                    result = error
            attempt = flow.send((result, upload.state))
    except StopIteration as stop:
        run: _Run = stop.value
        return run


def _judged(run: _Run, receiver: Receiver) -> Seen:
    verdict, why = _verdict(run, receiver)
    uploads = [u for u in receiver.uploads if u.target == run.target]
    mine = {u.id for u in uploads}
    requests = [r for r in receiver.requests if _belongs(r, run.target, mine)]
    resent = max(0, sum(r.received for r in requests) - len(CONTENT))
    again = [u.lowest_resent for u in uploads if u.lowest_resent is not None]
    if verdict in ("delivered", "told") and again and run.case.speech != "oneshot":
        verdict, why = "duplicated", f"bytes from {min(again)} were sent again"
    return Seen(run.case, verdict, why, resent, run.noticed, run.connections)


def _verdict(run: _Run, receiver: Receiver) -> tuple[Verdict, str]:
    speech, result = SPEECHES[run.case.speech], run.result
    deliveries: list[Delivery]
    deliveries = [d for d in receiver.deliveries if d.path == run.target]
    said = f"{type(result).__name__}: {result}"
    if len(deliveries) > 1:
        return "duplicated", f"{len(deliveries)} deliveries; {said}"
    if any(d.sha256 != SHA256 for d in deliveries):
        return "lost", f"other bytes were delivered; {said}"
    if isinstance(result, DeadlineExceeded) or run.seconds > PATIENCE:
        return "hung", f"{run.seconds:.1f} s; {said}"
    if isinstance(result, Outcome):
        return ("delivered", "") if deliveries else ("lost", "nothing was delivered")
    if isinstance(result, OutcomeUnknown) and speech.may_be_unknown(run.state):
        return "told", said
    if isinstance(result, Incomplete) and speech.path == "form":
        # Said to be incomplete: what the server took for whole would be a lie.
        return ("lost", said) if deliveries else ("told", said)
    return "lost", said


def _belongs(request: RequestSeen, target: str, uploads: set[str]) -> bool:
    return request.path == target or request.upload in uploads


def figures(fault: str, seen: Sequence[Seen]) -> Figures:
    """Return what *seen* comes to."""
    count = {
        verdict: len(list(group))
        for verdict, group in itertools.groupby(sorted(s.verdict for s in seen))
    }
    noticed = [s.noticed for s in seen if s.noticed is not None]
    return Figures(
        fault,
        len(seen),
        told=count.get("told", 0),
        lost=count.get("lost", 0),
        duplicated=count.get("duplicated", 0),
        hung=count.get("hung", 0),
        resent=max((s.resent for s in seen), default=None),
        noticed=max(noticed, default=None),
    )
