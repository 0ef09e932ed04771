"""What a caller asked for, checked before anything is done.

Every parameter is judged here, in the constructor of a facade: without I/O,
and with an error that names it and the remedy.
"""

from __future__ import annotations

import inspect
import io
import os
import re
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypeAlias, cast
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from .errors import InvalidParameter
from .flow import RequestInfo, Timeouts
from .media_types import checked_media_type, media_type
from .opening import Assumption, Call
from .plan import Params, Plan
from .progress import Event, Progress
from .protocols import Oneshot, UploadProtocol, protocol_named
from .retry import RetryPolicy
from .session import Rules

Headers: TypeAlias = Mapping[str, str]
HeadersCallable: TypeAlias = Callable[[RequestInfo], "Headers | Awaitable[Headers]"]
SameFile: TypeAlias = Literal["strict", "size+mtime", "sha256"]
Replay: TypeAlias = Literal["never", "incomplete", "always"]
RawContent: TypeAlias = Path | bytes | BinaryIO
Content: TypeAlias = RawContent | Plan

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
# RFC 9110, 5.5; what is beyond ASCII has no agreed meaning there.
_VALUE: Final = re.compile(r"([\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?)?")
_LOADABLE: Final = frozenset(
    {
        "chunk_size",
        "deadline",
        "on_event",
        "on_gone",
        "on_progress",
        "replay",
        "retry",
        "timeouts",
        "trusted_origins",
        "wait",
    }
)
_OURS: Final = frozenset(
    {
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "expect",
        "connection",
    }
)


@dataclass(frozen=True)
class Arguments:
    """The checked arguments of one facade; see ``ResumableUpload`` for each."""

    target: str
    params: Params | None = None
    content: Content | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    headers: Headers | HeadersCallable = field(default_factory=dict)
    auth: Any = None  # whatever the client's family of httpx takes
    protocol: UploadProtocol | None = None
    require_resumable: bool = False
    key: str | None = None
    on_change: Literal["raise", "restart"] = "raise"
    on_gone: Literal["recreate", "raise"] = "recreate"
    replay: Replay = "never"
    same_file: SameFile = "strict"
    chunk_size: int | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeouts: Timeouts = field(default_factory=Timeouts)
    deadline: float | None = None
    wait: float = 0
    trusted_origins: Collection[str] = ()
    on_event: Callable[[Event], None] | None = None
    on_progress: Callable[[Progress], None] | None = None
    upload_id: str | None = None

    def call(self, new_id: str, assume: Assumption | None) -> Call:
        """Return what opening needs to know.

        Raises:
            InvalidParameter: *assume* is not one of the two.
        """
        # Whatever is not "complete" would start over: no slip of the pen may.
        if assume is not None:
            _choice("assume", assume, ("complete", "lost"))
        metadata = self.metadata
        if self.params is not None:
            if self.protocol is not None and self.protocol.form == "file":
                metadata = file_of_form(self.params)[2]
        elif not metadata:
            metadata = _described(self.content, self.content_type)
        return Call(
            target=self.target,
            method=self.method,
            protocol=self.protocol,
            fallback=Oneshot(replay=self.replay),
            form=self.params is not None,
            upload_id=self.upload_id,
            new_id=new_id,
            key=self.key,
            metadata=metadata,
            require_resumable=self.require_resumable,
            on_change=self.on_change,
            wait=self.wait,
            assume=assume,
        )

    def rules(self, *, interims: bool, monotonic: float, closing: int = 0) -> Rules:
        """Return the rules of a session that begins at *monotonic*."""
        return Rules(
            policy=self.retry,
            chunk_size=self.chunk_size,
            timeouts=self.timeouts,
            deadline=None if self.deadline is None else monotonic + self.deadline,
            on_gone=self.on_gone,
            trusted_origins=self.trusted_origins,
            interims=interims,
            refreshable=callable(self.headers),
            closing=closing,
        )


def checked(
    target: str,
    params: Params | None,
    *,
    content: Content | None,
    content_type: str | None,
    metadata: Mapping[str, str] | None,
    headers: Headers | HeadersCallable | None,
    auth: Any,
    protocol: str | UploadProtocol,
    replay: Replay,
    trusted_origins: Collection[str],
    **others: Any,
) -> Arguments:
    """Check what a facade's constructor was given.

    Raises:
        InvalidParameter: something cannot be used; the message says what to do.
    """
    target, auth = _target(target, auth)
    _one_of(params, content)
    if params is not None and (content_type is not None or metadata is not None):
        raise InvalidParameter(
            "content_type and metadata: they go with content=; a form says both itself"
        )
    if content_type is not None:
        checked_media_type(content_type)
    if isinstance(params, Iterator):
        params = tuple(params)  # it is looked at more than once
    _judged({**others, "replay": replay, "trusted_origins": trusted_origins})
    _metadata(metadata)
    method = others.pop("method", "POST")
    if not isinstance(method, str) or not _TOKEN.fullmatch(method):
        raise InvalidParameter(f"method: {method!r} is not an HTTP method")
    return Arguments(
        target,
        params,
        content=content,
        content_type=content_type,
        metadata=metadata or {},
        headers=_headers(headers),
        auth=auth,
        protocol=_protocol(protocol, replay, form=params is not None),
        replay=replay,
        method=method,
        trusted_origins=tuple(trusted_origins),
        **others,
    )


