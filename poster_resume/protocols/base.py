"""What every upload protocol must be able to do, and how answers are read.

A verb is a short flow from one state to the next. It does not loop, retry,
sleep or save: the session does that, once, for all protocols.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from itertools import islice
from typing import ClassVar, Final, Literal, Self, TypeGuard
from urllib.parse import urljoin, urlsplit, urlunsplit

from pydantic import JsonValue

from ..errors import (
    ContentTooLarge,
    InvalidParameter,
    OffsetMismatch,
    ProtocolError,
    RedirectRefused,
    ServerBusy,
    Unauthorized,
    UploadError,
    UploadGone,
    UploadRejected,
    UploadTooLarge,
)
from ..flow import Flow, Response
from ..ranges import ByteRange
from ..responses import FinalResponse
from ..structured_fields import MAX_INTEGER
from ..upload import Upload

_WORD: Final = re.compile(r"[A-Za-z0-9._-]{1,20}")
_HOST: Final = re.compile(r"[A-Za-z0-9._:-]+")
_NUMBER: Final = re.compile(r"[-+0-9., ]{1,40}")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on the content of one append, in bytes.

    The last append may be smaller than *min_append_size* and need not be a
    *multiple*. *default_append_size* replaces "the rest" where sending
    everything at once would be unwise.
    """

    min_append_size: int = 1
    max_append_size: int | None = None
    multiple: int = 1
    default_append_size: int | None = None


class UploadProtocol(ABC):
    """One upload protocol, as five verbs."""

    name: ClassVar[str]

    #: Whether an interrupted upload can go on where it stopped.
    resumable: ClassVar[bool] = True

    #: Statuses, besides 401, that fresh credentials may mend.
    refreshable: ClassVar[frozenset[int]] = frozenset()

    def options(self) -> dict[str, JsonValue]:
        """Return what ``from_options`` needs to make this instance again."""
        return {}

    @classmethod
    def from_options(cls, options: Mapping[str, JsonValue]) -> Self:
        """Make the instance that *options* describe.

        Raises:
            InvalidParameter: an option is unknown or not of its kind.
        """
        try:
            return cls(**options)
        except TypeError as exc:
            raise InvalidParameter(f"protocol {cls.name}: {exc}") from exc

    def permitting(self, asked: UploadProtocol) -> UploadProtocol:
        """Return this one, of an earlier call, with what *asked* permits beyond it."""
        return self

    def limits(self, upload: Upload) -> Limits:
        """Return the bounds that the server has set for *upload*."""
        return Limits()

    #: How a form is represented; None: the caller has to choose.
    form: Literal["multipart", "file"] | None = "multipart"

    @property
    def verified(self) -> Literal["none", "length", "digest"]:
        """What proves that the server has the right bytes, once it is complete."""
        return "length" if self.resumable else "none"

    def prepare(self, upload: Upload, *, interims: bool) -> Flow[Upload]:
        """Learn what creation needs to know; *interims*: 1xx answers can be seen."""
        return upload
        yield

    def creation_content(self, upload: Upload) -> ByteRange | None:
        """Return the range that ``create`` will carry; None: it carries nothing.

        A range that reaches the end, if only an empty one, completes the upload.
        """
        return None

    def created_carefully(self, upload: Upload) -> Upload:
        """Return *upload* so that its creation will carry nothing."""
        return upload

    @abstractmethod
    def create(self, upload: Upload) -> Flow[Upload]:
        """Create the upload resource; the answer has ``resource`` set.

        It may also carry content, and then bring the upload to any state up
        to complete.
        """

    @abstractmethod
    def retrieve_offset(self, upload: Upload) -> Flow[Upload]:
        """Ask the server how much it has.

        Raises:
            UploadGone: the upload resource does not exist.
        """

    @abstractmethod
    def append(self, upload: Upload, content: ByteRange) -> Flow[Upload]:
        """Send one range, which starts at the upload's offset."""

    @abstractmethod
    def complete(self, upload: Upload) -> Flow[Upload]:
        """Finish an upload whose bytes are all there."""

    @abstractmethod
    def cancel(self, upload: Upload) -> Flow[None]:
        """Remove the upload resource. One that is gone already is removed."""

    def prove(self, upload: Upload) -> Flow[Upload]:
        """Find out how an upload ended whose last answer was lost.

        The answer is complete, or has an offset to go on from.

        Raises:
            UploadGone: the server cannot say.
        """
        return (yield from self.retrieve_offset(upload))


def final_response(response: Response) -> FinalResponse:
    """Return what the target resource said by *response*."""
    return FinalResponse(
        response.status, response.headers, response.content, response.truncated
    )


def completed(upload: Upload, response: Response, *, lost: bool = False) -> Upload:
    """Return *upload*, ended by *response*, whatever its status.

    *lost* says that the real final answer never reached us, and that
    *response* only proves that there was one.
    """
    final = final_response(response)
    if lost:
        final = replace(final, content=b"", truncated=True)
    length = upload.offset if upload.length is None else upload.length
    return upload.evolve(offset=length, phase="complete", result=final)


def retry_after(response: Response) -> float | None:
    """Return the seconds that ``Retry-After`` asks for (RFC 9110, 10.2.3)."""
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdecimal():
        return float(value[:15])
    moment = _moment(value)
    if moment is None:
        return None
    # The server means its own clock, and Date tells it; ours may be years off.
    now = _moment(response.headers.get("date", ""))
    return max(0.0, moment - (response.wall if now is None else now))


