"""Parts for trials and tests: an upload server and a link that breaks.

Both run in threads, on loopback only, and need no event loop.
"""

from __future__ import annotations

from .behaviour import Behaviour, Rule, busy, drop_final_answer, refuse
from .http1 import Answer, Head
from .observed import Delivery, RequestSeen, UploadSeen
from .parts import Part, parse_form
from .receiver import Receiver

__all__ = [
    "Answer",
    "Behaviour",
    "Delivery",
    "Head",
    "Part",
    "Receiver",
    "RequestSeen",
    "Rule",
    "UploadSeen",
    "busy",
    "drop_final_answer",
    "parse_form",
    "refuse",
]
