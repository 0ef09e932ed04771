"""The receiver's side of tus 1.0.0, https://tus.io/protocols/resumable-upload.

The core protocol and the extensions creation, creation-with-upload,
creation-defer-length, expiration, checksum and termination. An upload is
complete when its offset is its length.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import zlib
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

from .behaviour import Behaviour, Rule
from .http1 import BLOCK, Answer, Exchange, Head
from .site import Site
from .storage import Stored

VERSION = "1.0.0"
CONTENT_TYPE = "application/offset+octet-stream"

_NO_STORE = {"cache-control": "no-store"}


def method_of(head: Head) -> str:
    """Return the method that is meant: middleboxes may have let only POST pass."""
    return head.headers.get("x-http-method-override", head.method).upper()


class Tus:
    """Serves one request to a creation endpoint or upload resource."""

    def __init__(self, site: Site, exchange: Exchange, rule: Rule) -> None:
        self._site, self._exchange, self._rule = site, exchange, rule
        self._behaviour: Behaviour = site.behaviour
        self._head = exchange.head
        self._method = method_of(exchange.head)

    def target(self) -> Answer:
        """Answer a request to the endpoint that creates uploads."""
        if self._method == "OPTIONS":
            return self._options()
        refused = self._check_version()
        if refused is not None:
            return refused
        if self._method != "POST":
            return self._answer(405, {"allow": "OPTIONS, POST"})
        return self._create()

    def resource(self, stored: Stored) -> Answer:
        """Answer a request to the upload resource *stored*."""
        if self._method == "OPTIONS":
            return self._options()
        refused = self._check_version()
        if refused is not None:
            return refused
        with stored.held(self._exchange, self._behaviour.concurrency) as mine:
            finished = stored.complete and self._behaviour.completed != "keep"
            if stored.record.gone or finished:
                return self.gone()
            if not mine:
                return self._answer(423, {"retry-after": "1"})
            match self._method:
                case "HEAD":
                    return self._offset(stored)
                case "PATCH":
                    return self._append(stored)
                case "DELETE" if "termination" in self._behaviour.extensions:
                    stored.remove()
                    return self._answer(204)
                case _:
                    return self._answer(405, {"allow": "HEAD, PATCH, DELETE"})

    def gone(self) -> Answer:
        """Answer for an upload resource that is not there: without an offset."""
        return self._answer(self._behaviour.gone_status, _NO_STORE)

    def _options(self) -> Answer:
        behaviour = self._behaviour
        comma = ", " if behaviour.spaced else ","
        headers = {"tus-extension": comma.join(behaviour.extensions)}
        if behaviour.tus_version:
            headers["tus-version"] = VERSION
        if behaviour.max_size is not None:
            headers["tus-max-size"] = str(behaviour.max_size)
        if "checksum" in behaviour.extensions:
            headers["tus-checksum-algorithm"] = comma.join(behaviour.checksums)
        return self._answer(behaviour.options_status or 204, headers)

    def _check_version(self) -> Answer | None:
        if self._head.headers.get("tus-resumable") == VERSION:
            return None
        # "the Server MUST respond with the 412 Precondition Failed status and
        # MUST include the Tus-Version header" (Tus-Version)
        return self._answer(412, {"tus-version": VERSION})

    def _create(self) -> Answer:
        behaviour, headers = self._behaviour, self._head.headers
        if "creation" not in behaviour.extensions:
            return self._answer(405)
        length = _number(headers.get("upload-length"))
        deferred = headers.get("upload-defer-length") == "1"
        if deferred and "creation-defer-length" not in behaviour.extensions:
            return self._answer(400, content=b"the length cannot be deferred")
        if (length is None) != deferred:
            return self._answer(400, content=b"Upload-Length is missing or wrong")
        if _exceeds(length, behaviour.max_size):
            return self._answer(413)
        metadata = headers.get("upload-metadata", "")
        try:
            pairs = parse_metadata(metadata)
        except ValueError as exc:
            return self._answer(400, content=str(exc).encode())
        stored = self._site.storage.create(
            "tus",
            self._head.path,
            length,
            pairs.get("filetype"),
            metadata=metadata,
            max_age=behaviour.max_age,
        )
        self._exchange.upload = stored.record.id
        headers_out = {"location": self._site.location(self._exchange, stored)}
        if self._carries():
            if "creation-with-upload" not in behaviour.extensions:
                self._exchange.discard()
                return self._answer(201, headers_out | self._expires(stored))
            with stored.held(self._exchange, behaviour.concurrency):
                taken = self._take(stored)
            return self._answer(
                201 if taken.status < 300 else taken.status,
                headers_out | dict(taken.headers),
                taken.content,
            )
        self._finish(stored)
        return self._answer(201, headers_out | self._expires(stored))

    def _carries(self) -> bool:
        media_type = self._head.headers.get("content-type", "").lower()
        return media_type == CONTENT_TYPE and self._head.content_length != 0

    def _append(self, stored: Stored) -> Answer:
        behaviour, headers = self._behaviour, self._head.headers
        if headers.get("content-type", "").lower() != CONTENT_TYPE:
            return self._answer(415)
        offset = _number(headers.get("upload-offset"))
        if offset is None:
            return self._answer(400, content=b"Upload-Offset is missing or wrong")
        stored.starts(offset)
        if offset != stored.size and behaviour.wrong_offset == "refuse":
            # The offset of late bytes is not told before they show.
            return self._answer(409)
        length = _number(headers.get("upload-length"))
        if length is not None and stored.record.length is None:
            stored.save(length=length)
        if length not in (None, stored.record.length):
            return self._answer(400, content=b"Upload-Length cannot change")
        if stored.complete and not behaviour.grow and self._head.content_length:
            return self._answer(403, content=b"the upload is complete")
        return self._take(stored, offset)

    def _take(self, stored: Stored, offset: int = 0) -> Answer:
        behaviour, carried = self._behaviour, self._head.content_length
        stop = offset + (carried or 0)
        if _exceeds(stop, stored.record.length) and not behaviour.grow:
            return self._answer(400, content=b"more than Upload-Length")
        if _exceeds(carried, behaviour.max_append_size):
            return self._answer(413)
        try:
            check = self._check(self._head.headers.get("upload-checksum"))
        except ValueError as exc:
            return self._answer(400, content=str(exc).encode())
        kept = stored.receive(
            self._exchange,
            start=offset if behaviour.wrong_offset == "hole" else None,
            share=self._rule.share,
            whole=behaviour.buffering,
            late=behaviour.late,
            checked=check,
        )
        if not kept:
            return self._answer(460, content=b"checksum mismatch")
        last = self._finish(stored)
        headers = self._expires(stored)
        if behaviour.acknowledge:
            headers["upload-offset"] = str(stored.told(stored.size))
        if last and behaviour.final_status is not None:
            content = behaviour.final_content or b""
            return self._answer(behaviour.final_status, headers, content)
        return self._answer(204, headers)

    def _finish(self, stored: Stored) -> bool:
        """Deliver the upload if it is all there; whether it was."""
        length = stored.record.length
        if length is None or stored.size < length or stored.complete:
            return False
        self._site.deliver(stored)
        return True

    def _offset(self, stored: Stored) -> Answer:
        behaviour = self._behaviour
        record = stored.record
        keys = parse_metadata(record.metadata)
        if not all(key in keys for key in behaviour.require_metadata):
            return self._answer(400)
        headers = {"upload-offset": str(stored.told(stored.shown))}
        headers |= _NO_STORE | self._expires(stored)
        if record.length is None:
            headers["upload-defer-length"] = "1"
        else:
            headers["upload-length"] = str(record.length)
            if behaviour.head_length:
                headers["content-length"] = str(record.length)
        if record.metadata:
            comma = ", " if behaviour.spaced else ","
            items = (item.strip() for item in record.metadata.split(","))
            headers["upload-metadata"] = comma.join(items)
        return self._answer(behaviour.head_status or 200, headers)

    def _check(self, value: str | None) -> Callable[[Path], bool] | None:
        behaviour = self._behaviour
        if value is None or "checksum" not in behaviour.extensions:
            return None
        algorithm, _, spelled = value.partition(" ")
        if algorithm not in behaviour.checksums:
            raise ValueError("the checksum algorithm is not supported")
        try:
            wanted = base64.b64decode(spelled, validate=True)
        except binascii.Error:
            raise ValueError("the checksum is not base64") from None
        return lambda file: hmac.compare_digest(_checksum(algorithm, file), wanted)

    def _expires(self, stored: Stored) -> dict[str, str]:
        expires = stored.record.expires
        if expires is None or "expiration" not in self._behaviour.extensions:
            return {}
        return {"upload-expires": formatdate(expires, usegmt=True)}

    def _answer(
        self, status: int, headers: dict[str, str] | None = None, content: bytes = b""
    ) -> Answer:
        all_headers = dict(headers or {})
        if self._behaviour.tus_version and self._method != "OPTIONS":
            all_headers["tus-resumable"] = VERSION
        return Answer(status, all_headers, content)


def parse_metadata(value: str) -> dict[str, str]:
    """Parse an ``Upload-Metadata`` field.

    Raises:
        ValueError: a key is empty or comes twice, or a value is not base64.
    """
    pairs: dict[str, str] = {}
    for item in value.split(",") if value else ():
        key, _, encoded = item.strip().partition(" ")
        if not key or key in pairs or not key.isascii():
            raise ValueError("Upload-Metadata has an empty, doubled or odd key")
        try:
            decoded = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise ValueError("Upload-Metadata has a value that is no base64") from None
        pairs[key] = decoded.decode("utf-8", "surrogateescape")
    return pairs


def _checksum(algorithm: str, file: Path) -> bytes:
    with file.open("rb") as content:
        if algorithm != "crc32":
            return hashlib.file_digest(content, algorithm).digest()
        crc = 0
        while block := content.read(BLOCK):
            crc = zlib.crc32(block, crc)
        return crc.to_bytes(4, "big")


def _number(value: str | None) -> int | None:
    if value is None or not (value.isascii() and value.isdecimal()):
        return None
    return int(value) if len(value) <= 18 else None


def _exceeds(size: int | None, limit: int | None) -> bool:
    return size is not None and limit is not None and size > limit
