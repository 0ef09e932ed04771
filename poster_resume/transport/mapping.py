"""The one table from other libraries' exceptions to ours.

What comes out holds no URL: messages name the host at most, and the chained
cause is a copy that carries an error number and nothing else.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from ..errors import (
    ConnectError,
    TransportError,
    TransportRefused,
    UploadError,
    redacted,
)

#: Exception names of httpx, httpx2 and their cores, most special first.
_TABLE: Final[tuple[tuple[str, type[TransportError], str], ...]] = (
    ("UnsupportedProtocol", TransportRefused, "the client cannot do this URL's scheme"),
    ("InvalidURL", TransportRefused, "the URL is not valid"),
    ("LocalProtocolError", TransportRefused, "the request cannot be spelled in HTTP"),
    ("PoolTimeout", ConnectError, "no connection of the pool came free in time"),
    ("ConnectTimeout", ConnectError, "no connection in time"),
    ("ConnectError", ConnectError, "no connection"),
    ("ProxyError", ConnectError, "the proxy would not connect"),
    ("WriteTimeout", TransportError, "no byte of the content left in time"),
    ("ReadTimeout", TransportError, "no answer in time"),
    ("WriteError", TransportError, "the connection broke while sending"),
    ("ReadError", TransportError, "the connection broke before the answer"),
    ("CloseError", TransportError, "the connection broke while closing"),
    ("RemoteProtocolError", TransportError, "the server broke off or spoke no HTTP"),
    ("DecodingError", TransportError, "the answer's content coding is broken"),
    ("TransportError", TransportError, "the transport failed"),
    ("HTTPError", TransportError, "the request failed"),
    ("StreamError", TransportError, "the answer cannot be read"),
)

# The peer refuses us or we refuse the peer; no retry changes a certificate.
_CERTIFICATE_ALERTS: Final = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")


def translated(error: Exception, url: str, sent: int) -> UploadError | None:
    """Return what *error* means for a request to *url*, ready to be raised.

    *sent* is how many bytes of content had left. None: not an error of the
    network or of an HTTP client, so it is the caller's own and passes.
    """
    if isinstance(error, UploadError):
        return None
    kind, what = _kind(error)
    if kind is None:
        return None
    detail = ""
    cause = _copied(error)
    for linked in _chain(error):
        if isinstance(linked, ssl.SSLError) and _is_certificate(linked):
            kind, what = TransportRefused, "the TLS certificate is not accepted"
        # Writing to a stream that the server has reset (RFC 9113, 5.4.2) is, to
        # the clients' HTTP/2, a fault of ours.
        if _is_closed_stream(linked):
            kind, what = TransportError, "the server broke off the HTTP/2 stream"
    if "407" in str(error) and type(error).__name__ == "ProxyError":
        kind, what = TransportRefused, "the proxy wants other credentials (407)"
    if cause is not None:
        detail = f": {cause.strerror or type(cause).__name__}"
    ours = kind(f"{what}{detail} ({redacted(url)})")
    ours.sent = 0 if kind is ConnectError else sent
    ours.__cause__ = cause
    return ours


def _kind(error: Exception) -> tuple[type[TransportError] | None, str]:
    names = {
        cls.__name__
        for cls in type(error).__mro__
        if cls.__module__.partition(".")[0] in _PACKAGES
    }
    for name, kind, what in _TABLE:
        if name in names:
            return kind, what
    if isinstance(error, (ssl.SSLError, ConnectionError, socket.gaierror)):
        return TransportError, "the connection broke"
    if isinstance(error, OSError) and error.errno in _NETWORK:
        return TransportError, "the connection broke"
    return None, ""


_PACKAGES: Final = frozenset({"httpx", "httpx2", "httpcore", "httpcore2"})
_NETWORK: Final = frozenset(
    number
    for name in [
        "EPIPE",
        "ECONNRESET",
        "ECONNABORTED",
        "ECONNREFUSED",
        "ETIMEDOUT",
        "EHOSTUNREACH",
        "ENETUNREACH",
        "ENETDOWN",
        "ENETRESET",
        "EHOSTDOWN",
        "EADDRNOTAVAIL",
        "ENOTCONN",
    ]
    if (number := getattr(errno, name, None)) is not None
)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _is_certificate(error: ssl.SSLError) -> bool:
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    reason = str(getattr(error, "reason", "") or "")
    return any(word in reason for word in _CERTIFICATE_ALERTS)


def _is_closed_stream(error: BaseException) -> bool:
    return any(
        (cls.__module__, cls.__name__) == ("h2.exceptions", "NoSuchStreamError")
        for cls in type(error).__mro__
    )


def _copied(error: BaseException) -> OSError | None:
    """Return the operating system's part of *error*, without anybody's text."""
    for link in _chain(error):
        if isinstance(link, ssl.SSLCertVerificationError):
            return ssl.SSLError(link.errno or 1, link.verify_message)
        if isinstance(link, ssl.SSLError):
            said = getattr(link, "reason", None) or type(link).__name__
            return ssl.SSLError(link.errno or 1, str(said))
        if isinstance(link, socket.gaierror):
            return socket.gaierror(link.errno or 0, "the host name is not known")
        if isinstance(link, OSError) and link.errno:
            return OSError(link.errno, os.strerror(link.errno))
    return None
