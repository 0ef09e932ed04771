"""Everything that this package raises.

* UploadError
    * InvalidParameter (also ValueError)   a parameter cannot be used as given
    * NotResumable           the server speaks no resumable protocol
    * SourceError            a source cannot supply what the plan promised
        * SourceChanged      it is no longer the one the plan was made from
    * StoreError             the upload's state cannot be kept or read
    * UploadBusy             another process or thread is sending this upload
    * UploadPaused           pause() was called
    * DeadlineExceeded       the deadline of this call has passed
    * TransportError         no final response arrived
        * ConnectError       not a byte of the request left
        * TransportRefused   it can never work: bad certificate, URL, scheme
    * ProtocolError          the server's answer is not one it may give here
        * OffsetMismatch     server and client disagree about the offset
        * ServerBusy         come back later
        * ContentTooLarge    this request was too large; a smaller one may do
        * UploadGone         the upload resource no longer exists
        * Unauthorized       the credentials are missing, wrong or expired
        * RedirectRefused    a redirect that must not be followed
        * UploadTooLarge     the server takes no upload of this length
        * UploadRejected     the final answer is an error
    * OutcomeUnknown         everything was sent, no answer came back

Each class says by *recovery* what a session may do about it, each error by
*resumable* whether calling ``send()`` again may go on where this one stopped.
"""

from __future__ import annotations

import enum
from urllib.parse import urlsplit

from .responses import FinalResponse


class Recovery(enum.Enum):
    """What the session may do about an error."""

    NONE = "none"  # nobody but the caller can mend this
    RESYNC = "resync"  # retrieve the offset, then go on from there
    RECREATE = "recreate"  # the upload resource is lost: create another
    UNKNOWN = "unknown"  # it may be complete: never start over by itself


class UploadError(Exception):
    """Base class of every error that this package raises.

    *recovery* is what the session may do about it; *resumable* whether calling
    ``send()`` again may go on from here. *retry_after* are the seconds that the
    server asked us to wait, *sent* the bytes of the request's content that had
    left, *upload_id* what ``load()`` takes; each None where it is not known.
    """

    recovery: Recovery = Recovery.NONE

    #: Whether ``send()`` may be called again to go on from here.
    resumable: bool = True

    #: Seconds that the server asked us to wait (``Retry-After``), if it did.
    retry_after: float | None = None

    #: Bytes of the request's content that had left; None if that is not known.
    sent: int | None = None

    #: The id of the upload that failed, once there is one.
    upload_id: str | None = None


class InvalidParameter(UploadError, ValueError):
    """A parameter cannot be used as given; the message names the remedy."""

    resumable = False


class NotResumable(UploadError):
    """The server speaks no resumable protocol, and one was required."""

    resumable = False


class SourceError(UploadError):
    """A source cannot supply the bytes that the plan promised."""


class SourceChanged(SourceError):
    """A source is no longer the one that the plan was made from."""


class StoreError(UploadError):
    """The upload's state cannot be kept or read."""


class UploadBusy(UploadError):
    """Another process or thread is sending this upload now."""


class UploadPaused(UploadError):
    """The upload was paused by its owner."""


class DeadlineExceeded(UploadError):
    """The deadline of this call has passed."""


class TransportError(UploadError):
    """No final response arrived; how much the server kept is unknown."""

    recovery = Recovery.RESYNC


class ConnectError(TransportError):
    """No connection: not a byte of the request has left."""

    sent = 0


class TransportRefused(TransportError):
    """It can never work as things are: a bad certificate, URL or scheme."""

    recovery = Recovery.NONE


class ProtocolError(UploadError):
    """The server's answer is not one that the protocol allows here."""


class OffsetMismatch(ProtocolError):
    """Server and client disagree about the offset."""

    recovery = Recovery.RESYNC


class ServerBusy(ProtocolError):
    """The server failed, or asked us to come back later."""

    recovery = Recovery.RESYNC

    #: Whether it may have processed the request all the same.
    maybe_processed: bool = False


class ContentTooLarge(ProtocolError):
    """The server refuses a request of this size (413); a smaller one may do."""

    recovery = Recovery.RESYNC


class UploadGone(ProtocolError):
    """The upload resource no longer exists."""

    recovery = Recovery.RECREATE


class Unauthorized(ProtocolError):
    """Credentials are missing, wrong or expired. The upload is kept."""

    #: The status that said so.
    status: int = 401


class RedirectRefused(ProtocolError):
    """A redirect or location that must not be followed."""


class UploadTooLarge(ProtocolError):
    """The server takes no upload of this length."""

    resumable = False


class UploadRejected(ProtocolError):
    """The final answer is an error: sending again cannot help."""

    resumable = False

    def __init__(self, message: str, response: FinalResponse) -> None:
        super().__init__(message)
        self.response = response

    def __reduce__(self) -> tuple[type[UploadRejected], tuple[str, FinalResponse]]:
        return type(self), (str(self), self.response)


class OutcomeUnknown(UploadError):
    """Everything was sent, no answer came back, and the server cannot say.

    The upload may have succeeded. Look on the server, then call
    ``send(assume="complete")`` or ``send(assume="lost")``.
    """

    recovery = Recovery.UNKNOWN


def origin_of(url: str) -> str:
    """Return scheme, host and port of *url*, ports always spelled (RFC 6454)."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{host}:{port}"


def unreadable(name: str, error: OSError, what: str = "read") -> SourceError:
    """Return the error that says: the file *name* cannot be read, or opened, now."""
    return SourceError(
        f"{name} cannot be {what}: {error.strerror}; nothing is lost: try again "
        "once it can be"
    )


def redacted(url: str) -> str:
    """Return *url* fit for messages and logs: scheme and host alone.

    The path of an upload resource is a capability, queries hold signatures,
    and the part before ``@`` holds passwords: none of them is shown.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "<url>"
    if not host:
        return "<url>"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}/…"
