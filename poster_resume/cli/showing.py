"""What there is to know before anything is sent: the plan, and the server."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from ..console import Console, spell_seconds, spell_size
from ..errors import UploadError, origin_of
from ..plan import plan_content, plan_form
from ..protocols.discovery import Discovery
from ..protocols.rufh import INTERIM_FACT
from ..sender import ResumableUpload
from ..stores import open_store
from .failures import DONE
from .fields import content_of
from .manner import Manner

_SECONDS = ("max-age",)


def planned(
    console: Console,
    params: list[tuple[str, object]] | None,
    content: str | None,
    content_type: str | None,
) -> int:
    """Show the byte layout of a form, or of a raw file; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="poster-plan-") as spool:
        if params is not None:
            plan = plan_form(params, spool=Path(spool))
        else:
            assert content is not None
            plan = plan_content(
                content_of(content), content_type=content_type, spool=Path(spool)
            )
        with plan:
            rows = [(row.offset, row.length, row.what) for row in plan.describe()]
    if console.as_json:
        for offset, length, what in rows:
            console.emit({"offset": offset, "length": length, "what": what})
        console.emit({"length": plan.length, "content_type": plan.content_type})
        return DONE
    console.table(
        ("OFFSET", "LENGTH", "WHAT"),
        [(f"{offset:,}", f"{length:,}", what) for offset, length, what in rows],
        right=("OFFSET", "LENGTH"),
    )
    console.say(_bytes(plan.length))
    console.say(f"Content-Type: {plan.content_type}")
    return DONE


def probed(console: Console, manner: Manner, url: str) -> int:
    """Show what the server at *url* says of itself; return the exit code."""
    with manner.arguments() as given:
        found = ResumableUpload(url, content=b"", **given).probe()
    interims = _interims(manner, url)
    if console.as_json:
        console.emit(
            {
                "status": found.status,
                "protocols": found.protocols,
                "dialect": found.dialect,
                "limits": found.limits,
                "extensions": found.extensions,
                "checksums": found.checksums,
                "interim_answers": interims is not None,
            }
        )
        return DONE
    rows = [("speaks", _spoken(found))]
    rows += [(name, _limit(name, value)) for name, value in found.limits.items()]
    if found.extensions:
        rows.append(("extensions", ", ".join(found.extensions)))
    if found.checksums:
        rows.append(("checksums", ", ".join(found.checksums)))
    if "rufh" in found.protocols:
        seen = "not known before an upload"
        if interims is not None:
            seen = "yes: an upload from here has seen them"
        rows.append(("104 answers", seen))
    rows.append(("a form goes as", _choice(found, form=True)))
    rows.append(("a raw file goes as", _choice(found, form=False)))
    console.table(("WHAT", "ANSWER"), rows)
    return DONE


def _spoken(found: Discovery) -> str:
    names = []
    for name in found.protocols:
        if name == "rufh":
            dialect = f", dialect {found.dialect}" if found.dialect else ""
            known = "" if found.rufh_known else ", unknown here"
            names.append(f"rufh (the IETF's resumable uploads{dialect}{known})")
        else:
            names.append(name)
    return ", ".join(names) or f"nothing resumable (status {found.status} to OPTIONS)"


def _choice(found: Discovery, *, form: bool) -> str:
    if found.rufh_known:
        return "rufh"
    if "tus" in found.protocols:
        if not form:
            return "tus"
        return "one plain request, unless --tus-form says what tus should store"
    return "one plain request"


def _limit(name: str, value: int) -> str:
    if name in _SECONDS:
        return spell_seconds(value)
    return _bytes(value)


def _bytes(value: int) -> str:
    spelled = f" ({spell_size(value)})" if value >= 1024 else ""
    return f"{value:,} bytes{spelled}"


def _interims(manner: Manner, url: str) -> str | None:
    """Return what an earlier upload learned of interim answers, None for nothing."""
    try:
        return open_store(manner.store).recall(
            origin_of(url), INTERIM_FACT, time.time()
        )
    except UploadError:
        return None  # knowing it would only have been nice
