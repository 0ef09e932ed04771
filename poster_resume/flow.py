"""Flows: protocol logic as generators that ask for effects.

A flow yields what it wants done and is sent the outcome. It performs nothing
itself, so the same flow runs under a blocking driver, an async driver, and a
test that answers by hand. Nothing here or below reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

from .errors import InvalidParameter, UploadError
from .plan import Plan
from .progress import Event
from .ranges import ByteRange
from .records import PlanRecord
from .upload import Upload

T = TypeVar("T")

Purpose = Literal[
    "discover", "create", "retrieve offset", "append", "complete", "cancel"
]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each step of one request may take, in seconds.

    *progress*: no byte was accepted by the kernel, and none came back; nor, where
    the kernel can tell, did the peer acknowledge any.
    *answer*: from the moment the kernel's send queue is empty. *probe*:
    replaces *answer* for requests without content.
    """

    connect: float = 30
    progress: float = 60
    answer: float = 600
    probe: float = 20

    def __post_init__(self) -> None:
        for name in ("connect", "progress", "answer", "probe"):
            seconds = getattr(self, name)
            if not isinstance(seconds, (int, float)) or not seconds > 0:
                raise InvalidParameter(
                    f"timeouts: {name} must be more than 0 seconds, not {seconds!r}"
                )


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What a headers callable is told about the request that needs headers.

    *attempt* counts from 1. *rejected* says that the server refused the
    credentials of the attempt before this one: bring other ones.
    """

    method: str
    origin: str
    purpose: Purpose
    attempt: int = 1
    rejected: bool = False


@dataclass(frozen=True, slots=True)
class Interim:
    """An interim response (1xx). Header names are lower case.

    *url* is that of the request, after redirects; the session fills it in.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    wall: float = 0.0
    url: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request whose content may be a range of the representation.

    Naming a range instead of holding bytes keeps protocols free of file
    handles: the driver turns the range into a stream when it sends.

    *on_interim* is asked about each interim response while the content is
    still going out; it is pure, and the driver performs what it returns at
    once. The last *withhold* bytes leave only when the kernel has sent all
    the others, so that a break before then is known to have left the content
    incomplete. *credentials*, *attempt*, *rejected*, *deadline* (on the
    monotonic clock) and *timeouts* are the session's to set, not a verb's.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes | ByteRange = field(default=b"", repr=False)
    purpose: Purpose = "append"
    on_interim: Callable[[Interim], Save | Report | Abort | None] | None = None
    expect_continue: bool = False
    withhold: int = 0
    credentials: bool = False
    attempt: int = 1
    rejected: bool = False
    deadline: float | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)

    @property
    def length(self) -> int:
        """Length of the content in bytes."""
        content = self.content
        return len(content) if isinstance(content, bytes) else content.length


@dataclass(frozen=True, slots=True)
class Response:
    """A final HTTP response; header names are lower case.

    *sent* counts the bytes of content that had left when it arrived: fewer
    than all of them when the server answered early. *monotonic* and *wall*
    are the driver's clocks at arrival, in seconds. *url* is that of the
    request, after redirects; the session fills it in.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes = field(default=b"", repr=False)
    truncated: bool = False
    sent: int | None = None
    monotonic: float = 0.0
    wall: float = 0.0
    url: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment, on the monotonic clock and on the wall's, in seconds."""

    monotonic: float
    wall: float


@dataclass(frozen=True, slots=True)
class Save:
    """Make this state durable before going on.

    Without *durable* it need only be remembered: the server repeats it when
    asked (progress reports).
    """

    upload: Upload
    durable: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the observers."""

    event: Event


@dataclass(frozen=True, slots=True)
class Abort:
    """Close the connection now and throw *error* into the flow."""

    error: UploadError


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Now:
    """Read the clocks."""


@dataclass(frozen=True, slots=True)
class Check:
    """Make sure that every source is still the one that was planned."""


@dataclass(frozen=True, slots=True)
class Digest:
    """Hash a range of the representation. *algorithm* is hashlib's or zlib's name."""

    algorithm: str
    content: ByteRange


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep a fact about an origin for so many seconds; losing it only costs time."""

    origin: str
    key: str
    value: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Recall:
    """Look up a fact about an origin."""

    origin: str
    key: str


@dataclass(frozen=True, slots=True)
class Identify:
    """Tell target and content of this call apart from all others, by a digest."""


@dataclass(frozen=True, slots=True)
class Find:
    """Look an upload up by what it is for."""

    identity: str


@dataclass(frozen=True, slots=True)
class Load:
    """Look an upload up by its id."""

    upload_id: str


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """Read a plan's record by its digest."""

    digest: str


@dataclass(frozen=True, slots=True)
class SavePlan:
    """Keep a plan's record, once for ever."""

    record: PlanRecord


@dataclass(frozen=True, slots=True)
class Claim:
    """Become the one sender of an identity, or throw ``UploadBusy`` at once."""

    identity: str


@dataclass(frozen=True, slots=True)
class Release:
    """Stop being the sender of an identity."""

    identity: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Forget an upload, its plan record and its spooled files."""

    upload_id: str


@dataclass(frozen=True, slots=True)
class Prune:
    """Forget what was delivered long ago; the reply is what expired long ago."""


@dataclass(frozen=True, slots=True)
class MakePlan:
    """Plan the caller's parameters anew, with a fresh boundary."""


@dataclass(frozen=True, slots=True)
class OwnPlan:
    """Return the plan that this object made for an upload and has kept, or None."""

    upload_id: str


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """Bring a plan back from its record, with the caller's values."""

    record: PlanRecord


Effect: TypeAlias = (
    Request
    | Save
    | Report
    | Sleep
    | Now
    | Check
    | Digest
    | Remember
    | Recall
    | Identify
    | Find
    | Load
    | LoadPlan
    | SavePlan
    | Claim
    | Release
    | Delete
    | Prune
    | MakePlan
    | OwnPlan
    | RestorePlan
)
Reply: TypeAlias = (
    Response
    | Instant
    | Upload
    | tuple[Upload, ...]
    | PlanRecord
    | Plan
    | bytes
    | str
    | None
)
Flow: TypeAlias = Generator[Effect, Reply, T]


def send(request: Request) -> Flow[Response]:
    """Send *request* and return the final response."""
    reply = yield request
    assert isinstance(reply, Response)
    return reply


def now() -> Flow[Instant]:
    """Return what the clocks say."""
    reply = yield Now()
    assert isinstance(reply, Instant)
    return reply


def digest(algorithm: str, content: ByteRange) -> Flow[bytes]:
    """Return the digest of a range of the representation."""
    reply = yield Digest(algorithm, content)
    assert isinstance(reply, bytes)
    return reply


def recall(origin: str, key: str) -> Flow[str | None]:
    """Return what is remembered about *origin*, if anything is."""
    reply = yield Recall(origin, key)
    assert reply is None or isinstance(reply, str)
    return reply


def report(event: Event) -> Flow[None]:
    """Tell the observers about *event*."""
    yield Report(event)