def stored(
    upload_id: str,
    protocol: UploadProtocol | None,
    *,
    headers: Headers | HeadersCallable | None,
    auth: Any,
    **others: Any,
) -> Arguments:
    """Return the arguments that go on with what is kept under *upload_id*.

    Raises:
        InvalidParameter: an argument cannot be used here.
    """
    unknown = set(others) - _LOADABLE
    if unknown:
        raise InvalidParameter(
            f"{', '.join(sorted(unknown))}: not a parameter of load(); "
            "what is sent, and where to, is kept"
        )
    if protocol is not None and not isinstance(protocol, UploadProtocol):
        raise InvalidParameter(
            "protocol: give an instance of your own, or leave it out: "
            "what the upload was begun with is kept"
        )
    _judged(others)
    defaults: dict[str, Any] = {"retry": RetryPolicy(), "timeouts": Timeouts()}
    given = {name: value for name, value in others.items() if value is not None}
    return Arguments(
        "",
        protocol=protocol,
        headers=_headers(headers),
        auth=auth,
        upload_id=upload_id,
        **(defaults | given),
    )


def _judged(others: Mapping[str, Any]) -> None:
    _choice("on_change", others.get("on_change", "raise"), ("raise", "restart"))
    _choice("on_gone", others.get("on_gone", "recreate"), ("recreate", "raise"))
    _choice("replay", others.get("replay", "never"), ("never", "incomplete", "always"))
    same_file = others.get("same_file", "strict")
    _choice("same_file", same_file, ("strict", "size+mtime", "sha256"))
    _positive("chunk_size", others.get("chunk_size"))
    if isinstance(others.get("chunk_size"), float):
        raise InvalidParameter("chunk_size: give a whole number of bytes")
    _positive("deadline", others.get("deadline"))
    _kind("key", others.get("key"), str, 'a str, such as "holiday-2026"')
    if others.get("key") == "":
        # Every upload would be the same one, and all but the first never sent.
        raise InvalidParameter("key: it is empty; give a name, or leave it out")
    _kind("retry", others.get("retry"), RetryPolicy, "a RetryPolicy")
    _kind("timeouts", others.get("timeouts"), Timeouts, "a Timeouts")
    for observer in ("on_event", "on_progress"):
        _kind(observer, others.get(observer), Callable, "a callable of one argument")
    wait = others.get("wait", 0)
    if isinstance(wait, bool) or not isinstance(wait, (int, float)) or not wait >= 0:
        raise InvalidParameter(f"wait: {wait!r} is not a number of seconds from 0 on")
    origins = others.get("trusted_origins", ())
    if isinstance(origins, str):
        raise InvalidParameter("trusted_origins: give a list of origins, not one str")
    for origin in origins:
        _http(origin, "trusted_origins")


def _target(target: str, auth: Any) -> tuple[str, Any]:
    parts = _http(target, "target")
    if parts.username is None and parts.password is None:
        return urlunsplit(parts._replace(fragment="")), auth
    netloc = parts.netloc.rpartition("@")[2]
    if auth is None:
        auth = (unquote(parts.username or ""), unquote(parts.password or ""))
    return urlunsplit(parts._replace(netloc=netloc, fragment="")), auth


