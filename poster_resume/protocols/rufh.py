"""Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload).

Section numbers are those of draft -12 (interop version 9). The dialects 5 to
10 and "rfc", which sends no interop version, differ in a few header fields
only; final responses are read alike in all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from pydantic import JsonValue

from ..errors import (
    InvalidParameter,
    NotResumable,
    OffsetMismatch,
    ProtocolError,
    ServerBusy,
    UploadError,
    UploadGone,
    UploadRejected,
    UploadTooLarge,
    origin_of,
)
from ..flow import (
    Abort,
    Flow,
    Interim,
    Remember,
    Request,
    Response,
    Save,
    recall,
    send,
)
from ..ranges import ByteRange
from ..structured_fields import (
    parse_boolean,
    parse_integer,
    parse_integers,
    spell_boolean,
)
from ..upload import Upload
from .base import (
    Limits,
    UploadProtocol,
    check_length,
    completed,
    locate,
    parse_offset,
    refused_creation,
    unexpected,
)

#: Dialects by interop version, newest first; "rfc" sends none.
DIALECTS: tuple[str, ...] = ("10", "9", "8", "7", "6", "5", "rfc")
DEFAULT_DIALECT = "9"

_LIMIT_KEYS = frozenset(
    {
        "max-size",
        "min-size",
        "max-append-size",
        "min-append-size",
        "max-age",
        "expires",  # max-age, up to interop version 6
    }
)
_VERSION = "upload-draft-interop-version"

#: Types of problems (RFC 9457) that the drafts define; the second up to -11.
_OFFSET_PROBLEMS = ("#mismatching-upload-offset", "#completed-upload")

#: What is remembered about an origin that sent a 104, and for how long.
INTERIM_FACT = "rufh-104"
INTERIM_SECONDS = 30 * 86400.0


class RUFH(UploadProtocol):
    """The IETF's resumable uploads.

    *dialect* is an interop version (5 to 10) or ``"rfc"``; None takes what the
    server names, else 9. *creation* ``"careful"`` sends an empty request
    first, ``"optimistic"`` everything at once, in the hope of a 104 that names
    the upload resource; ``"auto"`` is careful until a matching 104 was seen
    from the origin. *expect_continue* waits briefly for a 100 or 104 before
    content goes out optimistically.

    Raises:
        InvalidParameter: an option has a value that it cannot have.
    """

    name = "rufh"

    def __init__(
        self,
        dialect: int | str | None = None,
        *,
        creation: Literal["auto", "careful", "optimistic"] = "auto",
        expect_continue: bool = False,
    ) -> None:
        if dialect is not None and str(dialect) not in DIALECTS:
            raise InvalidParameter(
                f"dialect: {dialect!r} is not one of {', '.join(DIALECTS)}"
            )
        if creation not in ("auto", "careful", "optimistic"):
            raise InvalidParameter(
                f"creation: {creation!r} is not auto, careful or optimistic"
            )
        self.dialect = None if dialect is None else str(dialect)
        self.creation = creation
        self.expect_continue = expect_continue

    def options(self) -> dict[str, JsonValue]:
        return {
            "dialect": self.dialect,
            "creation": self.creation,
            "expect_continue": self.expect_continue,
        }

    def limits(self, upload: Upload) -> Limits:
        known = _stored_limits(upload)
        smallest, largest = known.get("min-append-size"), known.get("max-append-size")
        if largest is not None and largest < max(1, smallest or 0):
            largest = smallest = None  # a contradiction binds nobody
        return Limits(min_append_size=max(1, smallest or 1), max_append_size=largest)

    def prepare(self, upload: Upload, *, interims: bool) -> Flow[Upload]:
        """Choose dialect and way of creation (see the class)."""
        check_length(upload)
        session = dict(upload.session)
        known = yield from recall(origin_of(upload.target), INTERIM_FACT)
        dialect = self.dialect or session.get("dialect")
        if dialect is None:
            dialect = known if known in DIALECTS else DEFAULT_DIALECT
        optimistic = self.creation == "optimistic" or (
            self.creation == "auto" and interims and known == dialect
        )
        # An optimistic creation that broke before any 104 is not tried twice.
        if session.get("interrupted"):
            optimistic = False
        return upload.evolve(
            session=session | {"dialect": dialect, "optimistic": optimistic}
        )

    def creation_content(self, upload: Upload) -> ByteRange | None:
        length = upload.length or 0
        largest = self.limits(upload).max_append_size
        fits = largest is None or length <= largest
        if upload.session.get("optimistic") and fits:
            return ByteRange(0, length)
        return None

    def created_carefully(self, upload: Upload) -> Upload:
        careful = {"interrupted": True, "optimistic": False}
        return upload.evolve(session=upload.session | careful)

    def create(self, upload: Upload) -> Flow[Upload]:
        """Create the upload resource (section 4.2)."""
        carried = self.creation_content(upload)
        content, whole = carried or ByteRange(0, 0), carried is not None
        headers = self._headers(upload) | {
            "content-type": upload.content_type,
            "upload-complete": spell_boolean(whole),
        }
        watch = _Watch(upload, self._dialect(upload))
        request = Request(
            upload.method,
            upload.target,
            headers | _length(upload),
            content,
            purpose="create",
            on_interim=watch,
            expect_continue=self.expect_continue and content.length > 0,
        )
        try:
            response = yield from send(request)
        except UploadError:
            yield from watch.remember()
            raise
        yield from watch.remember()
        upload = watch.upload
        if speaks_for_target(response):
            if whole or response.status >= 400:
                return completed(upload, response)
            raise NotResumable(
                "create: the server took the empty creation request for the whole "
                "upload; it does not speak this protocol"
            )
        if not 200 <= response.status < 300:
            ended = (yield from self._refused(upload, response)) if whole else None
            if ended is not None:
                return ended
            raise refused_creation(response, content.length)
        if whole and _final_though_unsaid(response, upload):
            return (yield from self._unless_denied(upload, response))
        upload = self._created(upload, response)
        if content.length == 0:
            return upload
        return self._acknowledged(upload, response) or (
            yield from self.retrieve_offset(upload)
        )

    def retrieve_offset(self, upload: Upload) -> Flow[Upload]:
        """Ask how much the server has (section 4.3)."""
        assert upload.resource is not None
        request = Request(
            "HEAD", upload.resource, self._version(upload), purpose="retrieve offset"
        )
        response = yield from send(request)
        if response.status in (405, 501):
            # GET tells as much, where a server or a gateway knows no HEAD.
            response = yield from send(replace(request, method="GET"))
        if not 200 <= response.status < 300:
            raise unexpected(response, "retrieve offset")
        if "upload-offset" not in response.headers and _complete(response):
            return (yield from self._replayed(upload, response))
        named = parse_integer(response.headers.get("upload-offset"))
        if named is None or named < 0:
            raise ServerBusy("retrieve offset: the answer has no valid Upload-Offset")
        offset = _offset(response, upload, "retrieve offset")
        _check_length(response, upload)
        upload = _with_limits(upload, response).evolve(offset=offset)
        if _complete(response):
            return (yield from self._replayed(upload, response))
        return upload

    def append(self, upload: Upload, content: ByteRange) -> Flow[Upload]:
        """Send a range (section 4.4)."""
        assert upload.resource is not None
        headers = self._headers(upload) | {
            "upload-offset": str(content.start),
            "upload-complete": spell_boolean(content.stop == upload.length),
        }
        if self._dialect(upload) != "5":
            headers["content-type"] = "application/partial-upload"
        watch = _Watch(upload, self._dialect(upload))
        response = yield from send(
            Request(
                "PATCH",
                upload.resource,
                headers | _length(upload),
                content,
                purpose="append",
                on_interim=watch,
            )
        )
        upload = watch.upload
        if _elsewhere(response):
            mismatch = OffsetMismatch("append: the upload is not where it was thought")
            mismatch.sent = response.sent
            raise mismatch
        if speaks_for_target(response):
            return completed(upload, response)
        if not 200 <= response.status < 300:
            at_end = content.stop == upload.length
            ended = (yield from self._refused(upload, response)) if at_end else None
            if ended is not None:
                return ended
            raise unexpected(response, "append")
        upload = _with_limits(upload, response)
        if content.stop == upload.length and _final_though_unsaid(response, upload):
            return (yield from self._unless_denied(upload, response))
        return self._acknowledged(upload, response) or (
            yield from self.retrieve_offset(upload)
        )

    def complete(self, upload: Upload) -> Flow[Upload]:
        """Finish by an empty append with ``Upload-Complete: ?1`` (section 4.4)."""
        assert upload.length is not None
        return (yield from self.append(upload, ByteRange(upload.length, upload.length)))

    def cancel(self, upload: Upload) -> Flow[None]:
        """Delete the upload resource (section 4.5)."""
        if upload.resource is None:
            return
        response = yield from send(
            Request("DELETE", upload.resource, self._version(upload), purpose="cancel")
        )
        # A server that cannot be told to lets the upload expire by itself.
        gone = response.status in (404, 405, 410, 501)
        if not gone and not 200 <= response.status < 300:
            raise unexpected(response, "cancel")

    def prove(self, upload: Upload) -> Flow[Upload]:
        """Ask for the offset; if that is gone, for the final answer itself."""
        try:
            return (yield from self.retrieve_offset(upload))
        except UploadGone:
            # Servers clean up the bytes, and keep the answer a while longer.
            assert upload.resource is not None
            response = yield from send(
                Request(
                    "GET",
                    upload.resource,
                    self._version(upload),
                    purpose="retrieve offset",
                )
            )
            if _complete(response) and response.status not in (404, 410):
                return completed(upload, response)
            raise

    def _dialect(self, upload: Upload) -> str:
        return str(upload.session.get("dialect") or self.dialect or DEFAULT_DIALECT)

    def _version(self, upload: Upload) -> dict[str, str]:
        dialect = self._dialect(upload)
        return {} if dialect == "rfc" else {_VERSION: dialect}

    def _headers(self, upload: Upload) -> dict[str, str]:
        return self._version(upload)

    def _created(self, upload: Upload, response: Response) -> Upload:
        base = response.url or upload.target
        location = response.headers.get("location")
        if location is None and upload.resource is None:
            raise NotResumable("create: the server offers no upload resource")
        if location is not None:
            resource = locate(location, base, "create")
            if upload.resource not in (None, resource):
                raise ProtocolError("create: two answers name two upload resources")
            upload = upload.evolve(resource=resource)
        return _with_limits(upload.evolve(phase="sending"), response)

    def _acknowledged(self, upload: Upload, response: Response) -> Upload | None:
        """Return *upload* at the offset that a 2xx names, None if it names none."""
        if "upload-offset" not in response.headers:
            return None
        return upload.evolve(offset=_offset(response, upload, "append"))

    def _unless_denied(self, upload: Upload, response: Response) -> Flow[Upload]:
        """Take an answer that does not say so for the final one, if nothing denies it.

        A status is no proof that anything was kept: an upload resource that
        still wants content has the last word.
        """
        if upload.resource is None or "upload-offset" in response.headers:
            return completed(upload, response)
        request = Request(
            "HEAD", upload.resource, self._version(upload), purpose="retrieve offset"
        )
        try:
            head = yield from send(request)
        except UploadError:
            return completed(upload, response)
        offset = parse_integer(head.headers.get("upload-offset"))
        if not 200 <= head.status < 300 or _complete(head) or offset is None:
            return completed(upload, response)
        if offset == upload.length:
            return completed(upload, response)
        return upload.evolve(offset=_offset(head, upload, "retrieve offset"))

    def _refused(self, upload: Upload, response: Response) -> Flow[Upload | None]:
        """Return *upload* as ended, if it has, after an error that does not say so.

        A server that can repeat its final answer is believed. Of one that only
        calls the upload complete, *response* is the one answer that there was: a
        refusal must not pass for success.
        """
        error = unexpected(response, "append")
        unsaid = parse_boolean(response.headers.get("upload-complete")) is None
        if not isinstance(error, UploadRejected) or not unsaid or not upload.resource:
            return None
        try:
            asked = yield from self.retrieve_offset(upload)
        except UploadError:
            return None
        kept = asked.result
        if kept is not None and kept.truncated and not kept.content:
            return completed(upload, response)
        return asked if asked.complete else None

    def _replayed(self, upload: Upload, head: Response) -> Flow[Upload]:
        """Fetch the final answer of an upload that is complete (section 4.4)."""
        assert upload.resource is not None
        version = self._version(upload)
        response = yield from send(
            Request("GET", upload.resource, version, purpose="retrieve offset")
        )
        end = parse_integer(head.headers.get("upload-offset"))
        refused = _complete(response) and response.status >= 400
        if end is not None and end != upload.length and not refused:
            raise ProtocolError(
                f"retrieve offset: the server calls the upload complete at {end} of "
                f"{upload.length} bytes; cancel this upload and start again"
            )
        if _complete(response) and "upload-offset" not in response.headers:
            return completed(upload, response)
        if end is not None:
            headers = version | {
                "upload-offset": str(end),
                "upload-complete": "?1",
                "content-type": "application/partial-upload",
            }
            response = yield from send(
                Request("PATCH", upload.resource, headers, purpose="complete")
            )
            if speaks_for_target(response) and not _is_problem(response):
                return completed(upload, response)
        return completed(upload, head, lost=True)


class _Watch:
    """Reads interim answers while content goes out, from one upload to the next."""

    def __init__(self, upload: Upload, dialect: str) -> None:
        self.upload, self._dialect = upload, dialect
        self._seen: str | None = None

    def __call__(self, interim: Interim) -> Save | Abort | None:
        if interim.status != 104:
            return None
        # Only a 104 is gated by the version: it must be ours (appendix B).
        version = parse_integer(interim.headers.get(_VERSION))
        self._seen = "rfc" if version is None else str(version)
        if self._seen != self._dialect:
            return None
        before = self.upload
        try:
            self.upload = self._taught(interim)
        except UploadError as error:
            return Abort(error)
        if self.upload == before:
            return None
        return Save(self.upload, durable=self.upload.resource != before.resource)

    def remember(self) -> Flow[None]:
        """Note which dialect this origin's 104 spoke, if one was seen."""
        if self._seen in DIALECTS:
            origin = origin_of(self.upload.target)
            yield Remember(origin, INTERIM_FACT, self._seen, INTERIM_SECONDS)

    def _taught(self, interim: Interim) -> Upload:
        upload, headers = self.upload, interim.headers
        location = headers.get("location")
        if location is not None:
            resource = locate(location, interim.url or upload.target, "create")
            if upload.resource not in (None, resource):
                raise ProtocolError("create: two answers name two upload resources")
            upload = upload.evolve(resource=resource)
        upload = _limited(upload, headers, interim.wall)
        offset = parse_integer(headers.get("upload-offset"))
        if offset is not None and upload.length is not None:
            if not 0 <= offset <= upload.length:
                raise ProtocolError(f"append: offset {offset} is outside the upload")
            upload = upload.evolve(offset=max(offset, upload.offset))
        return upload


