"""From flow requests to HTTP clients and back; the only place that knows httpx."""

from .bridge import AsyncBridge, Bridge, check_auth
from .clients import async_client, client, shared_client, shows_interims
from .family import HttpClient
from .waker import Waker

__all__ = [
    "AsyncBridge",
    "Bridge",
    "HttpClient",
    "Waker",
    "async_client",
    "check_auth",
    "client",
    "shared_client",
    "shows_interims",
]
