"""tus 1.0.0, https://tus.io/protocols/resumable-upload.

The core protocol with the extensions creation, creation-with-upload,
expiration, checksum and termination. The status of an answer is never
believed: only ``Upload-Offset`` says what a server has.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Literal

from pydantic import JsonValue

from ..errors import (
    InvalidParameter,
    NotResumable,
    ProtocolError,
    ServerBusy,
    Unauthorized,
    UploadRejected,
)
from ..flow import Flow, Request, Response, digest, send
from ..ranges import ByteRange
from ..upload import Upload
from .base import (
    Limits,
    UploadProtocol,
    check_length,
    completed,
    final_response,
    is_offset,
    locate,
    parse_offset,
    refused_creation,
    shown,
    unexpected,
)

VERSION = "1.0.0"
_CORE = {"tus-resumable": VERSION}
_CONTENT_TYPE = "application/offset+octet-stream"

#: Bytes of one append where a break loses the whole of it (checksums).
CHECKED_APPEND = 8 * 1024 * 1024

_ALGORITHMS = ("sha1", "sha256", "sha512", "md5", "crc32")


class Tus(UploadProtocol):
    """tus 1.0.0.

    *form* says what a server should store of a form: ``"multipart"``, the
    encoded form as it is, or ``"file"``, its one file, with the text fields
    as metadata. *checksum* (sha1, sha256, sha512, md5, crc32) has each append
    verified. *with_upload* sends the first append with the creation, unless
    there is a *checksum*: servers verify it on appends only.
    *method_override* sends POST where a middlebox refuses PATCH and DELETE.

    Raises:
        InvalidParameter: an option has a value that it cannot have.
    """

    name = "tus"

    def __init__(
        self,
        *,
        form: Literal["multipart", "file"] | None = None,
        checksum: str | None = None,
        with_upload: bool = False,
        method_override: bool = False,
    ) -> None:
        if form not in (None, "multipart", "file"):
            raise InvalidParameter(f'form: {form!r} is neither "multipart" nor "file"')
        if checksum is not None and checksum not in _ALGORITHMS:
            raise InvalidParameter(
                f"checksum: {checksum!r} is not one of {', '.join(_ALGORITHMS)}"
            )
        self.form, self.checksum = form, checksum
        self.with_upload, self.method_override = with_upload, method_override

    def options(self) -> dict[str, JsonValue]:
        return {
            "form": self.form,
            "checksum": self.checksum,
            "with_upload": self.with_upload,
            "method_override": self.method_override,
        }

    @property
    def verified(self) -> Literal["none", "length", "digest"]:
        return "length" if self.checksum is None else "digest"

    def limits(self, upload: Upload) -> Limits:
        if self.checksum is None:
            return Limits()
        return Limits(default_append_size=CHECKED_APPEND)

    def prepare(self, upload: Upload, *, interims: bool) -> Flow[Upload]:
        """Ask for the server's extensions, where an option depends on them."""
        check_length(upload)
        if self.checksum is None and not self.with_upload:
            return upload
        if "with_upload" in upload.session:
            return upload
        response = yield from send(
            Request("OPTIONS", upload.target, purpose="discover")
        )
        algorithms = _listed(response.headers, "tus-checksum-algorithm")
        extensions = _listed(response.headers, "tus-extension")
        definite = response.status < 400 or response.status in (404, 405, 501, 505)
        if not extensions and not definite:
            raise unexpected(response, "discover")
        # One that is not offered is ignored in silence, and verifies nothing.
        if self.checksum is not None and self.checksum not in algorithms:
            offered = shown(algorithms) or "none"
            raise NotResumable(
                f"checksum: the server does not verify {self.checksum!r} "
                f"(it offers: {offered}); leave checksum out, or choose one of those"
            )
        with_upload = (
            self.with_upload
            and self.checksum is None
            and "creation-with-upload" in extensions
        )
        return upload.evolve(session=upload.session | {"with_upload": with_upload})

    def creation_content(self, upload: Upload) -> ByteRange | None:
        if upload.length == 0:
            return ByteRange(0, 0)  # complete as soon as it is created
        if not upload.session.get("with_upload"):
            return None
        length = upload.length or 0
        size = upload.append_size or self.limits(upload).default_append_size or length
        return ByteRange(0, min(size, length))

    def created_carefully(self, upload: Upload) -> Upload:
        return upload.evolve(session=upload.session | {"with_upload": False})

    def create(self, upload: Upload) -> Flow[Upload]:
        """Create the upload resource (extensions creation, creation-with-upload)."""
        content = self.creation_content(upload) or ByteRange(0, 0)
        headers = _CORE | {"upload-length": str(upload.length)}
        metadata = self._described(upload)
        if metadata:
            headers["upload-metadata"] = spell_metadata(metadata)
        if content.length:
            headers["content-type"] = _CONTENT_TYPE
        response = yield from send(
            Request(
                "POST",
                upload.target,
                headers,
                content,
                purpose="create",
                expect_continue=content.length > 0,
            )
        )
        _check_version(response)
        if not 200 <= response.status < 300:
            raise refused_creation(response, content.length)
        if "location" not in response.headers:
            raise NotResumable("create: the server offers no upload resource")
        resource = locate(
            response.headers["location"], response.url or upload.target, "create"
        )
        upload = _expiring(upload.evolve(resource=resource, phase="sending"), response)
        if content.length == 0:
            return _ended(upload.evolve(offset=0), response)
        if "upload-offset" not in response.headers:
            return (yield from self.retrieve_offset(upload))
        return _ended(_at_offset(upload, response, content.stop, "create"), response)

    def retrieve_offset(self, upload: Upload) -> Flow[Upload]:
        assert upload.resource is not None
        response = yield from send(
            Request("HEAD", upload.resource, _CORE, purpose="retrieve offset")
        )
        _check_version(response)
        if not 200 <= response.status < 300:
            if response.status == 403 and "upload-offset" not in response.headers:
                raise Unauthorized(
                    "retrieve offset: the server answered 403; the upload is kept: "
                    "renew credentials, or cancel it if it has expired"
                )
            if response.status == 405:
                raise UploadRejected(
                    "retrieve offset: the server answers HEAD with 405: "
                    "it cannot say how far an upload is, so one that broke cannot go "
                    "on; cancel this upload and start again",
                    final_response(response),
                )
            raise unexpected(response, "retrieve offset")
        value = response.headers.get("upload-offset")
        if not is_offset(value):
            raise ServerBusy("retrieve offset: the answer has no valid Upload-Offset")
        _check_length(response, upload)
        offset = parse_offset(value, upload, "retrieve offset")
        return _ended(
            _expiring(upload, response).evolve(offset=offset), response, lost=True
        )

    def append(self, upload: Upload, content: ByteRange) -> Flow[Upload]:
        assert upload.resource is not None
        headers = _CORE | {
            "upload-offset": str(content.start),
            "content-type": _CONTENT_TYPE,
        }
        headers |= yield from self._checksum(content)
        response = yield from send(
            self._overridden(
                Request("PATCH", upload.resource, headers, content, purpose="append")
            )
        )
        _check_version(response)
        if not 200 <= response.status < 300:
            raise unexpected(response, "append")
        upload = _expiring(upload, response)
        if "upload-offset" not in response.headers:
            return (yield from self.retrieve_offset(upload))
        return _ended(_at_offset(upload, response, content.stop, "append"), response)

    def complete(self, upload: Upload) -> Flow[Upload]:
        """See what there is: an upload is complete when its offset is its length."""
        return (yield from self.retrieve_offset(upload))

    def cancel(self, upload: Upload) -> Flow[None]:
        """Delete the upload resource (extension termination)."""
        if upload.resource is None:
            return
        response = yield from send(
            self._overridden(
                Request("DELETE", upload.resource, _CORE, purpose="cancel")
            )
        )
        # A server without the extension expires the upload by itself.
        gone = response.status in (404, 405, 410, 501)
        if not gone and not 200 <= response.status < 300:
            raise unexpected(response, "cancel")

    def _described(self, upload: Upload) -> Mapping[str, str]:
        """Return the metadata of an upload; of an encoded form, how to read it."""
        if self.form != "multipart" or upload.metadata:
            return upload.metadata
        # Some servers refuse HEAD where creation named no file.
        return {"filename": "form", "filetype": upload.content_type}

    def _checksum(self, content: ByteRange) -> Flow[dict[str, str]]:
        if self.checksum is None:
            return {}
        value = yield from digest(self.checksum, content)
        spelled = base64.b64encode(value).decode("ascii")
        return {"upload-checksum": f"{self.checksum} {spelled}"}

    def _overridden(self, request: Request) -> Request:
        if not self.method_override:
            return request
        headers = {**request.headers, "x-http-method-override": request.method}
        return Request(
            "POST", request.url, headers, request.content, purpose=request.purpose
        )


