"""Reference servers without sockets: what a correct server keeps and answers.

They work on bytes that arrived, in any portion: a request may end in the
middle, and what had arrived by then is kept, as real servers keep it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

URL = "https://example.test/files"
RESOURCE = f"{URL}/1"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""


@dataclass
class Model:
    """State of one target resource; *delivered* is what its application got."""

    stored: bytes = b""
    length: int = -1
    exists: bool = False
    delivered: list[bytes] = field(default_factory=list)
    #: Every (offset, count) of content that arrived, in order.
    received: list[tuple[int, int]] = field(default_factory=list)
    retrieved: int = 0
    resent_below_retrieved: int = 0

    def begin(self, method: str, url: str, headers: Mapping[str, str]) -> Answer | None:
        """Judge a request by its head; None to take its content."""
        raise NotImplementedError

    def take(self, content: bytes, *, whole: bool) -> Answer | None:
        """Take what arrived of the content; answer if it is *whole*."""
        raise NotImplementedError

    def forget(self) -> None:
        self.stored, self.exists = b"", False

    def _store(self, offset: int, content: bytes) -> None:
        if offset < self.retrieved and content:
            self.resent_below_retrieved += 1
        self.received.append((offset, len(content)))
        self.stored = self.stored[:offset] + content


class RufhModel(Model):
    """draft-ietf-httpbis-resumable-upload, interop version 9."""

    _completes = False
    _creating = False
    _answered = False

    def begin(self, method: str, url: str, headers: Mapping[str, str]) -> Answer | None:
        self._creating = False
        if method == "OPTIONS":
            return Answer(200, {"upload-limit": "min-size=0"})
        if url == URL:
            assert headers["upload-complete"] in ("?0", "?1")
            self.exists, self.stored, self.retrieved = True, b"", 0
            self._answered = False
            self.length = int(headers["upload-length"])
            self._completes = headers["upload-complete"] == "?1"
            self._creating = True
            return None
        if not self.exists:
            return Answer(404)
        offset = {"upload-offset": str(len(self.stored))}
        complete = {"upload-complete": "?1" if self._answered else "?0"}
        if method == "HEAD":
            self.retrieved = len(self.stored)
            return Answer(204, offset | complete | {"upload-length": str(self.length)})
        if method == "DELETE":
            self.forget()
            return Answer(204)
        if method == "GET":
            return self._final() if self._answered else Answer(204, offset | complete)
        assert method == "PATCH"
        assert headers["content-type"] == "application/partial-upload"
        if self._answered:
            return self._final()
        if int(headers["upload-offset"]) != len(self.stored):
            return Answer(409, offset | complete)
        self._completes = headers["upload-complete"] == "?1"
        return None

    def take(self, content: bytes, *, whole: bool) -> Answer | None:
        self._store(len(self.stored), content)
        assert len(self.stored) <= self.length
        if not whole:
            return None
        if self._completes:
            assert len(self.stored) == self.length
            self._answered = True
            self.delivered.append(self.stored)
            return self._final()
        headers = {"upload-complete": "?0", "upload-offset": str(len(self.stored))}
        if self._creating:
            headers["location"] = "/files/1"
        return Answer(201, headers)

    def _final(self) -> Answer:
        return Answer(200, {"upload-complete": "?1"}, b"thank you")


class TusModel(Model):
    """tus 1.0.0 with creation and termination."""

    _creating = False

    def begin(self, method: str, url: str, headers: Mapping[str, str]) -> Answer | None:
        self._creating = False
        if method == "OPTIONS":
            return Answer(204, {"tus-version": "1.0.0", "tus-extension": "creation"})
        assert headers["tus-resumable"] == "1.0.0"
        if url == URL:
            self.exists, self.stored, self.retrieved = True, b"", 0
            self.length = int(headers["upload-length"])
            self._creating = True
            return None
        if not self.exists:
            return Answer(404)
        offset = {"upload-offset": str(len(self.stored)), "tus-resumable": "1.0.0"}
        if method == "HEAD":
            self.retrieved = len(self.stored)
            return Answer(200, offset | {"upload-length": str(self.length)})
        if method == "DELETE":
            self.forget()
            return Answer(204)
        assert method == "PATCH"
        if int(headers["upload-offset"]) != len(self.stored):
            return Answer(409, offset)
        return None

    def take(self, content: bytes, *, whole: bool) -> Answer | None:
        before = len(self.stored)
        self._store(before, content)
        assert len(self.stored) <= self.length
        if len(self.stored) == self.length and (before < self.length or self._creating):
            self.delivered.append(self.stored)
        if not whole:
            return None
        if self._creating:
            return Answer(201, {"location": RESOURCE})
        return Answer(204, {"upload-offset": str(len(self.stored))})


class PlainModel(Model):
    """A form handler that knows nothing of resumption."""

    def begin(self, method: str, url: str, headers: Mapping[str, str]) -> Answer | None:
        assert url == URL
        if method == "OPTIONS":
            return Answer(405)
        self.stored, self.retrieved = b"", 0
        return None

    def take(self, content: bytes, *, whole: bool) -> Answer | None:
        self._store(0, content)
        if not whole:
            return None
        self.delivered.append(self.stored)
        return Answer(201, {}, b"thank you")


MODELS: dict[str, type[Model]] = {
    "rufh": RufhModel,
    "tus": TusModel,
    "oneshot": PlainModel,
}
