"""Structured field values (RFC 9651), as upload protocols use them.

Parsing is the http-sf library's; here is what upload fields make of it:
a field that is not what it must be is absent, never an error.
"""

from __future__ import annotations

from typing import Any

import http_sf

#: The largest integer that a structured field can hold (RFC 9651, 3.3.1).
MAX_INTEGER = 999_999_999_999_999

# Far beyond any field that we read; longer ones are not worth the parser's time.
_MAX_FIELD = 8192


def _parse(value: str | None, kind: str) -> Any:  # http-sf's own values
    if value is None or len(value) > _MAX_FIELD:
        return None
    try:
        return http_sf.parse(value.encode("ascii"), tltype=kind)
    except (ValueError, IndexError, KeyError):  # all that its parser raises
        return None


def parse_integer(value: str | None) -> int | None:
    """Return the sf-integer *value*, parameters ignored; None if it is not one."""
    item = _parse(value, "item")
    bare = item[0] if isinstance(item, tuple) else None
    return bare if type(bare) is int else None


def parse_boolean(value: str | None) -> bool | None:
    """Return the sf-boolean *value*, parameters ignored; None if it is not one."""
    item = _parse(value, "item")
    bare = item[0] if isinstance(item, tuple) else None
    return bare if type(bare) is bool else None


def parse_integers(value: str | None, known: frozenset[str]) -> dict[str, int] | None:
    """Return the integers of an sf-dictionary by key; None if absent or malformed.

    Unknown keys are ignored. A key of *known* with anything but an integer
    spoils the whole field (draft-ietf-httpbis-resumable-upload, Upload-Limit).
    """
    members = _parse(value, "dictionary")
    if not isinstance(members, dict):
        return None
    found: dict[str, int] = {}
    for key, member in members.items():
        if key not in known:
            continue
        bare = member[0] if isinstance(member, tuple) else None
        if type(bare) is not int:
            return None
        found[key] = bare
    return found


def spell_boolean(value: bool) -> str:
    """Spell an sf-boolean."""
    return "?1" if value else "?0"
