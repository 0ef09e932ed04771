"""From flow requests to HTTP clients and back; the only place that knows httpx.

``Bridge`` and ``AsyncBridge`` are what the senders call. ``SegmentTransport``
and ``AsyncSegmentTransport`` move the bytes inside the clients that ``client()``
and ``async_client()`` build.
"""

from .asynchronous import AsyncSegmentTransport
from .blocking import SegmentTransport
from .bridge import AsyncBridge, Bridge, check_auth
from .clients import (
    async_client,
    client,
    own_cookies,
    segment_request,
    shared_client,
    shows_interims,
)
from .family import HttpClient
from .kernel import Kernel
from .waker import Waker

__all__ = [
    "AsyncBridge",
    "AsyncSegmentTransport",
    "Bridge",
    "HttpClient",
    "Kernel",
    "SegmentTransport",
    "Waker",
    "async_client",
    "check_auth",
    "client",
    "own_cookies",
    "segment_request",
    "shared_client",
    "shows_interims",
]
