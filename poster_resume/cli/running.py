"""One upload run for the command line: options to a facade, an end to a code."""

from __future__ import annotations

import base64
import contextlib
import errno
import getpass
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import Console, Watcher, counted, spell_size
from ..errors import UploadError, UploadPaused, UploadRejected
from .failures import DONE, FAILED, USAGE, Failure, explained, in_options
from .fields import Mistake, parse_headers
from .interruption import Interruption
from .quantities import parse_seconds, parse_size

if TYPE_CHECKING:
    from ..facade import StoreArgument
    from ..flow import RequestInfo
    from ..opening import Assumption
    from ..performing import Outcome
    from ..progress import Event
    from ..responses import FinalResponse
    from ..sender import ResumableUpload


@dataclass(frozen=True, slots=True)
class Manner:
    """The options of every command that sends: how, not what.

    Sizes and durations are as they were written.
    """

    headers: tuple[str, ...] = ()
    user: str | None = None
    cacert: Path | None = None
    insecure: bool = False
    proxy: str | None = None
    state: Path | None = None
    no_state: bool = False
    retry_for: str | None = None
    deadline: str | None = None
    wait: str | None = None
    chunk_size: str | None = None
    connect_timeout: str | None = None
    answer_timeout: str | None = None
    trusted: tuple[str, ...] = ()

    @property
    def store(self) -> StoreArgument:
        """What ``store=`` takes."""
        from ..stores import DEFAULT

        if self.no_state:
            return None
        return DEFAULT if self.state is None else self.state

    @property
    def has_credentials(self) -> bool:
        """Whether anything here may be secret and meant for one origin."""
        return bool(self.headers) or self.user is not None

    def go_on(self) -> str:
        """Return the command that goes on with an upload, ``{id}`` for its id."""
        if self.state is None:
            return "poster resume {id}"
        state = shlex.quote(str(self.state)).replace("{", "{{").replace("}", "}}")
        return f"poster resume {{id}} --state {state}"

    @contextlib.contextmanager
    def arguments(self, watcher: Watcher | None = None) -> Iterator[dict[str, Any]]:
        """Yield keyword arguments for a facade, its client open meanwhile.

        Raises:
            Mistake: an option cannot be used as given.
        """
        with contextlib.ExitStack() as stack:
            given: dict[str, Any] = {
                "store": self.store,
                "headers": self._headers(),
                "auth": self._auth(),
                "retry": self._retry(),
                "timeouts": self._timeouts(),
                "deadline": seconds("--deadline", self.deadline),
                "wait": seconds("--wait", self.wait) or 0,
                "chunk_size": size("--chunk-size", self.chunk_size),
                "trusted_origins": self.trusted,
                "client": self._client(stack),
            }
            if watcher is not None:
                given["on_event"] = watcher.on_event
                given["on_progress"] = watcher.on_progress
            yield given

    def _headers(self) -> Mapping[str, str] | Callable[[RequestInfo], dict[str, str]]:
        headers = parse_headers(self.headers)
        files = [text for text in self.headers if text.startswith("@")]
        if not files or "@-" in files:
            return headers
        # Read again for each request: whoever renews a token writes it there.
        return lambda info: parse_headers(self.headers)

    def _auth(self) -> tuple[str, str] | None:
        if self.user is None:
            return None
        name, colon, password = self.user.partition(":")
        if colon:
            return name, password
        try:
            with warnings.catch_warnings():
                # It would ask all the same, and show what is typed.
                warnings.simplefilter("error", getpass.GetPassWarning)
                return name, getpass.getpass(f"password of {name}: ")
        except (EOFError, OSError, getpass.GetPassWarning):
            raise Mistake(
                f"--user {name}: there is no terminal to ask for the password; "
                "put 'Authorization: ...' into a file and give it by -H @FILE"
            ) from None

    def _retry(self) -> Any:
        from ..retry import RetryPolicy

        patience = seconds("--retry-for", self.retry_for)
        if patience is None:
            return RetryPolicy()
        import tenacity

        return RetryPolicy(stop=tenacity.stop_after_delay(patience))

    def _timeouts(self) -> Any:
        from ..flow import Timeouts

        given = {
            "connect": seconds("--connect-timeout", self.connect_timeout),
            "answer": seconds("--answer-timeout", self.answer_timeout),
        }
        for name, value in given.items():
            if value is not None and value <= 0:
                raise Mistake(f"--{name}-timeout: must be more than 0 seconds")
        return Timeouts(**{name: v for name, v in given.items() if v is not None})

    def _client(self, stack: contextlib.ExitStack) -> Any:
        if self.cacert is None and not self.insecure and self.proxy is None:
            return None
        import ssl

        from ..transport import client

        options: dict[str, Any] = {}
        if self.insecure:
            options["verify"] = False
        elif self.cacert is not None:
            try:
                options["verify"] = ssl.create_default_context(cafile=self.cacert)
            except ssl.SSLError:
                raise Mistake(
                    f"--cacert {self.cacert}: it holds no certificate in PEM form"
                ) from None
            except OSError as error:
                raise Mistake(f"--cacert {self.cacert}: {error.strerror}") from None
        if self.proxy is not None:
            options["proxy"] = self.proxy
        try:
            return stack.enter_context(client(**options))
        except ValueError:
            # Not quoted: there may be a password in it.
            raise Mistake(
                "--proxy: give a URL such as http://proxy.example.org:3128"
            ) from None
        except ImportError:
            raise Mistake(
                "--proxy: SOCKS needs one more package: pip install 'httpx[socks]'"
            ) from None


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
        failure = explained(error, go_on=go_on or manner.go_on())
        if isinstance(error, UploadPaused):
            offset = 0 if state is None else state.offset
            said = f"paused; the server has {offset:,} bytes"
            if state is None:
                said = "paused before anything was sent"
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


