"""What the protocols of a receiver share: uploads, behaviour, what was seen.

An upload that has come in whole is *delivered* to its target resource, once;
the target resource answers with what it got, as JSON.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path

from .behaviour import Behaviour
from .http1 import Answer, Exchange
from .observed import Delivery, RequestSeen, UploadSeen
from .parts import parse_form
from .storage import FinalAnswer, Storage, Stored

#: Where upload resources are, whatever protocol created them.
UPLOADS = "/uploads/"

#: Parts of a form that the final answer lists at most.
_LISTED = 100


class Site:
    """Everything behind one receiver's sockets. Safe to use from any thread."""

    def __init__(self, directory: Path, behaviour: Behaviour) -> None:
        self.storage = Storage(directory)
        self.behaviour = behaviour
        self.changed = threading.Condition()
        self.requests: list[RequestSeen] = []
        self.deliveries: list[Delivery] = []
        self.received = 0
        self._authorised = 0
        self.keys: dict[str, Stored] = {}
        delivered = [s for s in self.storage.all() if s.record.order is not None]
        for stored in sorted(delivered, key=lambda s: s.record.order or 0):
            self.deliveries.append(self._delivery(stored))

    def adopt(self, behaviour: Behaviour) -> None:
        """Behave otherwise from now on; tokens are as good as new."""
        with self.changed:
            self.behaviour = behaviour
            self._authorised = 0

    def allowance(self, authorization: str | None) -> int | None:
        """Return how much content a request may bring; None: as much as it likes.

        Zero says that its credentials are not good, or no longer.
        """
        tokens, size = self.behaviour.tokens, self.behaviour.token_bytes
        if tokens is None:
            return None
        with self.changed:
            index = 0 if size is None else self._authorised // size
            if index >= len(tokens) or authorization != f"Bearer {tokens[index]}":
                return 0
            return None if size is None else (index + 1) * size - self._authorised

    def note(self, seen: RequestSeen) -> None:
        """Enter a request into the log."""
        with self.changed:
            self.requests.append(seen)
            self.changed.notify_all()

    def came(self, count: int) -> None:
        """Note that *count* bytes of content have come in."""
        with self.changed:
            self.received += count
            self._authorised += count
            self.changed.notify_all()

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until *condition* holds; whether it does after *timeout* seconds."""
        with self.changed:
            return self.changed.wait_for(condition, timeout)

    def upload(self, path: str) -> Stored | None:
        """Return the upload whose resource is at *path*, if there is one."""
        path = path.partition("?")[0]
        if not path.startswith(UPLOADS):
            return None
        return self.storage.find(path.removeprefix(UPLOADS))

    def uploads(self) -> list[UploadSeen]:
        """Return what is known of every upload, oldest first."""
        return [s.seen(UPLOADS + s.record.id) for s in self.storage.all()]

    def location(self, exchange: Exchange, stored: Stored) -> str:
        """Spell the address of an upload resource."""
        host = exchange.head.headers.get("host", "")
        base = self.behaviour.location.replace("{host}", host)
        return base + UPLOADS + stored.record.id

    def deliver(self, stored: Stored, *, status: int = 201) -> FinalAnswer:
        """Hand a complete upload to its target resource and keep the answer."""
        assert not stored.complete
        content = self.behaviour.final_content
        final = FinalAnswer(
            status=self.behaviour.final_status or status,
            headers={"content-type": "application/json"} if content is None else {},
            content=_described(stored)
            if content is None
            else content.decode("utf-8", "surrogateescape"),
        )
        sha256 = stored.sha256()
        with self.changed:
            order = len(self.deliveries)
            stored.save(final=final, sha256=sha256, order=order, length=stored.size)
            self.deliveries.append(self._delivery(stored))
            self.changed.notify_all()
        return final

    def _delivery(self, stored: Stored) -> Delivery:
        record = stored.record
        assert record.sha256 is not None
        same = sum(
            d.sha256 == record.sha256 and d.path == record.target
            for d in self.deliveries
        )
        return Delivery(
            upload=record.id,
            protocol=record.protocol,
            path=record.target,
            length=stored.size,
            sha256=record.sha256,
            content_type=record.content_type,
            file=stored.file,
            count=same + 1,
            metadata=stored.record.metadata,
        )


def replay(final: FinalAnswer, headers: Mapping[str, str]) -> Answer:
    """Return the answer that *final* keeps, with *headers* added."""
    return Answer(
        final.status,
        final.headers | dict(headers),
        final.content.encode("utf-8", "surrogateescape"),
    )


def _described(stored: Stored) -> str:
    described: dict[str, object] = {
        "length": stored.size,
        "sha256": stored.sha256(),
        "content_type": stored.record.content_type,
    }
    try:
        parts = islice(parse_form(stored.file, stored.record.content_type), _LISTED)
        fields = [
            {
                "name": part.name,
                "filename": part.filename,
                "content_type": part.content_type,
                "length": part.length,
            }
            for part in parts
        ]
    except ValueError as exc:
        described["error"] = str(exc)
    else:
        if fields:
            described["fields"] = fields
    return json.dumps(described)
