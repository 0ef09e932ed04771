"""The upload protocols: one file each, one entry in ``PROTOCOLS``.

Others come by instance, or by an entry point of the group
``poster_resume.protocols`` whose name is the protocol's.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points

from pydantic import JsonValue

from ..errors import InvalidParameter
from .base import Limits, UploadProtocol
from .oneshot import Oneshot
from .rufh import RUFH
from .tus import Tus

PROTOCOLS: dict[str, type[UploadProtocol]] = {
    "rufh": RUFH,
    "tus": Tus,
    "oneshot": Oneshot,
}


def protocol_named(
    name: str,
    options: Mapping[str, JsonValue] | None = None,
    given: UploadProtocol | None = None,
) -> UploadProtocol:
    """Return the protocol *name* with *options*.

    *given* is the caller's own instance: it lends its class, if it has that name.

    Raises:
        InvalidParameter: there is no such protocol here.
    """
    if given is not None and given.name == name:
        return type(given).from_options(options or {})
    if name in PROTOCOLS:
        return PROTOCOLS[name].from_options(options or {})
    for point in entry_points(group="poster_resume.protocols", name=name):
        loaded: type[UploadProtocol] = point.load()
        return loaded.from_options(options or {})
    known = ", ".join(["auto", *PROTOCOLS])
    raise InvalidParameter(f"protocol: {name!r} is not one of {known}")


__all__ = [
    "PROTOCOLS",
    "RUFH",
    "Limits",
    "Oneshot",
    "Tus",
    "UploadProtocol",
    "protocol_named",
]
