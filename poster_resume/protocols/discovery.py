"""Asking a target resource what it speaks.

Only a definite answer decides: a server that is busy or unreachable is asked
again, and one that wants credentials is given them. Nothing is created.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ServerBusy
from ..flow import Flow, Request, Response, send
from ..structured_fields import parse_integer
from .base import UploadProtocol, retry_after, unexpected
from .rufh import DEFAULT_DIALECT, DIALECTS, RUFH, announced_limits
from .tus import Tus

# Answers to the moment, not to the question.
_NOT_DEFINITE = frozenset({408, 421, 425, 429})
_TUS_FIELDS = ("tus-version", "tus-extension", "tus-resumable")


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a target resource said of itself.

    *protocols* are names, the preferred one first; *limits* the bytes and
    seconds of ``Upload-Limit`` or ``Tus-Max-Size``; *extensions* and
    *checksums* are tus'. *dialect* is the interop version a RUFH server named,
    None if it named none.
    """

    status: int
    protocols: tuple[str, ...]
    limits: dict[str, int]
    dialect: str | None = None
    extensions: tuple[str, ...] = ()
    checksums: tuple[str, ...] = ()

    @property
    def rufh_known(self) -> bool:
        """Whether it speaks RUFH in a dialect that we know."""
        return "rufh" in self.protocols and self.dialect in (None, *DIALECTS)


def discover(target: str) -> Flow[Discovery]:
    """Ask *target* by OPTIONS what it speaks.

    Raises:
        ServerBusy: it did not say; ask again later.
        Unauthorized: it wants credentials.
    """
    headers = {"upload-draft-interop-version": DEFAULT_DIALECT}
    request = Request("OPTIONS", target, headers, purpose="discover")
    response = yield from send(request)
    if response.status in (401, 407):
        raise unexpected(response, "discover")
    if response.status in _NOT_DEFINITE or response.status >= 500:
        found = read_discovery(response)
        if response.status in (501, 505) or found.protocols:
            return found
        busy = ServerBusy(f"discover: the server answered {response.status}")
        busy.retry_after = retry_after(response)
        raise busy
    return read_discovery(response)


def read_discovery(response: Response) -> Discovery:
    """Read what an OPTIONS answer, of any status, says."""
    headers = response.headers
    limits = announced_limits(headers)
    version = parse_integer(headers.get("upload-draft-interop-version"))
    speaks_tus = any(field in headers for field in _TUS_FIELDS)
    protocols = []
    if limits is not None:
        protocols.append("rufh")
    if speaks_tus:
        protocols.append("tus")
    known = dict(limits or {})
    size = headers.get("tus-max-size", "")
    if speaks_tus and size.isascii() and size.isdecimal() and len(size) <= 15:
        known.setdefault("max-size", int(size))
    return Discovery(
        response.status,
        tuple(protocols),
        known,
        None if version is None else str(version),
        _listed(headers.get("tus-extension", "")),
        _listed(headers.get("tus-checksum-algorithm", "")),
    )


def chosen(found: Discovery, *, form: bool, fallback: UploadProtocol) -> UploadProtocol:
    """Return the protocol that ``auto`` stands for.

    With a *form*, tus is not chosen: its server would store the multipart
    wrapping as the file, so the caller has to say ``Tus(form=...)``.
    """
    if found.rufh_known:
        return RUFH(found.dialect)
    if "tus" in found.protocols and not form:
        return Tus()
    return fallback


def _listed(value: str) -> tuple[str, ...]:
    return tuple(item for item in (v.strip().lower() for v in value.split(",")) if item)