def told(console: Console, failure: Failure, *, said: str | None = None) -> int:
    """Tell people and programs about *failure*; return its exit code.

    *said* replaces the message where nothing is wrong.
    """
    if said is None:
        console.fail(failure.message)
    else:
        console.say(said)
    if said is None or not console.quiet:
        for remedy in failure.remedies:
            console.hint(remedy)
    if console.as_json:
        console.emit(
            {
                "event": "failed" if said is None else "paused",
                "code": failure.code,
                "error": failure.kind,
                "message": failure.message,
                "id": failure.upload_id,
                "resume": failure.resume,
            }
        )
    return failure.code


def guarded(console: Console, command: Callable[[], int]) -> int:
    """Run *command*; whatever a user can cause becomes a sentence and a code."""
    try:
        code = command()
        sys.stdout.flush()
        return code
    except Mistake as mistake:
        return told(console, Failure(USAGE, str(mistake)))
    except UploadError as error:
        return told(console, explained(error))
    except BrokenPipeError:
        # Whoever read standard output has enough. At exit Python would flush it
        # once more, and complain.
        _abandon_stdout()
        return DONE
    except OSError as error:
        _abandon_stdout()
        if error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EBADF):
            console.fail(f"the output cannot be written: {error.strerror}")
        else:
            console.fail(f"{error.strerror or error}")
        return FAILED


def seconds(option: str, text: str | None) -> float | None:
    """Return the seconds that an option was given, None if it was not.

    Raises:
        Mistake: it is no duration.
    """
    try:
        return None if text is None else parse_seconds(text)
    except ValueError as error:
        raise Mistake(f"{option}: {error}") from None


def size(option: str, text: str | None) -> int | None:
    """Return the bytes that an option was given, None if it was not.

    Raises:
        Mistake: it is no size.
    """
    try:
        return None if text is None else parse_size(text)
    except ValueError as error:
        raise Mistake(f"{option}: {error}") from None


def _abandon_stdout() -> None:
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
