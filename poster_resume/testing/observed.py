"""What a receiver saw, for a test to judge: requests, deliveries, uploads.

Everything here is a frozen copy of one moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .parts import Part, parse_form


@dataclass(frozen=True, slots=True)
class RequestSeen:
    """One request: noted before its final answer left, or when it broke off.

    *received* counts bytes of content. *status* is that of the answer, None if
    the request broke off; *sent* is False if the answer was dropped by script.
    *interims* counts the 1xx answers. *connection* numbers connections from 0.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    received: int
    status: int | None
    sent: bool
    interims: int
    connection: int
    upload: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One representation that has come in whole, once for each time it did.

    *path* is the target resource. *metadata* is ``Upload-Metadata`` or
    ``Content-Disposition`` as the creation spelled it. *count* is how often this very
    representation had come in by then, this time included: 2 is a duplicate.
    """

    upload: str
    protocol: str
    path: str
    length: int
    sha256: str
    content_type: str | None
    file: Path
    count: int
    metadata: str = ""

    @property
    def parts(self) -> list[Part]:
        """The parts of the form, read from disk; empty if it is no form."""
        return list(parse_form(self.file, self.content_type))

    def read(self) -> bytes:
        """Return the whole representation."""
        return self.file.read_bytes()


@dataclass(frozen=True, slots=True)
class UploadSeen:
    """One upload, and what its client did.

    *received* is all the content that came in for it, *offset* what is kept of
    it, *acknowledged* the highest offset that an answer has named.
    *lowest_resent* is the lowest offset that the client started from although
    an earlier answer had named a higher one; None if that never happened.
    """

    id: str
    protocol: str
    path: str
    target: str
    length: int | None
    content_type: str | None
    offset: int
    received: int
    acknowledged: int
    lowest_resent: int | None
    complete: bool
    gone: bool
    file: Path
    metadata: str = ""

    @property
    def sent_twice(self) -> int:
        """The bytes that came in more often than they were needed."""
        return self.received - self.offset
