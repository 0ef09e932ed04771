"""One request at a receiver, from its head to its answer.

Who answers is decided here: a hook, a rule of the script, the check of
credentials, or the protocol that the path stands for. The request is noted
before its answer leaves, so whoever has an answer finds it in the log.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from .behaviour import Rule
from .forms import Plain
from .http1 import Answer, ConnectionLost, EarlyAnswer, Exchange, Head
from .observed import RequestSeen
from .rufh import RUFH, completes
from .site import UPLOADS, Site
from .storage import Stored
from .tus import Tus, method_of


class Service:
    """Serves one request.

    *on_request* may answer instead; *take_rule* gives the rule of the script
    for it; *catch_up* waits until what came on older connections is known.
    """

    def __init__(
        self,
        site: Site,
        exchange: Exchange,
        on_request: Callable[[Head], Answer | None] | None,
        take_rule: Callable[[Head, str, bool], Rule],
        catch_up: Callable[[], None],
    ) -> None:
        self._site, self._exchange, self._head = site, exchange, exchange.head
        self._on_request, self._take_rule = on_request, take_rule
        self._catch_up = catch_up

    def run(self) -> None:
        """Serve it, to the end of the exchange."""
        exchange = self._exchange
        exchange.came = self._site.came
        try:
            answer = self._answer()
        except ConnectionLost:
            self._note(None)
            return
        self._note(answer)
        exchange.answer(answer)

    def _answer(self) -> Answer:
        head, site, exchange = self._head, self._site, self._exchange
        if self._on_request is not None:
            answer = self._on_request(head)
            if answer is not None:
                return answer
        if head.path.startswith(UPLOADS):
            self._catch_up()
        stored = site.upload(head.path)
        if stored is not None:
            exchange.upload = stored.record.id
        rule = self._take_rule(head, method_of(head), _completing(head, stored))
        if rule.delay:
            exchange.connection.busy = False
            exchange.connection.stopped.wait(rule.delay)
        if rule.forget and stored is not None:
            stored.remove()
            stored = None
        early = rule.changed(Answer(rule.status or 500))
        exchange.stop_at = rule.after
        if rule.instead:
            with contextlib.suppress(EarlyAnswer):
                exchange.discard()
            return early
        allowed = site.allowance(head.headers.get("authorization"))
        if allowed == 0:
            return _unauthorized()
        if allowed is not None and (rule.after is None or allowed <= rule.after):
            exchange.stop_at, early = allowed, _unauthorized()
        try:
            return rule.changed(self._served(rule, stored))
        except EarlyAnswer:
            return early

    def _served(self, rule: Rule, stored: Stored | None) -> Answer:
        site, exchange, path = self._site, self._exchange, self._head.path
        if path.startswith(UPLOADS):
            speaks_tus = "tus-resumable" in self._head.headers
            if stored is None:
                protocol = Tus if speaks_tus else RUFH
                return protocol(site, exchange, rule).gone()
            if stored.record.protocol == "tus":
                return Tus(site, exchange, rule).resource(stored)
            return RUFH(site, exchange, rule).resource(stored)
        if path.startswith("/tus"):
            return Tus(site, exchange, rule).target()
        if path.startswith("/rufh"):
            answer = RUFH(site, exchange, rule).target()
            if answer is not None:
                return answer
        elif not path.startswith("/form"):
            return Answer(404)
        return Plain(site, exchange, rule).target()

    def _note(self, answer: Answer | None) -> None:
        exchange = self._exchange
        self._site.note(
            RequestSeen(
                method=self._head.method,
                path=self._head.path,
                headers=self._head.headers,
                received=exchange.received,
                status=None if answer is None else answer.status,
                sent=answer is not None and answer.ending != "drop",
                interims=exchange.interims,
                connection=exchange.connection.number,
                upload=exchange.upload,
            )
        )


def _completing(head: Head, stored: Stored | None) -> bool:
    """Whether a request reaches the end of its upload, if all goes well."""
    if "tus-resumable" in head.headers:
        carried = head.content_length or 0
        if stored is None:
            length = head.headers.get("upload-length")
            return head.method == "POST" and length == str(carried)
        offset = head.headers.get("upload-offset", "")
        end = int(offset) + carried if offset.isdecimal() else None
        return end is not None and end == stored.record.length
    stated = completes(head)
    if stated is not None:
        return stated
    return head.method in ("POST", "PUT", "PATCH")


def _unauthorized() -> Answer:
    return Answer(401, {"www-authenticate": 'Bearer realm="receiver"'})
