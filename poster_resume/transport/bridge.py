"""From a flow's request to an HTTP client and back.

Both bridges share every decision and differ in ``await``. A client is used as
it is; what is settled here is that credentials and cookies stay with their
origin, that redirects are not followed, that an answer's content is bounded,
and that every failure comes out as one of ours.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio

from ..errors import (
    DeadlineExceeded,
    InvalidParameter,
    TransportError,
    UploadError,
    redacted,
)
from ..flow import Abort, Interim, Report, Request, Response, Save, Timeouts
from ..ranges import ByteRange
from .challenges import careful
from .exchange import INTERIM_PATIENCE
from .family import HttpClient, family_of
from .mapping import translated
from .reading import Bounded, limit_for
from .redaction import redacting
from .stream import OnInformational, RawHeaders, Segments
from .waker import Waker

if TYPE_CHECKING:
    from ..plan import Plan

#: Seconds to wait for ``100 Continue`` (RFC 9110, 10.1.1: not indefinitely).
CONTINUE_SECONDS: Final = 1.0

_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
# What another origin may see of a client's own headers.
_IMPERSONAL: Final = ("user-agent", "accept")

Performer: TypeAlias = Callable[["Save | Report"], object]
AsyncPerformer: TypeAlias = Callable[["Save | Report"], Awaitable[object]]


def check_auth(auth: object) -> None:
    """Refuse auth that would have to hold the whole content in memory.

    Raises:
        InvalidParameter: *auth* wants to read the request's content first.
    """
    if getattr(auth, "requires_request_body", False):
        raise InvalidParameter(
            f"auth: {type(auth).__name__} signs the request's content, which is never "
            "in memory as a whole; use auth that signs headers only"
        )


class _Bridge:
    """What both bridges decide."""

    def __init__(
        self,
        client: HttpClient,
        plan: Plan | None,
        *,
        auth: object,
        on_progress: Callable[[int], None] | None,
        waker: Waker | None,
    ) -> None:
        check_auth(auth)
        if auth is None:
            check_auth(getattr(client, "auth", None))
        self._client: Any = client
        self._family = family_of(client)
        self._plan, self._auth, self._waker = plan, auth, waker
        self._on_progress = on_progress
        self._stream_class = self._family.derive(
            Segments, "SyncByteStream", "AsyncByteStream"
        )

    def _stream(self, request: Request, tell: OnInformational) -> Segments:
        content: bytes | Plan
        wanted: ByteRange | None = None
        if isinstance(request.content, bytes):
            content = request.content
        else:
            assert self._plan is not None
            content, wanted = self._plan, request.content
        stream: Segments = self._stream_class(
            content,
            wanted,
            withhold=request.withhold,
            expect=CONTINUE_SECONDS if request.expect_continue else 0,
            deadline=request.deadline,
            # No append: some servers take one at whatever offset it names, so
            # none is sent but at an offset that the server has just told.
            repeatable=request.method in _REPEATABLE,
            waker=self._waker,
            on_informational=tell,
            on_progress=self._on_progress,
        )
        try:
            stream.check()
        except UploadError as error:
            error.sent = 0
            raise
        return stream

    def _built(
        self, request: Request, given: Mapping[str, str], stream: Segments
    ) -> Any:
        lib, client = self._family.lib, self._client
        headers = dict(request.headers)
        if request.length or request.method in ("POST", "PUT", "PATCH"):
            headers["content-length"] = str(request.length)
        if request.expect_continue and request.length:
            headers["expect"] = "100-continue"
        # What is not compressed needs no limit on what it unpacks to.
        headers["accept-encoding"] = "identity"
        timeout = self._timeout(request)
        if request.credentials:
            merged = {name.lower(): value for name, value in given.items()} | headers
            built = client.build_request(
                request.method, request.url, headers=merged, timeout=timeout
            )
            # The client's params would have replaced the query, and with it
            # the signature of a signed URL.
            built.url = lib.URL(request.url)
        else:
            impersonal = {
                name: client.headers[name]
                for name in _IMPERSONAL
                if name in client.headers
            }
            built = lib.Request(
                request.method,
                request.url,
                headers=impersonal | headers,
                extensions={"timeout": timeout.as_dict()},
            )
        if not request.length and request.method not in ("POST", "PUT", "PATCH"):
            built.headers.pop("content-length", None)
        built.headers.pop("transfer-encoding", None)
        built.stream = stream
        return built

    def _timeout(self, request: Request) -> Any:
        timeouts = request.timeouts
        left = float("inf")
        if request.deadline is not None:
            left = max(0.001, request.deadline - time.monotonic())
        answer = timeouts.answer if request.length else timeouts.probe
        return self._family.lib.Timeout(
            connect=min(timeouts.connect, left),
            pool=min(timeouts.connect, left),
            write=min(timeouts.progress, left),
            read=min(answer, left),
        )

    def _options(self, request: Request) -> dict[str, Any]:
        options: dict[str, Any] = {"stream": True, "follow_redirects": False}
        auth = self._auth
        if not request.credentials:
            options["auth"] = None
            return options
        if auth is None:
            auth = getattr(self._client, "auth", None)
        if auth is not None:
            options["auth"] = careful(auth, self._family, request.timeouts.answer)
        return options

    def _asked(
        self, request: Request, status: int, headers: RawHeaders
    ) -> Save | Report | None:
        if request.on_interim is None:
            return None
        decoded = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in headers]
        reaction = request.on_interim(Interim(status, _joined(decoded), time.time()))
        if isinstance(reaction, Abort):
            raise reaction.error
        return reaction

    def _answer(
        self, response: Any, stream: Segments, stamps: tuple[float, float]
    ) -> tuple[Response, Bounded]:
        """Return the response without content, and what its content goes into."""
        headers = _joined(response.headers.multi_items())
        coding = headers.get("content-encoding", "")
        head = Response(
            response.status_code,
            headers,
            sent=stream.sent,
            monotonic=stamps[0],
            wall=stamps[1],
        )
        return head, Bounded(coding, limit_for(response.status_code))

    def _whole(self, head: Response, bounded: Bounded) -> Response:
        return Response(
            head.status,
            head.headers,
            bounded.content,
            bounded.truncated or not bounded.whole,
            head.sent,
            head.monotonic,
            head.wall,
        )

    def _failure(
        self, error: Exception, request: Request, stream: Segments
    ) -> Exception:
        """Return what *error* is called here; *error* itself if it isn't ours."""
        if isinstance(error, UploadError):
            if error.sent is None:
                error.sent = stream.sent
            return error
        if request.deadline is not None and time.monotonic() >= request.deadline:
            late = DeadlineExceeded("the deadline has passed; call send() to go on")
            late.sent = stream.sent
            return late
        return translated(error, request.url, stream.sent) or error

    def _already_read(self, response: Any, bounded: Bounded) -> bool:
        """Use what a hook of the caller's has read; return whether one has."""
        if not (response.is_stream_consumed or response.is_closed):
            return False
        try:
            content = response.content  # decoded by the client
        except self._family.lib.StreamError:
            bounded.broke()
            return True
        bounded.take_decoded(content)
        return True


