"""Parts for trials and tests: an upload server and a link that breaks.

Both run in threads, on loopback only, and need no event loop.
"""

from __future__ import annotations

from .behaviour import Behaviour, Rule, busy, drop_final_answer, refuse
from .faults import (
    Cut,
    Delay,
    DropAnswer,
    Fault,
    Faults,
    Pass,
    Refuse,
    Stall,
    Throttle,
    every,
    random_faults,
)
from .http1 import Answer, Head
from .link import ConnectionSeen, Link
from .observed import Delivery, RequestSeen, UploadSeen
from .parts import Part, parse_form
from .receiver import Receiver

__all__ = [
    "Answer",
    "Behaviour",
    "ConnectionSeen",
    "Cut",
    "Delay",
    "Delivery",
    "DropAnswer",
    "Fault",
    "Faults",
    "Head",
    "Link",
    "Part",
    "Pass",
    "Receiver",
    "Refuse",
    "RequestSeen",
    "Rule",
    "Stall",
    "Throttle",
    "UploadSeen",
    "busy",
    "drop_final_answer",
    "every",
    "parse_form",
    "random_faults",
    "refuse",
]
