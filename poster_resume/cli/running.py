"""One upload run for the command line: options to a facade, an end to a code."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..console import Console, counted, spell_size
from ..errors import (
    ConnectError,
    UploadError,
    UploadPaused,
    UploadRejected,
    redacted,
)
from .ending import told
from .failures import DONE, explained, in_options
from .interruption import Interruption
from .manner import Manner

if TYPE_CHECKING:
    from ..opening import Assumption
    from ..performing import Outcome
    from ..progress import Event
    from ..responses import FinalResponse
    from ..sender import ResumableUpload
    from ..upload import Upload


class Run:
    """One command's run: its console, and what a signal does to it."""

    def __init__(self, console: Console, interruption: Interruption) -> None:
        self.console, self._interruption = console, interruption

    @property
    def interrupted(self) -> bool:
        """Whether a signal came."""
        return self._interruption.signum is not None

    def send(
        self,
        make: Callable[[dict[str, Any]], ResumableUpload],
        manner: Manner,
        *,
        assume: Assumption | None = None,
    ) -> int:
        """Send what *make* returns for keyword arguments; return the exit code."""
        code, outcome, cuts = self.attempt(make, manner, assume=assume)
        if outcome is not None:
            self._succeeded(outcome, cuts)
        return code

    def attempt(
        self,
        make: Callable[[dict[str, Any]], ResumableUpload],
        manner: Manner,
        *,
        assume: Assumption | None = None,
        on_event: Callable[[Event], None] | None = None,
        go_on: str | None = None,
    ) -> tuple[int, Outcome | None, int]:
        """Send, and tell of a failure; return exit code, outcome and cuts survived.

        *on_event* is told what happens, too; *go_on* is the command that goes on.
        """
        upload: ResumableUpload | None = None
        cuts = 0
        try:
            with (
                self.console.watching() as watcher,
                manner.arguments(watcher) as given,
            ):

                def observe(event: Event) -> None:
                    # From here on there is something to pause.
                    assert upload is not None
                    self._interruption.sending(upload.pause)
                    message = in_options(event.message)
                    watcher.on_event(replace(event, message=message))
                    if on_event is not None:
                        on_event(event)

                given["on_event"] = observe
                upload = make(given)
                try:
                    outcome = upload.send(assume=assume)
                finally:
                    self._interruption.idle()
                    cuts = watcher.cuts
        except UploadError as error:
            return self.failed(error, manner, upload, go_on=go_on), None, cuts
        except KeyboardInterrupt:
            return self._stopped(upload, manner, go_on), None, cuts
        return DONE, outcome, cuts

    @contextlib.contextmanager
    def pausing(self, pause: Callable[[], None]) -> Iterator[None]:
        """While this is entered, a signal calls *pause*."""
        self._interruption.sending(pause)
        try:
            yield
        finally:
            self._interruption.idle()

    def failed(
        self,
        error: UploadError,
        manner: Manner,
        upload: ResumableUpload | None = None,
        *,
        go_on: str | None = None,
    ) -> int:
        """Tell what *error* means, and return the exit code."""
        state = None if upload is None else upload.state
        if manner.no_state or (state is not None and not state.plan_digest):
            # Nobody can go on with it by its id: that would only mislead.
            error.upload_id = None
        failure = explained(
            error,
            go_on=go_on or manner.go_on(),
            unfinished=state is not None and not state.complete,
        )
        if isinstance(error, ConnectError) and (proxy := _proxy(manner)):
            told_of = f"it may be the proxy that is not there: {proxy}"
            failure = replace(failure, remedies=(told_of, *failure.remedies))
        if isinstance(error, UploadPaused):
            said = "paused before anything was sent"
            if state is not None:
                said = f"paused; the server has {spell_acknowledged(state)}"
            failure = replace(failure, code=self._interruption.code)
            return told(self.console, failure, said=said)
        code = told(self.console, failure)
        if isinstance(error, UploadRejected):
            self._answer(error.response)
        return code

    def _stopped(
        self, upload: ResumableUpload | None, manner: Manner, go_on: str | None
    ) -> int:
        """Say what a signal left that came when there was nothing to pause yet."""
        state = None if upload is None else upload.state
        self.console.say("interrupted before anything was sent")
        if state is not None and state.plan_digest and not manner.no_state:
            command = go_on or manner.go_on()
            self.console.hint("go on with: " + command.format(id=state.id))
        return self._interruption.code

    def _succeeded(self, outcome: Outcome, cuts: int) -> None:
        console, upload = self.console, outcome.upload
        response = outcome.response
        if console.as_json:
            console.emit(
                {
                    "event": "done",
                    "code": DONE,
                    "id": upload.id,
                    "protocol": upload.protocol,
                    "length": upload.length,
                    "verified": outcome.verified,
                    "cuts": cuts,
                    **_described(response),
                }
            )
            return
        survived = f", {counted(cuts, 'cut')} survived" if cuts else ""
        status = f"status {response.status_code}"
        if not response.status_code:
            status = "taken for complete"
        console.say(f"done: {spell_size(upload.length or 0)}, {status}{survived}")
        self._answer(response)

    def _answer(self, response: FinalResponse) -> None:
        console = self.console
        if console.as_json:
            console.emit({"event": "answer", **_described(response)})
            return
        console.answer(response.content)
        if response.truncated and response.status_code:
            console.say("the answer is longer; only its beginning was kept")


def spell_acknowledged(upload: Upload) -> str:
    """Return how much of *upload* the server has, for people.

    It may have more: what arrived after its last acknowledgement is known only
    once it is asked again.
    """
    if upload.complete or upload.phase == "new":
        return spell_size(upload.offset)
    of = "" if upload.length is None else f" of {spell_size(upload.length)}"
    if not upload.offset:
        return f"not said how much{of} it has"
    return f"at least {spell_size(upload.offset)}{of}"


def _proxy(manner: Manner) -> str | None:
    """Return where the proxy is that a connection may go through, if one is set."""
    if manner.proxy is not None:
        return redacted(manner.proxy)
    from urllib.request import getproxies_environment

    named = getproxies_environment()
    return next(
        (redacted(named[n]) for n in ("all", "https", "http") if n in named), None
    )


def _described(response: FinalResponse) -> dict[str, object]:
    """Return *response* for JSON: no headers, they may hold addresses and cookies."""
    record: dict[str, object] = {
        "status": response.status_code,
        "content_type": response.headers.get("content-type"),
        "truncated": response.truncated,
    }
    try:
        record["body"] = response.content.decode("utf-8")
    except UnicodeDecodeError:
        record["body_base64"] = base64.b64encode(response.content).decode("ascii")
    return record
