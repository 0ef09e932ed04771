"""A target resource that knows nothing of resuming: one request, one answer.

Content that breaks off is forgotten. A request with an ``Idempotency-Key``
that has been seen is answered as before, and not taken in again.
"""

from __future__ import annotations

from .behaviour import Behaviour, Rule
from .http1 import Answer, Exchange
from .site import Site, replay


class Plain:
    """Serves one request to a plain target resource."""

    def __init__(self, site: Site, exchange: Exchange, rule: Rule) -> None:
        self._site, self._exchange, self._rule = site, exchange, rule
        self._behaviour: Behaviour = site.behaviour

    def target(self) -> Answer:
        """Answer a request: content is taken in whole, or not at all."""
        match self._exchange.head.method:
            case "POST" | "PUT" | "PATCH":
                return self._take()
            case "OPTIONS":
                status = self._behaviour.options_status or 204
                return Answer(status, {"allow": "OPTIONS, POST, PUT, PATCH"})
            case _:
                return Answer(405, {"allow": "OPTIONS, POST, PUT, PATCH"})

    def _take(self) -> Answer:
        head, behaviour = self._exchange.head, self._behaviour
        key = head.headers.get("idempotency-key")
        known = None if key is None else self._site.keys.get(key)
        if known is not None and known.record.final is not None:
            self._exchange.upload = known.record.id
            self._exchange.discard()
            return replay(known.record.final, {})
        carried = head.content_length
        if None not in (carried, behaviour.max_size) and (carried or 0) > (
            behaviour.max_size or 0
        ):
            return Answer(413)
        stored = self._site.storage.create(
            "oneshot",
            head.path,
            carried,
            head.headers.get("content-type"),
            resumable=False,
        )
        self._exchange.upload = stored.record.id
        try:
            stored.receive(self._exchange, share=self._rule.share)
            if carried in (None, stored.size):
                final = self._site.deliver(stored, status=200)
                if key is not None:
                    self._site.keys[key] = stored
                return replay(final, {})
        finally:
            if not stored.complete:
                stored.remove()
        # Success is claimed, though nothing was kept.
        return Answer(200)
