"""The rules that everything sent for an upload has to keep.

Redirects keep method and content or are refused, credentials stay with the
origins that they were given for, TLS is never given up, and nothing is begun
after the deadline. A guard wraps flows: verbs know nothing of these rules.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from ..errors import (
    DeadlineExceeded,
    RedirectRefused,
    Unauthorized,
    UploadError,
    origin_of,
)
from ..flow import (
    Abort,
    Effect,
    Flow,
    Interim,
    Reply,
    Report,
    Request,
    Response,
    Save,
    Timeouts,
    now,
)
from ..protocols.base import locate
from ..retry import RetryPolicy
from ..upload import Upload

T = TypeVar("T")

#: Redirects that one request may follow (RFC 9110, 15.4).
MAX_REDIRECTS = 5
#: Bytes of content above which its last ones are withheld. Smaller content leaves
#: in one go, and waiting for its acknowledgement would only cost time.
WITHHOLD_FROM = 64 * 1024


@dataclass(frozen=True, slots=True)
class Rules:
    """How a session may behave; the caller's choices, in one value.

    *chunk_size* bytes bounds one append (None: the rest, shrinking on bad
    links). *interims*: the transport shows 1xx answers. *refreshable*: headers
    come from a callable, so other credentials may be had. *deadline* is a
    moment on the monotonic clock. *closing* counts the last bytes of a form.
    """

    policy: RetryPolicy = field(default_factory=RetryPolicy)
    chunk_size: int | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    deadline: float | None = None
    on_gone: Literal["recreate", "raise"] = "recreate"
    trusted_origins: Collection[str] = ()
    interims: bool = False
    refreshable: bool = False
    closing: int = 0


class Guard:
    """Sends for one target resource, by the rules.

    *attempt* and *rejected* describe the requests to come; *upload* is the
    newest state that an interim answer taught, if one did. *sent* is how many
    bytes of the last content had left when its answer came, or when it broke;
    None: unknown.
    """

    def __init__(
        self,
        target: str,
        rules: Rules,
        *,
        withhold: int = 0,
        refreshable: Collection[int] = (),
    ) -> None:
        self._rules, self._withhold = rules, withhold
        self._refreshable = frozenset(refreshable)
        self._refreshed_at: int | None = None
        self._trusted = {origin_of(target)}
        self._trusted |= {origin_of(origin) for origin in rules.trusted_origins}
        self.attempt = 1
        self.rejected = False
        self.upload: Upload | None = None
        self.sent: int | None = None
        self._carried = False

    def run(self, verb: Flow[T]) -> Flow[T]:
        """Run *verb*; each of its requests keeps the rules.

        Raises:
            RedirectRefused: a redirect must not be followed.
            DeadlineExceeded: there is no time for another request.
        """
        self._carried, self.sent = False, None
        try:
            effect = next(verb)
            while True:
                try:
                    reply = yield from self._performed(effect)
                except UploadError as error:
                    effect = verb.throw(error)
                else:
                    effect = verb.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result
        except UploadError as error:
            # A verb may ask about the content that it has sent. That its question
            # carried none says nothing of how much of the content had left.
            if self._carried:
                error.sent = self.sent
            raise
        finally:
            verb.close()

    def may_refresh(self, error: UploadError, progress: int = 0) -> bool:
        """Note that credentials were refused; say whether others may be tried.

        Once, until *progress* (bytes acknowledged) has grown.
        """
        if not isinstance(error, Unauthorized) or not self._rules.refreshable:
            return False
        if error.status not in {401, *self._refreshable}:
            return False
        if self._refreshed_at is not None and progress <= self._refreshed_at:
            return False
        self._refreshed_at = progress
        self.rejected = True
        return True

    def _performed(self, effect: Effect) -> Flow[Reply]:
        if isinstance(effect, Request):
            return (yield from self._exchanged(effect))
        return (yield effect)

    def _exchanged(self, request: Request) -> Flow[Response]:
        for _ in range(MAX_REDIRECTS + 1):
            yield from self._in_time()
            try:
                reply = yield self._dressed(request)
            except UploadError as error:
                if request.length:
                    self._carried, self.sent = True, error.sent
                raise
            assert isinstance(reply, Response)
            self.rejected = False
            if request.length:
                self._carried, self.sent = True, reply.sent
            response = replace(reply, url=request.url)
            if response.status not in (307, 308):
                return response
            # RFC 9110, 15.4.8 and 15.4.9: the method and the content stay.
            url = locate(response.headers.get("location"), request.url, "redirect")
            request = replace(request, url=url)
        raise RedirectRefused(f"more than {MAX_REDIRECTS} redirects")

    def _dressed(self, request: Request) -> Request:
        timeouts = self._rules.timeouts
        if request.length == 0:
            timeouts = replace(timeouts, answer=timeouts.probe)
        return replace(
            request,
            on_interim=None if request.on_interim is None else _Watch(self, request),
            withhold=self._withhold if request.length > WITHHOLD_FROM else 0,
            credentials=origin_of(request.url) in self._trusted,
            attempt=self.attempt,
            rejected=self.rejected,
            deadline=self._rules.deadline,
            timeouts=timeouts,
        )

    def _in_time(self) -> Flow[None]:
        deadline = self._rules.deadline
        if deadline is not None and (yield from now()).monotonic >= deadline:
            raise DeadlineExceeded("the deadline has passed; call send() to go on")


class _Watch:
    """An interim reader whose findings the guard keeps in mind."""

    def __init__(self, guard: Guard, request: Request) -> None:
        self._guard, self._request = guard, request

    def __call__(self, interim: Interim) -> Save | Report | Abort | None:
        assert self._request.on_interim is not None
        reaction = self._request.on_interim(replace(interim, url=self._request.url))
        if isinstance(reaction, Save):
            self._guard.upload = reaction.upload
        return reaction