def announced_limits(headers: Mapping[str, str]) -> dict[str, int] | None:
    """Return what an ``Upload-Limit`` field says; None if there is none to obey."""
    limits = parse_integers(headers.get("upload-limit"), _LIMIT_KEYS)
    if limits is None or any(value < 0 for value in limits.values()):
        return None
    if "expires" in limits:
        limits.setdefault("max-age", limits.pop("expires"))
    return limits


def speaks_for_target(response: Response) -> bool:
    """Whether *response* is the target resource's own, final answer."""
    return _complete(response)


def _complete(response: Response) -> bool:
    value = parse_boolean(response.headers.get("upload-complete"))
    if value is None:
        # Interop 3's field, of the opposite sense; some servers send it still.
        incomplete = parse_boolean(response.headers.get("upload-incomplete"))
        return incomplete is False
    return value


def _final_though_unsaid(response: Response, upload: Upload) -> bool:
    """Whether a 2xx to a request that reached the end is the final answer.

    Plain servers and lenient draft servers leave Upload-Complete out.
    """
    if parse_boolean(response.headers.get("upload-complete")) is False:
        return False
    offset = parse_integer(response.headers.get("upload-offset"))
    return offset is None or offset == upload.length


def _elsewhere(response: Response) -> bool:
    """Whether *response* says that the upload is at another offset, or complete.

    With ``Upload-Complete: ?1`` too it is not the target resource's answer:
    that was given to an earlier request, and got lost.
    """
    if response.status not in (400, 409) or not _is_problem(response):
        return False
    try:
        problem = json.loads(response.content)
    except (ValueError, RecursionError):  # nested without end
        return False
    kind = problem.get("type") if isinstance(problem, dict) else None
    return isinstance(kind, str) and kind.endswith(_OFFSET_PROBLEMS)


