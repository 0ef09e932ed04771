"""The receiver's side of draft-ietf-httpbis-resumable-upload ("RUFH").

Section numbers are those of draft -12. Only the 104 depends on the interop
version of a request: it is sent if we speak that version, and carries it.
"""

from __future__ import annotations

import json
import time

from ..structured_fields import parse_boolean, parse_integer, spell_boolean
from .behaviour import Behaviour, Rule
from .http1 import Answer, Exchange, Head
from .site import Site, replay
from .storage import Stored

VERSION = "upload-draft-interop-version"
PARTIAL = "application/partial-upload"

_PROBLEM = "https://iana.org/assignments/http-problem-types#"
_NO_STORE = {"cache-control": "no-store"}


def dialect_of(head: Head) -> str:
    """Return the interop version of a request, ``"rfc"`` if it names none."""
    value = head.headers.get(VERSION)
    if value is None:
        return "rfc"
    version = parse_integer(value)
    return "unknown" if version is None else str(version)


def completes(head: Head) -> bool | None:
    """Return what a request says of its content: that it reaches the end, or not."""
    complete = parse_boolean(head.headers.get("upload-complete"))
    if complete is None:
        # Interop version 3's field, of the opposite sense.
        incomplete = parse_boolean(head.headers.get("upload-incomplete"))
        return None if incomplete is None else not incomplete
    return complete


