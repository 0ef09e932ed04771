"""Sizes and durations as people write them.

Bytes and seconds inside; ``64MiB``, ``1GB``, ``500k`` and ``90``, ``15m``,
``1.5h`` outside.
"""

from __future__ import annotations

import re
from typing import Final

_NUMBER: Final = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)\s*", re.ASCII)
_POWERS: Final = {letter: power for power, letter in enumerate("kmgtp", 1)}
_SECONDS: Final = {
    "": 1.0,
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}


def parse_size(text: str) -> int:
    """Return the bytes that *text* stands for.

    ``KiB`` and ``k`` are 1024 bytes, as curl and dd have it, ``kB`` is 1000, and so
    on up to P. Case does not matter: ``500k`` is 500 KiB.

    Raises:
        ValueError: it is no size.
    """
    match = _NUMBER.fullmatch(text)
    factor = None if match is None else _factor(match[2])
    if match is None or factor is None:
        raise ValueError(f"{text!r} is no size; write it like 500k, 64MiB or 1GB")
    whole, _, fraction = match[1].partition(".")
    # Integer arithmetic: a float has not enough digits for sizes in bytes.
    digits = int(whole + fraction)
    shift: int = 10 ** len(fraction)
    return digits * factor // shift


def parse_seconds(text: str) -> float:
    """Return the seconds that *text* stands for: ``90``, ``90s``, ``15m``, ``1.5h``.

    Raises:
        ValueError: it is no duration.
    """
    match = _NUMBER.fullmatch(text)
    unit = None if match is None else _SECONDS.get(match[2].lower())
    if match is None or unit is None:
        raise ValueError(f"{text!r} is no duration; write it like 90, 15m or 2h")
    return float(match[1]) * unit


def _factor(unit: str) -> int | None:
    """Return the bytes in one *unit*, None if it is no unit."""
    lower = unit.lower()
    if lower in ("", "b"):
        return 1
    power = _POWERS.get(lower[0])
    if power is None or lower[1:] not in ("", "b", "ib"):
        return None
    base: int = 1000 if lower[1:] == "b" else 1024
    return int(base**power)