def _http(url: object, parameter: str) -> SplitResult:
    if not isinstance(url, str):
        raise InvalidParameter(f"{parameter}: give the URL as str")
    remedy = "use an absolute URL such as https://example.org/upload"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidParameter(f"{parameter}: not a URL; {remedy}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidParameter(f"{parameter}: not an http or https URL; {remedy}")
    if any(c <= " " or c == "\x7f" for c in url):
        raise InvalidParameter(
            f"{parameter}: a URL has no spaces or control characters; quote them"
        )
    return parts


def _one_of(params: object, content: object) -> None:
    if (params is None) == (content is None):
        raise InvalidParameter("give exactly one of params (a form) and content")
    if isinstance(content, str):
        raise InvalidParameter(
            "content: str is ambiguous; use Path(...) for a file or .encode() for text"
        )
    if isinstance(content, io.TextIOBase):
        raise InvalidParameter("content: the file is in text mode; open it with 'rb'")
    if isinstance(params, (str, bytes)):
        raise InvalidParameter(
            "params: give a mapping or pairs of names and values; "
            "raw bytes go into content="
        )


def _headers(headers: Headers | HeadersCallable | None) -> Headers | HeadersCallable:
    if headers is None:
        return {}
    if callable(headers):
        return headers
    return given_headers(headers, "headers")


def given_headers(headers: object, who: str) -> dict[str, str]:
    """Return the *headers* that *who* has given, if they may be sent.

    Raises:
        InvalidParameter: they are no mapping, or cannot be sent.
    """
    if inspect.iscoroutine(headers):
        headers.close()
    if inspect.isawaitable(headers):
        raise InvalidParameter(
            "headers: the callable is awaitable; use AsyncResumableUpload, or a "
            "callable that returns the mapping itself"
        )
    if not isinstance(headers, Mapping):
        raise InvalidParameter(
            f"{who}: {type(headers).__name__} is not a mapping of names to values"
        )
    return checked_headers(headers)


def checked_headers(headers: Headers) -> dict[str, str]:
    """Return *headers*, if each may be sent.

    Raises:
        InvalidParameter: a name or value is not one, or is ours to set.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise InvalidParameter(f"headers: {name!r} is not a header name")
        if name.lower() in _OURS or name.lower().startswith(("upload-", "tus-")):
            raise InvalidParameter(
                f"headers: {name} is set by the upload itself; leave it out"
            )
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise InvalidParameter(
                f"headers: the value of {name} is not a str of printable ASCII, "
                "without blanks around it; encode what is not, by RFC 8187 for one"
            )
    return dict(headers)


def _protocol(
    protocol: str | UploadProtocol, replay: Replay, *, form: bool
) -> UploadProtocol | None:
    if protocol == "auto":
        return None
    if isinstance(protocol, str):
        options = {"replay": replay} if protocol == "oneshot" else {}
        protocol = protocol_named(protocol, options)
    if not isinstance(protocol, UploadProtocol):
        raise InvalidParameter(
            f"protocol: {protocol!r} is neither a name nor an UploadProtocol"
        )
    if form and protocol.form is None:
        raise InvalidParameter(
            f"protocol: {protocol.name} stores what it gets as one file; choose "
            'Tus(form="file") to send the form\'s file alone, or '
            'Tus(form="multipart") to store the encoded form'
        )
    return protocol


def _choice(parameter: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidParameter(
            f"{parameter}: {value!r} is not one of {', '.join(allowed)}"
        )


def _kind(parameter: str, value: object, kind: Any, wanted: str) -> None:
    if value is not None and not isinstance(value, kind):
        raise InvalidParameter(f"{parameter}: {type(value).__name__} is not {wanted}")


def _metadata(metadata: object) -> None:
    _kind("metadata", metadata, Mapping, "a mapping of names to values")
    for name, value in cast("Mapping[object, object]", metadata or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidParameter(f"metadata: {name!r} and its value have to be str")


def _positive(parameter: str, value: object) -> None:
    if value is None:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not cast(float, value) > 0:  # nan is not
        raise InvalidParameter(f"{parameter}: {value!r} is not more than 0")


def _described(content: Content | None, content_type: str | None) -> dict[str, str]:
    """Name and type of *content*, as servers of raw uploads like to know them."""
    name = getattr(content, "name", None)
    if isinstance(content, Path):
        name = content.name
    if not isinstance(name, str) or isinstance(content, Plan):
        return {}
    name = os.path.basename(name)
    return {"filename": name, "filetype": content_type or media_type(name)}


def file_of_form(params: Params) -> tuple[RawContent, str | None, dict[str, str]]:
    """Split a form into its one file and its text fields, for ``Tus(form="file")``.

    Returns the content, its media type if there is one to say, and metadata.

    Raises:
        InvalidParameter: there is not exactly one file, or a field is repeated.
    """
    pairs = params.items() if isinstance(params, Mapping) else params
    files: list[tuple[RawContent, str | None, str | None]] = []
    metadata: dict[str, str] = {}
    for pair in pairs:
        name, value = cast("tuple[str, object]", pair)
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            files.append(_file(value))
            continue
        if name in metadata:
            raise InvalidParameter(f"params: {name!r} is repeated; metadata cannot be")
        metadata[str(name)] = str(value)
    if len(files) != 1:
        raise InvalidParameter(
            'params: Tus(form="file") sends exactly one file, '
            f"the form has {len(files)}"
        )
    content, filename, content_type = files[0]
    if filename is not None:
        content_type = content_type or media_type(filename)
        metadata.setdefault("filename", filename)
    if content_type is not None:
        metadata.setdefault("filetype", content_type)
    return content, content_type, metadata


def _file(value: object) -> tuple[RawContent, str | None, str | None]:
    if isinstance(value, tuple) and len(value) in (2, 3):
        content, _, content_type = _file(value[1])
        given = value[2] if len(value) == 3 else content_type
        return content, str(value[0]), given
    if isinstance(value, bytes):
        return value, None, None
    if isinstance(value, Path):
        return value, value.name, None
    if hasattr(value, "read") and not isinstance(value, io.TextIOBase):
        name = getattr(value, "name", None)
        named = os.path.basename(name) if isinstance(name, str) else None
        return cast("BinaryIO", value), named, None
    raise InvalidParameter(
        'params: with Tus(form="file") the file is a Path, bytes or an open binary '
        f"file, not {type(value).__name__}"
    )
