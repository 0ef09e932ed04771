"""What both facades are: checked arguments and a state, without a driver.

The constructor checks and does no I/O; sending is the drivers' business.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from .arguments import (
    Arguments,
    Content,
    Headers,
    HeadersCallable,
    Replay,
    SameFile,
    checked,
    stored,
)
from .errors import InvalidParameter, origin_of
from .flow import Request, RequestInfo, Timeouts
from .performing import Kept, OneAtATime
from .plan import Params
from .progress import Event, Progress
from .protocols import UploadProtocol
from .retry import RetryPolicy
from .stores import DEFAULT, Default, MemoryStore, StateStore, checked_store
from .transport import HttpClient, Waker, check_auth
from .upload import Upload

StoreArgument = StateStore | str | Path | None | Default


class UploadFacade:
    """One upload that survives bad links, crashes and reboots.

    Run it again and it resumes: target and content identify it, or *key*.
    Sizes are bytes, times seconds.

    Args:
        target: absolute http or https URL of the resource that gets the upload.
        params: a form: a mapping or pairs of names and values. A value is str,
            bytes, int, ``Path``, an open binary file (from its position on),
            ``MultipartParam``, ``(filename, content[, type])``, or a list of those.
        content: instead of *params*, a raw representation.
        content_type: media type of *content*.
        metadata: names and values that describe *content*, where the protocol
            carries them (tus).
        method: of the creation, and of a plain request.
        headers: for every request to the target's origin; or a callable that is
            asked before each request, and once more after a 401.
        auth: for the same origin; whatever the client takes.
        protocol: ``"auto"`` asks the server; or a name; or an instance.
        require_resumable: refuse servers that speak nothing resumable.
        client: an httpx or httpx2 client, used as it is; None shares one of ours.
        store: where the state is kept: a directory, a store, or None for nowhere.
        key: identifies the upload instead of target and content.
        on_change: what a changed file means for an unfinished upload.
        on_gone: what a forgotten upload resource means.
        replay: whether a plain request that broke may be started over.
        same_file: how strictly a file must be the planned one.
        chunk_size: the most bytes in one append; None: the rest, and less on
            links that lose it.
        retry: how patient to be; see ``RetryPolicy``.
        timeouts: of each request; see ``Timeouts``.
        deadline: seconds that one ``send()`` may take.
        wait: seconds to wait while another process sends this upload; what comes
            of it there is returned here too.
        trusted_origins: further origins that may see the credentials.
        on_event: told what happens; an exception in it stops the upload.
        on_progress: told how far it is, at most ten times a second.

    Raises:
        InvalidParameter: an argument cannot be used; the message names it.
    """

    #: Whether a client's ``send()`` has to be awaited.
    _awaited: ClassVar[bool] = False

    def __init__(
        self,
        target: str,
        params: Params | None = None,
        *,
        content: Content | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        method: str = "POST",
        headers: Headers | HeadersCallable | None = None,
        auth: Any = None,
        protocol: str | UploadProtocol = "auto",
        require_resumable: bool = False,
        client: HttpClient | None = None,
        store: StoreArgument = DEFAULT,
        key: str | None = None,
        on_change: Literal["raise", "restart"] = "raise",
        on_gone: Literal["recreate", "raise"] = "recreate",
        replay: Replay = "never",
        same_file: SameFile = "strict",
        chunk_size: int | None = None,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        deadline: float | None = None,
        wait: float = 0,
        trusted_origins: Collection[str] = (),
        on_event: Callable[[Event], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        check_auth(auth)
        arguments = checked(
            target,
            params,
            content=content,
            content_type=content_type,
            metadata=metadata,
            method=method,
            headers=headers,
            auth=auth,
            protocol=protocol,
            require_resumable=require_resumable,
            key=key,
            on_change=on_change,
            on_gone=on_gone,
            replay=replay,
            same_file=same_file,
            chunk_size=chunk_size,
            retry=retry or RetryPolicy(),
            timeouts=timeouts or Timeouts(),
            deadline=deadline,
            wait=wait,
            trusted_origins=trusted_origins,
            on_event=on_event,
            on_progress=on_progress,
        )
        self._prepare(arguments, client, store)

    def _prepare(
        self, arguments: Arguments, client: HttpClient | None, store: StoreArgument
    ) -> None:
        if client is not None:
            _check_client(client, awaited=self._awaited)
        self._arguments, self._client = arguments, client
        # Nothing is kept by None, but this object's own state until it is done.
        self._store = MemoryStore() if store is None else checked_store(store)
        self._sending = OneAtATime()
        self._waker = Waker()
        self._kept = Kept()

    @classmethod
    def load(
        cls,
        upload_id: str,
        *,
        client: HttpClient | None = None,
        headers: Headers | HeadersCallable | None = None,
        auth: Any = None,
        store: StoreArgument = DEFAULT,
        protocol: UploadProtocol | None = None,
        **others: Any,
    ) -> Self:
        """Return the upload that is kept under *upload_id*, to go on with it.

        Nothing is read before ``send()``. Credentials are never stored: give
        *headers* and *auth* anew; an instance as *protocol*, if the upload was
        begun with a protocol of your own. *others* are parameters of the
        constructor that say how to send: ``chunk_size``, ``retry``,
        ``timeouts``, ``deadline``, ``wait``, ``on_gone``, ``replay``,
        ``trusted_origins``, ``on_event``, ``on_progress``.

        Raises:
            InvalidParameter: an argument cannot be used.
        """
        check_auth(auth)
        self = cls.__new__(cls)
        arguments = stored(upload_id, protocol, headers=headers, auth=auth, **others)
        self._prepare(arguments, client, store)
        return self

    @property
    def state(self) -> Upload | None:
        """The upload as it was last known here; None before the first send."""
        return self._kept.upload

    def pause(self) -> None:
        """Make a running ``send()`` raise ``UploadPaused`` soon.

        Safe in a signal handler and from any thread. Without a running send
        nothing happens.
        """
        self._waker.wake()


def _check_client(client: object, *, awaited: bool) -> None:
    send = getattr(client, "send", None)
    if not callable(send):
        raise InvalidParameter(
            f"client: {type(client).__name__} is neither an httpx nor an httpx2 client"
        )
    kinds = {each.__name__ for each in type(client).__mro__}
    if not awaited and "AsyncClient" in kinds:
        kind, remedy = "async", "AsyncResumableUpload, or a client of client()"
    elif awaited and "Client" in kinds:
        kind, remedy = "blocking", "ResumableUpload, or a client of async_client()"
    else:
        return
    raise InvalidParameter(f"client: this one is {kind}; use {remedy}")


def request_info(request: Request) -> RequestInfo:
    """Return what a headers callable is told about *request*."""
    return RequestInfo(
        request.method,
        origin_of(request.url),
        request.purpose,
        request.attempt,
        request.rejected,
    )
