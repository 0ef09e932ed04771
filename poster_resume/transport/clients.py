"""Clients with our transport inside, built like any other httpx client.

What the fast path cannot do goes to the transports that httpx itself would
have used, built from the same arguments.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import TYPE_CHECKING, Any

from .family import FamilyName, family

if TYPE_CHECKING:
    import httpx

_ours: weakref.WeakSet[Any] = weakref.WeakSet()
_shared: tuple[int, Any] | None = None


def client(*, family_name: FamilyName = "httpx", **kwargs: Any) -> httpx.Client:
    """Return a blocking client."""
    built: httpx.Client = family(family_name).lib.Client(**kwargs)
    return built


def async_client(
    *, family_name: FamilyName = "httpx", **kwargs: Any
) -> httpx.AsyncClient:
    """Return an async client."""
    built: httpx.AsyncClient = family(family_name).lib.AsyncClient(**kwargs)
    return built


def shared_client() -> httpx.Client:
    """Return the one blocking client of this process, made at first use."""
    global _shared
    if _shared is None or _shared[0] != os.getpid():
        _shared = os.getpid(), client()
        atexit.register(_shared[1].close)
    built: httpx.Client = _shared[1]
    return built


def shows_interims(client: object) -> bool:
    """Return whether *client* lets interim responses be seen."""
    return client in _ours