class RUFH:
    """Serves one request to a target or upload resource."""

    def __init__(self, site: Site, exchange: Exchange, rule: Rule) -> None:
        self._site, self._exchange, self._rule = site, exchange, rule
        self._behaviour: Behaviour = site.behaviour
        self._head = exchange.head
        self._dialect = dialect_of(exchange.head)

    def target(self) -> Answer | None:
        """Answer a request to a target resource; None: it is a plain one."""
        if self._head.method == "OPTIONS":
            return self._options()
        complete = completes(self._head)
        if complete is None:
            return None
        return self._create(complete)

    def resource(self, stored: Stored) -> Answer:
        """Answer a request to the upload resource *stored*."""
        with stored.held(self._exchange, self._behaviour.concurrency) as mine:
            finished = stored.complete and self._behaviour.completed == "gone"
            if stored.record.gone or finished:
                return self.gone()
            if not mine:
                return self._held_elsewhere()
            match self._head.method:
                case "HEAD":
                    return self._offset(stored)
                case "GET" if stored.record.final is not None:
                    return self._final(stored)
                case "GET":
                    return self._offset(stored)
                case "PATCH":
                    return self._append(stored)
                case "DELETE":
                    stored.remove()
                    return Answer(204)
                case _:
                    return Answer(405, {"allow": "HEAD, GET, PATCH, DELETE"})

    def gone(self) -> Answer:
        """Answer for an upload resource that is not there."""
        return Answer(self._behaviour.gone_status, self._incomplete() | _NO_STORE)

    def _options(self) -> Answer:
        spoken = self._behaviour.dialects
        named = self._dialect if self._dialect in spoken else spoken[0]
        headers = {"allow": "OPTIONS, POST, PUT, PATCH"}
        headers |= self._limits(None)
        if named != "rfc":
            headers[VERSION] = named
        return Answer(self._behaviour.options_status or 200, headers)

    def _create(self, complete: bool) -> Answer:
        behaviour, head = self._behaviour, self._head
        length = parse_integer(head.headers.get("upload-length"))
        carried = head.content_length
        if complete and carried is not None:
            if length not in (None, carried):
                return self._inconsistent()
            length = carried
        if _exceeds(length, behaviour.max_size):
            return Answer(413, self._incomplete() | self._limits(None))
        if length is not None and length < (behaviour.min_size or 0):
            return Answer(400, self._incomplete() | self._limits(None))
        stored = self._site.storage.create(
            "rufh",
            head.path,
            length,
            head.headers.get("content-type"),
            metadata=head.headers.get("content-disposition", ""),
            max_age=behaviour.max_age,
        )
        self._exchange.upload = stored.record.id
        location = {"location": self._site.location(self._exchange, stored)}
        if carried != 0:
            self._interim(location | self._limits(stored))
        refused = self._refused_size(complete)
        if refused is not None:
            return Answer(refused.status, dict(refused.headers) | location)
        with stored.held(self._exchange, behaviour.concurrency):
            answer = self._take(stored, complete)
        if answer is not None:
            return answer
        headers = self._incomplete() | location | self._limits(stored)
        return Answer(201, headers | self._acknowledged(stored))

    def _append(self, stored: Stored) -> Answer:
        head, behaviour = self._head, self._behaviour
        complete = completes(head)
        offset = parse_integer(head.headers.get("upload-offset"))
        if complete is None or offset is None or offset < 0:
            return self._problem(400, None, "Upload-Offset or Upload-Complete")
        media_type = head.headers.get("content-type", "").partition(";")[0].strip()
        typed = self._dialect not in ("3", "4", "5")
        if typed and media_type.lower() != PARTIAL:
            return Answer(415, self._incomplete() | {"accept-patch": PARTIAL})
        stored.starts(offset)
        carried = head.content_length
        if stored.record.final is not None:
            if carried == 0 and offset == stored.size:
                return self._final(stored)
            if self._dialect in ("6", "7", "8"):
                return self._problem(400, "completed-upload", "it is complete")
        if offset != stored.size and behaviour.wrong_offset == "refuse":
            return self._mismatch(stored, offset)
        if stored.record.final is not None:
            return self._inconsistent()
        length = parse_integer(head.headers.get("upload-length"))
        known = stored.record.length
        if length is not None and known not in (None, length):
            return self._inconsistent()
        if length is not None and known is None:
            stored.save(length=length)
            known = length
        stop = None if carried is None else offset + carried
        if not behaviour.grow and _exceeds(stop, known):
            return self._inconsistent()
        if complete and None not in (stop, known) and stop != known:
            return self._inconsistent()
        refused = self._refused_size(complete)
        if refused is not None:
            return refused
        if _exceeds(stop, behaviour.max_size):
            return Answer(413, self._incomplete() | self._limits(stored))
        start = offset if behaviour.wrong_offset == "hole" else None
        answer = self._take(stored, complete, start)
        if answer is not None:
            return answer
        headers = self._incomplete() | self._limits(stored)
        return Answer(204, headers | self._acknowledged(stored))

    def _take(
        self, stored: Stored, complete: bool, start: int | None = None
    ) -> Answer | None:
        """Take the content in; return the final answer if that was the last."""
        behaviour = self._behaviour
        told = stored.size

        def progress(size: int) -> None:
            nonlocal told
            if size - told >= behaviour.progress_every:
                told = size
                if self._interim({"upload-offset": str(size)}):
                    stored.told(size)

        stored.receive(
            self._exchange,
            start=start,
            share=self._rule.share,
            whole=behaviour.buffering,
            late=behaviour.late,
            progress=None if behaviour.buffering else progress,
        )
        length = stored.record.length
        if not complete or (length is not None and stored.size < length):
            return None
        if length not in (None, stored.size) and not behaviour.grow:
            return self._inconsistent()
        self._site.deliver(stored)
        return self._final(stored)

    def _offset(self, stored: Stored) -> Answer:
        behaviour = self._behaviour
        if stored.complete and behaviour.completed == "head-gone":
            return self.gone()
        headers = {"upload-offset": str(stored.told(stored.shown))}
        headers |= self._state(stored.complete) | self._limits(stored) | _NO_STORE
        if stored.record.length is not None:
            headers["upload-length"] = str(stored.record.length)
        return Answer(behaviour.head_status or 204, headers)

    def _final(self, stored: Stored) -> Answer:
        final = stored.record.final
        assert final is not None
        headers = self._state(True)
        if self._dialect in ("3", "4", "5", "6") and self._head.method != "GET":
            # Clients of those drafts wait for it before they call it a success.
            headers["upload-offset"] = str(stored.size)
        return replay(final, headers)

    def _acknowledged(self, stored: Stored) -> dict[str, str]:
        if not self._behaviour.acknowledge:
            return {}
        return {"upload-offset": str(stored.told(stored.size))}

    def _refused_size(self, complete: bool) -> Answer | None:
        behaviour, carried = self._behaviour, self._head.content_length
        if _exceeds(carried, behaviour.max_append_size):
            return Answer(413, self._incomplete() | self._limits(None))
        smallest = behaviour.min_append_size or 0
        if not complete and carried and carried < smallest:
            return Answer(400, self._incomplete() | self._limits(None))
        return None

    def _interim(self, headers: dict[str, str]) -> bool:
        """Send a 104, if that is allowed; whether it was."""
        behaviour = self._behaviour
        if not behaviour.interims or self._dialect not in behaviour.dialects:
            return False
        if self._dialect != "rfc":
            headers = headers | {VERSION: self._dialect}
        self._exchange.interim(104, headers)
        return True

    def _limits(self, stored: Stored | None) -> dict[str, str]:
        behaviour = self._behaviour
        limits = {
            "min-size": behaviour.min_size,
            "max-size": behaviour.max_size,
            "min-append-size": behaviour.min_append_size,
            "max-append-size": behaviour.max_append_size,
            "expires" if self._dialect == "6" else "max-age": _age(behaviour, stored),
        }
        spelled = [f"{k}={v}" for k, v in limits.items() if v is not None]
        return {"upload-limit": ", ".join(spelled) or "min-size=0"}

    def _state(self, complete: bool) -> dict[str, str]:
        if self._dialect == "3":
            return {"upload-incomplete": spell_boolean(not complete)}
        return {"upload-complete": spell_boolean(complete)}

    def _incomplete(self) -> dict[str, str]:
        return self._state(False)

    def _inconsistent(self) -> Answer:
        return self._problem(400, "inconsistent-upload-length", "lengths differ")

    def _mismatch(self, stored: Stored, offset: int) -> Answer:
        expected = stored.told(stored.size)
        answer = self._problem(
            409,
            "mismatching-upload-offset",
            "offset mismatch",
            {"expected-offset": expected, "provided-offset": offset},
        )
        headers = dict(answer.headers) | {"upload-offset": str(expected)}
        return Answer(409, headers, answer.content)

    def _problem(
        self,
        status: int,
        kind: str | None,
        title: str,
        members: dict[str, int] | None = None,
    ) -> Answer:
        document: dict[str, object] = {"title": title, "status": status}
        if kind is not None:
            document["type"] = _PROBLEM + kind
        content = json.dumps(document | (members or {})).encode()
        headers = {"content-type": "application/problem+json"}
        return Answer(status, headers | self._incomplete(), content)

    def _held_elsewhere(self) -> Answer:
        status = 409 if self._head.method == "PATCH" else 503
        return Answer(status, self._incomplete() | {"retry-after": "1"})


def _exceeds(size: int | None, limit: int | None) -> bool:
    return size is not None and limit is not None and size > limit


def _age(behaviour: Behaviour, stored: Stored | None) -> int | None:
    if stored is None or stored.record.expires is None:
        return behaviour.max_age
    return max(0, int(stored.record.expires - time.time()))