class Bridge(_Bridge):
    """Sends requests of flows with a blocking client.

    *headers_for* gives the caller's headers for requests to trusted origins,
    *perform* carries out what an interim response asks for, at once.
    """

    def __init__(
        self,
        client: HttpClient,
        plan: Plan | None,
        *,
        headers_for: Callable[[Request], Mapping[str, str]],
        auth: object,
        on_progress: Callable[[int], None] | None,
        perform: Performer,
        waker: Waker | None,
    ) -> None:
        super().__init__(client, plan, auth=auth, on_progress=on_progress, waker=waker)
        self._headers_for, self._perform = headers_for, perform

    def send(self, request: Request) -> Response:
        """Send *request* and return the final response, whatever its status.

        Raises:
            ConnectError, TransportError, TransportRefused: there is none; *sent*
                tells how many bytes of content had left.
            UploadPaused, DeadlineExceeded: it was interrupted.
            SourceError: a source is not what was planned.
        """
        given = self._headers_for(request) if request.credentials else {}

        def tell(status: int, headers: RawHeaders) -> None:
            effect = self._asked(request, status, headers)
            if effect is not None:
                self._perform(effect)

        stream = self._stream(request, tell)
        failure: Exception
        with redacting():
            try:
                return self._exchanged(request, given, stream)
            except Exception as error:
                failure = self._failure(error, request, stream)
                if failure is error:
                    raise
        # Out here, so that nothing chains the error that knows the URL.
        raise failure

    def _exchanged(
        self, request: Request, given: Mapping[str, str], stream: Segments
    ) -> Response:
        built = self._built(request, given, stream)
        try:
            response = self._client.send(built, **self._options(request))
        except self._family.error("HTTPStatusError") as error:
            response = error.response  # type: ignore[attr-defined] # httpx has it
        stamps = time.monotonic(), time.time()
        head, bounded = self._answer(response, stream, stamps)
        if not self._already_read(response, bounded):
            until = stamps[0] + request.timeouts.answer
            if request.deadline is not None:
                until = min(until, request.deadline)
            try:
                for data in response.iter_raw():
                    if not bounded.take(data):
                        break
                    if time.monotonic() >= until:
                        bounded.broke()
                        break
            except (self._family.error("HTTPError"), UploadError):
                # The status is final and known: that counts, not its content.
                bounded.broke()
            finally:
                with contextlib.suppress(self._family.error("HTTPError")):
                    response.close()
        answer = self._whole(head, bounded)
        if answer.status == 417 and request.expect_continue:
            # RFC 9110, 10.1.1: repeat it without the expectation.
            return self.send(replace(request, expect_continue=False))
        return answer


