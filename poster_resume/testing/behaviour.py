"""How a receiver behaves, well or badly: plain data.

A :class:`Behaviour` stands until it is replaced; a :class:`Rule` changes what
becomes of single requests. What real servers were seen to do wrong can be said
in either, so that a client's tests can be scripted against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .http1 import Answer, Ending, Head

#: What a request does to an older one that still holds the same upload:
#: *kill* cuts it off, *refuse* is answered 409, 423 or 503 itself, *wait* waits
#: for its end, *share* goes on as if it were alone.
Concurrency = Literal["kill", "refuse", "wait", "share"]

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What a receiver does with every request. Sizes in bytes, times in seconds.

    Who may send:
        *tokens* are the bearer tokens that it takes, one after the other: each
        is good until *token_bytes* bytes of content have come in with it; then
        even a request that is under way is answered 401. None: no token asked.

    Limits:
        *max_size*, *min_size*, *max_append_size*, *min_append_size* and
        *max_age* of uploads, announced and enforced. *gone_status* answers for
        an upload that expired or was deleted.

    RUFH:
        *dialects* are the interop versions spoken, ``"rfc"`` being requests
        without one. *interims* False sends no 104; *progress_every* is the
        bytes between two 104 that tell the offset. *acknowledge* False leaves
        ``Upload-Offset`` out of the answers to appends.

    tus:
        *extensions* and *checksums* are advertised; a checksum that is not
        advertised is ignored. *tus_version* False leaves ``Tus-Version`` and
        ``Tus-Resumable`` out. *require_metadata* are keys without which HEAD
        is refused. *spaced* writes lists with ``, `` between their items.
        *head_length* gives HEAD a ``Content-Length`` of the upload's length.

    What is kept:
        *buffering* keeps the content of a request only once it is whole.
        *late* is how long it takes until kept bytes of a cut request show.
        *wrong_offset* says what becomes of an append at another offset than
        the upload's. *grow* takes more than the declared length.

    The end:
        *final_status* and *final_content* are the target resource's answer;
        None: 201 and what arrived, as JSON; with tus 204 and nothing.
        *completed* says how a finished upload is answered for: *keep* as it
        was, *head-gone* HEAD by 404 and GET by the final answer, *gone* 404.

    Addresses:
        *location* stands before the path in ``Location``, ``{host}`` for what
        the client called us: ``"http://{host}"`` is what servers behind a TLS
        proxy write.
    """

    tokens: tuple[str, ...] | None = None
    token_bytes: int | None = None
    max_size: int | None = None
    min_size: int | None = None
    max_append_size: int | None = None
    min_append_size: int | None = None
    max_age: int | None = None
    gone_status: int = 404
    dialects: tuple[str, ...] = ("10", "9", "8", "7", "6", "5", "4", "3", "rfc")
    interims: bool = True
    progress_every: int = 4 * MIB
    acknowledge: bool = True
    extensions: tuple[str, ...] = (
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "expiration",
        "checksum",
        "termination",
    )
    checksums: tuple[str, ...] = ("sha1", "md5", "sha256", "crc32")
    tus_version: bool = True
    require_metadata: tuple[str, ...] = ()
    spaced: bool = False
    head_length: bool = False
    head_status: int | None = None
    options_status: int | None = None
    buffering: bool = False
    late: float = 0.0
    wrong_offset: Literal["refuse", "hole", "append"] = "refuse"
    grow: bool = False
    concurrency: Concurrency = "kill"
    final_status: int | None = None
    final_content: bytes | None = None
    completed: Literal["keep", "head-gone", "gone"] = "keep"
    location: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What becomes of the next requests that match.

    It matches by *method* (None: any; an override counts), by the beginning of
    the *path*, and by whether the request reaches the end of an upload
    (*completing*; None: either). It lets *skip* matching requests pass, then
    holds for *times* of them, None for ever.

    *status* is the answer; None leaves it to the protocol, *headers* are added
    to it or replace its own, those named in *without* are left out.
    *after* answers as soon as so many bytes of content have come, None when
    all have. *keep* is the share of the content that is kept all the same:
    by default nothing if *status* is set, else all. *ending* says what becomes
    of the connection. *forget* loses the upload first, *delay* answers so many
    seconds late.
    """

    method: str | None = None
    path: str = "/"
    completing: bool | None = None
    skip: int = 0
    times: int | None = 1
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    content: bytes | None = None
    after: int | None = None
    keep: float | None = None
    ending: Ending = "drain"
    forget: bool = False
    delay: float = 0.0
    raw: bytes | None = None

    @property
    def share(self) -> float:
        """The share of the content to keep, 0 to 1."""
        if self.keep is not None:
            return self.keep
        return 1.0 if self.status is None else 0.0

    @property
    def instead(self) -> bool:
        """Whether the protocol never gets to see the request."""
        replaced = self.status is not None or self.raw is not None
        return replaced and self.share == 0

    def matches(self, head: Head, method: str, completing: bool) -> bool:
        """Whether it is about a request, by *method* after any override."""
        return (
            self.method in (None, method)
            and head.path.startswith(self.path)
            and self.completing in (None, completing)
        )

    def changed(self, answer: Answer) -> Answer:
        """Return *answer* as this rule wants it."""
        headers = dict(answer.headers)
        status, content = answer.status, answer.content
        if self.status is not None:
            status = self.status
            # What was spelled for another status would mislead.
            content = b""
            headers.pop("content-type", None)
        if self.content is not None:
            content = self.content
        headers |= {name.lower(): value for name, value in self.headers.items()}
        for name in self.without:
            headers.pop(name.lower(), None)
        return Answer(status, headers, content, self.ending, self.raw)


def refuse(
    status: int, *, after: int = 0, ending: Ending = "drain", method: str | None = None
) -> Rule:
    """Answer *status* early: once *after* bytes of content have come."""
    return Rule(method=method, status=status, after=after, ending=ending)


def busy(retry_after: float | str, *, status: int = 503, times: int | None = 1) -> Rule:
    """Answer *status* with ``Retry-After``, in seconds or as an HTTP date."""
    value = retry_after if isinstance(retry_after, str) else f"{retry_after:.0f}"
    return Rule(status=status, headers={"retry-after": value}, times=times)


def drop_final_answer(*, times: int | None = 1) -> Rule:
    """Take the end of an upload in, then reset the connection instead of answering."""
    return Rule(completing=True, ending="drop", times=times)
