"""The two families of clients, httpx and httpx2, behind one set of names.

They share an ancestor and an API, but each insists on its own stream classes
and raises its own exceptions. A family is looked up by what a client is; no
other module imports either package for its classes by name.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, Protocol

from ..errors import InvalidParameter

FamilyName = Literal["httpx", "httpx2"]


class HttpClient(Protocol):
    """What is needed of a client: an ``httpx`` or ``httpx2`` one, blocking or async.

    Requests and responses are of the client's own family, so they cannot be
    named here; ``httpx.Client`` and its three siblings fit.
    """

    @property
    def headers(self) -> Any:
        """The client's default headers."""

    def build_request(self, method: str, url: str) -> Any:
        """Return a request of the client's family."""

    def send(self, request: Any, *, stream: bool = False) -> Any:
        """Send it; async clients return an awaitable."""


@dataclass(frozen=True)
class Family:
    """One of the two packages, by its module."""

    name: FamilyName
    lib: ModuleType

    def error(self, name: str) -> type[Exception]:
        """Return this family's exception class called *name*."""
        found: type[Exception] = getattr(self.lib, name)
        return found

    @functools.cache  # noqa: B019 (there are two families, kept for ever)
    def derive(self, mixin: type, *bases: str) -> Any:
        """Return *mixin* as a subclass of this family's classes named *bases*."""
        parents = tuple(getattr(self.lib, base) for base in bases)
        return type(mixin.__name__.lstrip("_"), (mixin, *parents), {})


@functools.cache
def family(name: FamilyName = "httpx") -> Family:
    """Return the family called *name*.

    Raises:
        InvalidParameter: there is none of this name, or it is not installed.
    """
    if name not in ("httpx", "httpx2"):
        raise InvalidParameter(f"family: {name!r} is neither httpx nor httpx2")
    try:
        return Family(name, importlib.import_module(name))
    except ImportError as exc:
        raise InvalidParameter(
            f"family: {name} is not installed; install poster-resume[{name}]"
        ) from exc


def family_of(client: object) -> Family:
    """Return the family that *client* belongs to.

    Raises:
        InvalidParameter: it is neither an httpx nor an httpx2 client.
    """
    for cls in type(client).__mro__:
        package = cls.__module__.partition(".")[0]
        if package == "httpx":
            return family("httpx")
        if package == "httpx2":
            return family("httpx2")
    raise InvalidParameter(
        f"client: {type(client).__name__} is neither an httpx nor an httpx2 client"
    )
