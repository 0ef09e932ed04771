"""What the target resource finally said.

A :class:`FinalResponse` is what a caller gets back and what a state store may
keep; it knows nothing of the HTTP client that received it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

#: Bytes of content that are read of a final response at most.
READ_LIMIT = 16 * 1024 * 1024
#: Bytes of content that a store keeps at most.
STORE_LIMIT = 64 * 1024

# Response headers that speak of a session with the server, not of the upload.
_NOT_STORED = frozenset({"set-cookie", "set-cookie2", "authentication-info"})


@dataclass(frozen=True, slots=True)
class FinalResponse:
    """The final answer to an upload.

    *headers* have lower-case names; repeated fields are joined with ``", "``.
    *truncated* says that *content* is only the beginning: at most 16 MiB are
    read, and 64 KiB survive in the state store.
    """

    status_code: int
    # Loops and debuggers show values: not what may be megabytes, or a secret.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes = field(default=b"", repr=False)
    truncated: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx (RFC 9110, section 15.3)."""
        return 200 <= self.status_code < 300

    @property
    def text(self) -> str:
        """The content as text, in the charset it names, else UTF-8."""
        message = Message()
        message["content-type"] = self.headers.get("content-type", "text/plain")
        charset = message.get_content_charset("utf-8")
        try:
            return self.content.decode(charset, "replace")
        except LookupError:
            return self.content.decode("utf-8", "replace")

    def json(self) -> Any:  # what JSON holds cannot be typed better
        """Parse the content as JSON.

        Raises:
            ValueError: it is not JSON.
        """
        try:
            return json.loads(self.content)
        except RecursionError as exc:
            raise ValueError("the content is nested too deeply for JSON") from exc

    def storable(self) -> FinalResponse:
        """Return what may be kept on disk: no cookies, at most 64 KiB."""
        return FinalResponse(
            self.status_code,
            {k: v for k, v in self.headers.items() if k not in _NOT_STORED},
            self.content[:STORE_LIMIT],
            self.truncated or len(self.content) > STORE_LIMIT,
        )
