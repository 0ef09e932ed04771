"""How a command sends: options as they were written, to a facade's arguments."""

from __future__ import annotations

import contextlib
import getpass
import shlex
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import Watcher
from .fields import Mistake, parse_headers
from .quantities import parse_seconds, parse_size

if TYPE_CHECKING:
    from ..facade import StoreArgument
    from ..flow import RequestInfo


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