class AsyncBridge(_Bridge):
    """Sends requests of flows with an async client; see ``Bridge``."""

    def __init__(
        self,
        client: HttpClient,
        plan: Plan | None,
        *,
        headers_for: Callable[[Request], Awaitable[Mapping[str, str]]],
        auth: object,
        on_progress: Callable[[int], None] | None,
        perform: AsyncPerformer,
        waker: Waker | None,
    ) -> None:
        super().__init__(client, plan, auth=auth, on_progress=on_progress, waker=waker)
        self._headers_for, self._perform = headers_for, perform

    async def send(self, request: Request) -> Response:
        """Send *request* and return the final response; see ``Bridge.send``."""
        given = await self._headers_for(request) if request.credentials else {}

        def tell(status: int, headers: RawHeaders) -> Awaitable[None] | None:
            effect = self._asked(request, status, headers)
            return None if effect is None else self._performed(effect)

        stream = self._stream(request, tell)
        failure: Exception
        with redacting():
            try:
                answer = await self._watched(request, given, stream)
            except Exception as error:
                failure = self._failure(error, request, stream)
                if failure is error:
                    raise
            else:
                if answer.status != 417 or not request.expect_continue:
                    return answer
                # RFC 9110, 10.1.1: repeat it without the expectation. Out here:
                # only one task at a time may wait for the waker.
                return await self.send(replace(request, expect_continue=False))
        raise failure

    async def _performed(self, effect: Save | Report) -> None:
        await self._perform(effect)

    async def _watched(
        self, request: Request, given: Mapping[str, str], stream: Segments
    ) -> Response:
        """Exchange, with an eye on the waker and on the deadline."""
        waker, answer = self._waker, None
        error: BaseException | None = None
        known: list[tuple[Response, Bounded]] = []
        async with anyio.create_task_group() as group:
            if waker is not None and waker.fileno() >= 0:
                group.start_soon(_watch, waker, group.cancel_scope)
            if request.deadline is not None:
                left = request.deadline - time.monotonic()
                group.cancel_scope.deadline = anyio.current_time() + left
            stuck = _Stuck(stream, request.timeouts, group.cancel_scope)
            group.start_soon(stuck.watch)
            try:
                answer = await self._exchanged(request, given, stream, known)
            # Raised outside, where the group doesn't wrap them.
            except (Exception, KeyboardInterrupt) as caught:  # noqa: BLE001
                error = caught
            group.cancel_scope.cancel()
        if answer is None and error is None and known:
            # Interrupted while its content came: the status is final.
            head, bounded = known[0]
            bounded.broke()
            answer = self._whole(head, bounded)
        if answer is None and error is None:
            stream.check()
            if stuck.found:
                raise _no_answer(request, stream)
            # The scope ended a moment before the clock agrees.
            error = DeadlineExceeded("the deadline has passed; call send() to go on")
        if error is not None:
            raise error
        assert answer is not None
        return answer

    async def _exchanged(
        self,
        request: Request,
        given: Mapping[str, str],
        stream: Segments,
        known: list[tuple[Response, Bounded]],
    ) -> Response:
        built = self._built(request, given, stream)
        try:
            response = await self._client.send(built, **self._options(request))
        except self._family.error("HTTPStatusError") as error:
            response = error.response  # type: ignore[attr-defined] # httpx has it
        stamps = time.monotonic(), time.time()
        head, bounded = self._answer(response, stream, stamps)
        known.append((head, bounded))
        if not self._already_read(response, bounded):
            try:
                with anyio.move_on_after(request.timeouts.answer) as scope:
                    full = False
                    async for data in response.aiter_raw():
                        if not full and not bounded.take(data):
                            # Generators of the client's lie between: left
                            # unfinished, they would end when collected.
                            full = True
                            await response.aclose()
                if scope.cancelled_caught:
                    bounded.broke()
            except (self._family.error("HTTPError"), UploadError):
                bounded.broke()  # the status is final and known: that counts
            finally:
                with (
                    anyio.CancelScope(shield=True),
                    contextlib.suppress(self._family.error("HTTPError")),
                ):
                    await response.aclose()
        return self._whole(head, bounded)


class _Stuck:
    """Notices a client that something keeps busy for ever.

    Clients that are not ours bound each read and not their sum, nor do they
    count interim responses. Our own transports give up long before this.
    """

    def __init__(
        self, stream: Segments, timeouts: Timeouts, scope: anyio.CancelScope
    ) -> None:
        self._stream, self._scope = stream, scope
        self._patience = 2 * timeouts.connect + 2 * INTERIM_PATIENCE * (
            timeouts.progress + timeouts.answer
        )
        self.found = False

    async def watch(self) -> None:
        """Cancel the scope once no content has left for far too long."""
        sent = -1
        while sent != self._stream.sent:
            sent = self._stream.sent
            await anyio.sleep(self._patience)
        self.found = True
        self._scope.cancel()


def _no_answer(request: Request, stream: Segments) -> TransportError:
    error = TransportError(f"no answer in time ({redacted(request.url)})")
    error.sent = stream.sent
    return error


async def _watch(waker: Waker, scope: anyio.CancelScope) -> None:
    await waker.woken()
    scope.cancel()


def _joined(items: list[tuple[str, str]]) -> dict[str, str]:
    """Join repeated fields (RFC 9110, section 5.3); names in lower case."""
    joined: dict[str, str] = {}
    for name, value in items:
        name = name.lower()
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