def _moment(value: str) -> float | None:
    """Return the epoch seconds of an HTTP date; None if *value* is none."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    date = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return date.timestamp()


def unexpected(response: Response, doing: str) -> UploadError:
    """Return the error that a *response* to *doing* amounts to."""
    message = f"{doing}: the server answered {response.status}"
    error: UploadError
    match response.status:
        case 401 | 403 | 407:
            # Before the server has an upload, there is none that it could keep.
            kept = "" if doing in ("create", "discover") else "the upload is kept: "
            error = Unauthorized(f"{message}; {kept}renew credentials")
            error.status = response.status
        case 404 | 410:
            error = UploadGone(message)
        case 409:
            error = OffsetMismatch(message)
        case 413:
            error = ContentTooLarge(message)
        case 408 | 421 | 423 | 425 | 429 | 460:
            error = ServerBusy(message)
        case status if 300 <= status < 400:
            error = RedirectRefused(f"{message}, a redirect that cannot be followed")
        case status if 400 <= status < 500:
            if doing == "retrieve offset":
                message += "; if that remains, cancel this upload and start again"
            error = UploadRejected(message, final_response(response))
        case status if status >= 500 and status not in (501, 505):
            error = ServerBusy(message)
            # 503 says that the server did not even try (RFC 9110, 15.6.4).
            error.maybe_processed = status != 503
        case _:
            error = ProtocolError(message)
    error.retry_after = retry_after(response)
    error.sent = response.sent
    return error


def refused_creation(response: Response, carried: int = 0) -> UploadError:
    """Return the error that a *response* to a creation amounts to.

    The request carried so many bytes of content.

    There is no upload resource yet, so none can be gone or out of step.
    """
    error = unexpected(response, "create")
    if isinstance(error, (UploadGone, OffsetMismatch)):
        return UploadRejected(str(error), final_response(response))
    if isinstance(error, ContentTooLarge) and carried == 0:
        return UploadTooLarge(
            "create: the server answered 413: it takes no such upload"
        )
    return error


def is_offset(value: str | None) -> TypeGuard[str]:
    """Whether *value* spells an offset: at most 15 decimal digits."""
    spelled = value is not None and value.isascii() and value.isdecimal()
    return spelled and len(value or "") <= 15


def parse_offset(value: str | None, upload: Upload, doing: str) -> int:
    """Parse a non-negative decimal *value* as an offset into *upload*.

    Raises:
        ProtocolError: it is not one, or reaches past the upload's length.
    """
    if not is_offset(value):
        raise ProtocolError(f"{doing}: not an offset: {_number(value)}")
    offset = int(value)
    if upload.length is not None and offset > upload.length:
        raise ProtocolError(
            f"{doing}: offset {offset} exceeds length {upload.length}; "
            "another upload's answer, or a server that counts wrongly"
        )
    return offset


def check_length(upload: Upload) -> None:
    """Refuse lengths that no header can spell (RFC 9651, 3.3.1)."""
    if upload.length is not None and upload.length > MAX_INTEGER:
        raise InvalidParameter(
            f"a length of {upload.length} bytes exceeds the {MAX_INTEGER} bytes "
            "that upload protocols can express; split the upload"
        )


def locate(value: str | None, base: str, doing: str) -> str:
    """Resolve a ``Location`` against the URL that answered with it.

    An http location on the host of an https request is upgraded: servers
    behind a TLS proxy write what they see. Any other loss of TLS is refused,
    and so is whatever is not http at all.

    Raises:
        ProtocolError: there is no location.
        RedirectRefused: it must not be used.
    """
    if not value:
        raise ProtocolError(f"{doing}: the answer has no Location")
    if len(value) > 8192 or any(c <= " " or c == "\x7f" for c in value):
        raise RedirectRefused(f"{doing}: the Location is not a URL")
    try:
        parts, base_parts = urlsplit(urljoin(base, value)), urlsplit(base)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise RedirectRefused(f"{doing}: the Location is not a URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise RedirectRefused(f"{doing}: the Location is not an http or https URL")
    if parts.username is not None or parts.password is not None:
        raise RedirectRefused(f"{doing}: the Location carries credentials of its own")
    if not _is_host(parts.netloc):
        raise RedirectRefused(f"{doing}: the Location names no host that can be")
    if base_parts.scheme == "https" and parts.scheme == "http":
        if host != base_parts.hostname or port not in (None, 80, base_parts.port):
            raise RedirectRefused(f"{doing}: the Location gives up TLS")
        parts = parts._replace(scheme="https", netloc=base_parts.netloc.split("@")[-1])
    return urlunsplit(parts._replace(fragment=""))


def _is_host(netloc: str) -> bool:
    """Whether *netloc* is a host, and perhaps a port, in any client's reading.

    What two parsers may read differently must not be asked who it is trusted as.
    """
    if netloc.startswith("["):
        host, closing, port = netloc[1:].partition("]")
        numeric = True
        if not closing or (port and not port.startswith(":")):
            return False
    else:
        host, _, port = netloc.partition(":")
        numeric = host.rpartition(".")[2].isdecimal()
    if not _HOST.fullmatch(host):
        return False
    try:
        return not numeric or bool(ip_address(host))
    except ValueError:
        return False


def shown(values: Iterable[str]) -> str:
    """Return the first of a server's *values*, fit for messages.

    What it says may drive a terminal, be long, or hold what nobody should see.
    """
    return ", ".join(v if _WORD.fullmatch(v) else "?" for v in islice(values, 8))


def _number(value: str | None) -> str:
    if value is None:
        return "missing"
    return repr(value) if _NUMBER.fullmatch(value) else "not a number at all"