def spell_metadata(metadata: Mapping[str, str]) -> str:
    """Spell an ``Upload-Metadata`` field.

    Raises:
        InvalidParameter: a key is empty, not ASCII, or has a space or comma.
    """
    pairs = []
    for key, value in metadata.items():
        if (
            not key
            or not key.isascii()
            or not key.isprintable()
            or set(key) & {" ", ","}
        ):
            raise InvalidParameter(
                f"metadata: {key!r} cannot be a key: use printable ASCII "
                "without spaces and commas"
            )
        encoded = base64.b64encode(value.encode("utf-8", "surrogateescape"))
        pairs.append(f"{key} {encoded.decode('ascii')}" if value else key)
    return ",".join(pairs)


def _listed(headers: Mapping[str, str], name: str) -> tuple[str, ...]:
    items = (item.strip().lower() for item in headers.get(name, "").split(","))
    return tuple(item for item in items if item)


def _check_version(response: Response) -> None:
    if response.status != 412:
        return
    versions = _listed(response.headers, "tus-version")
    if versions and VERSION not in versions:
        raise NotResumable(
            f"the server speaks tus {shown(versions)}, this client tus {VERSION}"
        )


def _at_offset(upload: Upload, response: Response, sent: int, doing: str) -> Upload:
    offset = parse_offset(response.headers["upload-offset"], upload, doing)
    if offset > sent:
        raise ProtocolError(
            f"{doing}: the server claims {offset} bytes, only {sent} were sent; "
            "cancel this upload and start again"
        )
    return upload.evolve(offset=offset)


def _check_length(response: Response, upload: Upload) -> None:
    value = response.headers.get("upload-length", "").strip()
    if value.isascii() and value.isdecimal() and int(value[:20]) != upload.length:
        raise ProtocolError(
            f"retrieve offset: the server expects {value[:20]} bytes, "
            f"the upload has {upload.length}"
        )


def _ended(upload: Upload, response: Response, *, lost: bool = False) -> Upload:
    if upload.offset != upload.length:
        return upload
    return completed(upload, response, lost=lost)


def _expiring(upload: Upload, response: Response) -> Upload:
    value = response.headers.get("upload-expires")
    if value is None:
        return upload
    try:
        expires = parsedate_to_datetime(value).timestamp()
    except (ValueError, IndexError, TypeError, OverflowError):
        return upload
    return upload.evolve(expires=expires)
