"""Clients with our transport inside, built like any other httpx client.

What the fast path cannot do goes to the transports that httpx itself would
have used, built from the same arguments: requests through proxies, HTTP/2.
"""

from __future__ import annotations

import atexit
import copy
import functools
import os
import ssl
import weakref
from typing import TYPE_CHECKING, Any

from ..errors import InvalidParameter
from ..ranges import ByteRange
from .asynchronous import AsyncSegmentTransport
from .blocking import SegmentTransport
from .family import Family, FamilyName, HttpClient, family_of
from .family import family as family_named
from .proxies import environment_proxies
from .stream import OnInformational, Segments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

    from ..plan import Plan

# Clients that show interim responses, whatever URL they are asked for.
_showing: weakref.WeakSet[Any] = weakref.WeakSet()
_shared: tuple[int, httpx.Client] | None = None


def client(*, family: FamilyName = "httpx", **kwargs: Any) -> httpx.Client:
    """Return an ``httpx.Client`` with our transport inside.

    It takes what ``httpx.Client`` takes, to the same effect. With
    ``transport=`` it is an ordinary client: that transport gets everything.
    *family* ``"httpx2"`` makes a client of that package instead.

    Raises:
        InvalidParameter: the family is not installed, or an argument is one of
            an older httpx.
    """
    named = family_named(family)
    built: httpx.Client = _built(
        named, named.lib.Client, SegmentTransport, named.lib.HTTPTransport, kwargs
    )
    return built


def async_client(*, family: FamilyName = "httpx", **kwargs: Any) -> httpx.AsyncClient:
    """Return an ``httpx.AsyncClient`` with our transport inside; see ``client()``."""
    named = family_named(family)
    built: httpx.AsyncClient = _built(
        named,
        named.lib.AsyncClient,
        AsyncSegmentTransport,
        named.lib.AsyncHTTPTransport,
        kwargs,
    )
    return built


def _built(
    family: Family,
    client_class: Any,
    transport_class: Any,
    proxied_class: Any,
    kwargs: dict[str, Any],
) -> Any:
    if kwargs.get("transport") is not None:
        return client_class(**kwargs)
    for old in ("proxies", "app"):
        if old in kwargs:
            raise InvalidParameter(f"{old}: httpx has no such argument; use proxy=")
    proxy = kwargs.pop("proxy", None)
    mounts = kwargs.pop("mounts", None) or {}
    trust_env = kwargs.get("trust_env", True)
    given: dict[str, Any] = {"trust_env": trust_env}
    for name in ("http1", "http2", "limits"):
        if name in kwargs:
            given[name] = kwargs.pop(name)
    verify, cert = kwargs.pop("verify", True), kwargs.pop("cert", None)
    if verify is True and cert is None and not given.get("http2"):
        # Not shared with HTTP/2: protocols are negotiated by the context.
        verify = _shared_context(family, trust_env=trust_env)
    elif not isinstance(verify, ssl.SSLContext) or cert is not None:
        verify = family.lib.create_ssl_context(
            verify=verify, cert=cert, trust_env=trust_env
        )
    given["verify"] = verify
    proxies: Mapping[str, Any] = {}
    if proxy is not None:
        proxies = {"all://": proxy}
    elif trust_env:
        proxies = environment_proxies()
    routes: dict[str, Any] = {
        pattern: None if proxy is None else proxied_class(proxy=proxy, **given)
        for pattern, proxy in proxies.items()
    }
    routes.update(mounts)
    transport = transport_class(family=family.name, **given)
    built = client_class(transport=transport, mounts=routes, **kwargs)
    if transport.direct and not any(routes.values()):
        _showing.add(built)
    return built


def _shared_context(family: Family, *, trust_env: bool) -> ssl.SSLContext:
    # Reading the certificates takes 20 ms: once per process is enough, as long
    # as the environment says the same.
    variables = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
    said = tuple(os.environ.get(each) for each in variables)
    return _default_context(family, said if trust_env else None)


@functools.lru_cache(maxsize=4)
def _default_context(
    family: Family, environment: tuple[str | None, ...] | None
) -> ssl.SSLContext:
    context: ssl.SSLContext = family.lib.create_ssl_context(
        trust_env=environment is not None
    )
    return context


def shared_client() -> httpx.Client:
    """Return the one blocking client of this process, made at first use."""
    global _shared
    if _shared is None or _shared[0] != os.getpid():
        _shared = os.getpid(), client()
        atexit.register(_shared[1].close)
    return _shared[1]


def own_cookies(client: httpx.Client) -> httpx.Client:
    """Return *client*, connections and all, with a cookie jar of its own.

    Uploads of one process may be different users' business: none may show what
    another one's server has set.
    """
    own = copy.copy(client)
    own.cookies = {}
    if client in _showing:
        _showing.add(own)
    return own


def shows_interims(client: object) -> bool:
    """Return whether *client* lets interim responses be seen, on its way to any URL.

    So not with HTTP/2 or a proxy, and not with clients that are not ours.
    """
    return client in _showing


def segment_request(
    client: HttpClient,
    method: str,
    url: str,
    content: bytes | Plan,
    wanted: ByteRange | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    expect: float = 0,
    withhold: int = 0,
    repeatable: bool = False,
    on_informational: OnInformational | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Any:
    """Return a request of *client*'s family that sends *content*, or a range of it.

    Send it with ``client.send(request)``; the response is an ordinary one. A
    plan's media type becomes the Content-Type. *expect* waits so many seconds
    for 100 Continue; *repeatable* permits sending again when a kept connection
    turns out to be closed. For the other parameters see ``SegmentStream``. Auth
    that signs the content, and a hook that reads it, has all of it in memory.
    """
    family = family_of(client)
    stream_class = family.derive(Segments, "SyncByteStream", "AsyncByteStream")
    stream = stream_class(
        content,
        wanted,
        expect=expect,
        withhold=withhold,
        repeatable=repeatable,
        on_informational=on_informational,
        on_progress=on_progress,
    )
    said = {"content-length": str(stream.length)}
    if not isinstance(content, bytes):
        said["content-type"] = content.content_type
    if expect and stream.length:
        said["expect"] = "100-continue"
    builder: Any = client
    said |= {name.lower(): value for name, value in (headers or {}).items()}
    built = builder.build_request(method, _parsed(family, url), headers=said)
    # Not that one with another stream: its content is known to be empty, and
    # that is what auth that signs the content would sign.
    return family.lib.Request(
        built.method,
        built.url,
        headers=built.headers,
        stream=stream,
        extensions=built.extensions,
    )


@functools.lru_cache(maxsize=8)
def _parsed(family: Family, url: str) -> Any:
    # Many small forms go to one place: reading its URL each time is a good part
    # of what one costs.
    return family.lib.URL(url)