def _is_problem(response: Response) -> bool:
    return response.headers.get("content-type", "").startswith(
        "application/problem+json"
    )


def _length(upload: Upload) -> dict[str, str]:
    return {} if upload.length is None else {"upload-length": str(upload.length)}


def _offset(response: Response, upload: Upload, doing: str) -> int:
    value = parse_integer(response.headers.get("upload-offset"))
    spelled = None if value is None else str(value)
    return parse_offset(spelled, upload, doing)


def _check_length(response: Response, upload: Upload) -> None:
    length = parse_integer(response.headers.get("upload-length"))
    if length is not None and upload.length is not None and length != upload.length:
        raise ProtocolError(
            f"retrieve offset: the server expects {length} bytes, "
            f"the upload has {upload.length}"
        )


def _stored_limits(upload: Upload) -> dict[str, int]:
    stored = upload.session.get("limits")
    if not isinstance(stored, dict):
        return {}
    return {k: v for k, v in stored.items() if isinstance(v, int)}


def _with_limits(upload: Upload, response: Response) -> Upload:
    return _limited(upload, response.headers, response.wall)


def _limited(upload: Upload, headers: Mapping[str, str], wall: float) -> Upload:
    limits = announced_limits(headers)
    if limits is None:
        return upload
    largest = limits.get("max-size")
    if largest is not None and upload.length is not None and largest < upload.length:
        raise UploadTooLarge(
            f"the server takes uploads of at most {largest} bytes, "
            f"this one has {upload.length}"
        )
    expires = upload.expires
    if "max-age" in limits:
        expires = wall + limits["max-age"]
    return upload.evolve(session=upload.session | {"limits": limits}, expires=expires)
