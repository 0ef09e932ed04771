"""What both transports decide: which requests go over connections of our own.

Those are requests whose content is a ``SegmentStream``, over HTTP/1.1 straight
to the origin. All others go to the inner transport, which the HTTP client
would have used itself: HTTP/2, proxies, Unix sockets, ordinary content.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import h11

from .connection import Connection, Origin, SocketOption
from .exchange import Exchange
from .family import Family, FamilyName, family
from .kernel import Kernel
from .pool import Pool
from .steps import Failed
from .stream import Segments

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Limits:
    """What is used of ``httpx.Limits``; None: unlimited."""

    connections: int | None
    idle: int | None
    expiry: float | None

    @classmethod
    def of(cls, limits: Any, lib: Any) -> Limits:
        """Take over *limits*; None: httpx's own defaults."""
        if limits is None:
            limits = lib.Limits(max_connections=100, max_keepalive_connections=20)
        idle = limits.max_keepalive_connections
        if limits.max_connections is not None:
            idle = min(limits.max_connections, math.inf if idle is None else idle)
        return cls(limits.max_connections, idle, limits.keepalive_expiry)


class DirectTransport:
    """The part of both transports that does no I/O."""

    def __init__(
        self,
        inner: Any,
        inner_class: str,
        *,
        verify: ssl.SSLContext | str | bool,
        cert: Any,
        trust_env: bool,
        http1: bool,
        http2: bool,
        limits: Any,
        proxy: Any,
        uds: str | None,
        local_address: str | None,
        retries: int,
        socket_options: Iterable[SocketOption] | None,
        family_name: FamilyName,
        kernel: Kernel | None,
    ) -> None:
        self._family: Family = family(family_name)
        lib = self._family.lib
        self._kernel = kernel or Kernel()
        self._context: ssl.SSLContext = (
            verify
            if isinstance(verify, ssl.SSLContext)
            else lib.create_ssl_context(verify=verify, cert=cert, trust_env=trust_env)
        )
        self._local_address = local_address
        self._options: tuple[SocketOption, ...] = tuple(socket_options or ())
        self._limits = Limits.of(limits, lib)
        self._pool = Pool(
            self._kernel,
            max_idle=self._limits.idle,
            max_open=self._limits.connections,
            expiry=self._limits.expiry,
        )
        #: Whether requests may go over connections of our own at all.
        self.direct = http1 and not http2 and proxy is None and uds is None
        if inner is None:
            given = {} if limits is None else {"limits": limits}
            inner = getattr(lib, inner_class)(
                verify=self._context,
                trust_env=trust_env,
                http1=http1,
                http2=http2,
                proxy=proxy,
                uds=uds,
                local_address=local_address,
                retries=retries,
                socket_options=socket_options,
                **given,
            )
        self._inner = inner
        self._retries = retries

    def _ours(self, request: Any) -> bool:
        return (
            self.direct
            and isinstance(request.stream, Segments)
            and request.url.scheme in _PORTS
            and "transfer-encoding" not in request.headers
            and "upgrade" not in request.headers
        )

    def _checked(self, request: Any) -> None:
        """Refuse a Content-Length that isn't the content's (RFC 9110, 8.6)."""
        said = request.headers.get("content-length")
        length = request.stream.length
        if said != str(length) and (length or said is not None):
            raise Failed(
                "LocalProtocolError",
                f"Content-Length is {said}, the content has {length} bytes",
            )

    def _origin(self, request: Any) -> Origin:
        url = request.url
        host = url.raw_host.decode("ascii")
        name = request.extensions.get("sni_hostname") or host
        return Origin(url.scheme, host, url.port or _PORTS[url.scheme], name)

    def _tls(self, origin: Origin) -> ssl.SSLContext | None:
        if origin.scheme != "https":
            return None
        self._context.set_alpn_protocols(["http/1.1"])
        return self._context

    def _exchange(
        self, connection: Connection, request: Any, *, asynchronous: bool
    ) -> Exchange:
        timeouts = request.extensions.get("timeout", {})
        return Exchange(
            connection,
            request.stream,
            progress=_seconds(timeouts.get("write")),
            answer=_seconds(timeouts.get("read")),
            kernel=self._kernel,
            asynchronous=asynchronous,
        )

    def _may_repeat(self, exchange: Exchange, stream: Segments, failed: Failed) -> bool:
        """Whether a request that failed on a kept connection may go on a new one.

        The server may have closed it while the request was on its way. But it
        may also have read the request and died: only a request that does no
        harm twice is repeated then, or one of which nothing had left.
        """
        return (
            failed.kind in ("WriteError", "ReadError", "RemoteProtocolError")
            and not exchange.received
            and (stream.repeatable or not exchange.left)
        )

    def _error(self, failed: Failed, request: Any) -> Exception:
        """Return *failed* as the family's own exception, cause and all."""
        error = self._family.error(failed.kind)(str(failed), request=request)  # type: ignore[call-arg] # httpx's takes the request
        error.__cause__ = failed.__cause__
        return error

    def _response(self, head: h11.Response, request: Any, stream: Any) -> Any:
        return self._family.lib.Response(
            head.status_code,
            headers=head.headers.raw_items(),
            stream=stream,
            request=request,
            extensions={
                "http_version": b"HTTP/" + bytes(head.http_version),
                "reason_phrase": bytes(head.reason),
            },
        )


def _seconds(value: float | None) -> float:
    return math.inf if value is None else value


def target_of(request: Any) -> bytes:
    """Return what stands after the method in the request line."""
    target: bytes = request.extensions.get("target") or request.url.raw_path
    return target
