"""One plain request, for servers that speak no resumable protocol.

Nothing can go on where it stopped; what matters is to know what may have
happened. A request of which not every byte left cannot have been a whole form;
one that left whole and got no answer may have been processed.
"""

from __future__ import annotations

import uuid
from typing import Literal

from pydantic import JsonValue

from ..errors import (
    ConnectError,
    InvalidParameter,
    OutcomeUnknown,
    Recovery,
    ServerBusy,
    TransportError,
)
from ..flow import Flow, Request, Response, send
from ..ranges import ByteRange
from ..upload import Upload
from .base import UploadProtocol, completed, retry_after, unexpected

_REPLAYS = ("never", "incomplete", "always")
_IDEMPOTENT = frozenset({"PUT", "DELETE"})
_SAFE_TO_REPEAT = frozenset({408, 421, 425, 429, 503})
_MAYBE_PROCESSED = frozenset({500, 502, 504})


class Incomplete(TransportError):
    """A plain request broke before its last byte left."""

    recovery = Recovery.NONE


class Oneshot(UploadProtocol):
    """One plain request.

    *replay* permits starting over: ``"never"``, ``"incomplete"`` when not all
    bytes had left, ``"always"`` even when the answer was lost.
    *idempotency_key* sends an ``Idempotency-Key`` that stays the same.

    Raises:
        InvalidParameter: an option has a value that it cannot have.
    """

    name = "oneshot"
    resumable = False

    def __init__(
        self,
        *,
        replay: Literal["never", "incomplete", "always"] = "never",
        idempotency_key: bool = False,
        expect_continue: bool = False,
    ) -> None:
        if replay not in _REPLAYS:
            raise InvalidParameter(
                f"replay: {replay!r} is not never, incomplete or always"
            )
        self.replay, self.idempotency_key = replay, idempotency_key
        self.expect_continue = expect_continue

    def options(self) -> dict[str, JsonValue]:
        return {
            "replay": self.replay,
            "idempotency_key": self.idempotency_key,
            "expect_continue": self.expect_continue,
        }

    def permitting(self, asked: UploadProtocol) -> UploadProtocol:
        """Return this one, with the wider *replay* of both."""
        if not isinstance(asked, Oneshot):
            return self
        if _REPLAYS.index(asked.replay) <= _REPLAYS.index(self.replay):
            return self
        return type(self).from_options(self.options() | {"replay": asked.replay})

    def prepare(self, upload: Upload, *, interims: bool) -> Flow[Upload]:
        if not self.idempotency_key or "idempotency_key" in upload.session:
            return upload
        # Derived, not drawn: the same upload has the same key in any process.
        key = uuid.uuid5(uuid.NAMESPACE_URL, f"{upload.id}\0{upload.target}")
        return upload.evolve(session=upload.session | {"idempotency_key": str(key)})
        yield

    def create(self, upload: Upload) -> Flow[Upload]:
        """Nothing to create: the target resource gets the content itself."""
        return upload.evolve(phase="sending", offset=0)
        yield

    def retrieve_offset(self, upload: Upload) -> Flow[Upload]:
        """Start over: nothing is kept of a plain request."""
        return upload.evolve(offset=0)
        yield

    def append(self, upload: Upload, content: ByteRange) -> Flow[Upload]:
        headers = {"content-type": upload.content_type}
        key = upload.session.get("idempotency_key")
        if key is not None:
            headers["idempotency-key"] = str(key)
        request = Request(
            upload.method,
            upload.target,
            headers,
            content,
            purpose="append",
            expect_continue=self.expect_continue,
        )
        try:
            response = yield from send(request)
        except ConnectError:
            raise  # not a byte has left: try again
        except TransportError as error:
            raise self._broken(upload, content, error) from error
        return self._answered(upload, content, response)

    def complete(self, upload: Upload) -> Flow[Upload]:
        """Send an empty representation."""
        return (yield from self.append(upload, ByteRange(0, 0)))

    def cancel(self, upload: Upload) -> Flow[None]:
        """Nothing to remove."""
        return
        yield

    def prove(self, upload: Upload) -> Flow[Upload]:
        """Allow what may be repeated; of anything else nobody knows."""
        if self._repeatable(upload):
            return upload.evolve(offset=0)
        raise OutcomeUnknown(unknown("the server keeps no record of plain requests"))
        yield

    def _repeatable(self, upload: Upload) -> bool:
        return upload.method.upper() in _IDEMPOTENT or self.replay == "always"

    def _broken(
        self, upload: Upload, content: ByteRange, error: TransportError
    ) -> Exception:
        if error.recovery is Recovery.NONE:
            return error
        if self._repeatable(upload):
            return error
        if error.sent is None or error.sent >= content.length:
            return OutcomeUnknown(unknown("the connection broke before the answer"))
        if self.replay == "incomplete":
            return error
        return _incomplete("the connection broke", error.sent, content)

    def _answered(
        self, upload: Upload, content: ByteRange, response: Response
    ) -> Upload:
        doing = "append"
        if response.status in _SAFE_TO_REPEAT:
            raise unexpected(response, doing)
        if response.status in (401, 407):
            raise unexpected(response, doing)
        if response.status in _MAYBE_PROCESSED:
            if response.sent is not None and response.sent < content.length:
                if self.replay == "never" and not self._repeatable(upload):
                    raise _incomplete(
                        f"the server answered {response.status}",
                        response.sent,
                        content,
                    )
                early = ServerBusy(
                    f"the server failed with {response.status} before it had everything"
                )
                early.retry_after = retry_after(response)
                raise early
            if not self._repeatable(upload):
                raise OutcomeUnknown(
                    unknown(
                        f"the server answered {response.status} to the whole upload"
                    )
                )
            raise unexpected(response, doing)
        return completed(upload, response)


def _incomplete(because: str, sent: int, content: ByteRange) -> Incomplete:
    error = Incomplete(
        f"{because} after {sent} of {content.length} bytes, and this server cannot "
        "go on from there; send again to start over, or allow it with "
        'replay="incomplete"'
    )
    error.sent = sent
    return error


def unknown(because: str) -> str:
    """Word an unknown outcome, and what may be done about it."""
    return (
        f"{because}: the upload may have been processed; look on the server, then "
        'send again with assume="complete" or assume="lost"'
    )
