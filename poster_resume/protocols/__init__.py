"""The upload protocols: one file each, one entry in ``PROTOCOLS``."""

from __future__ import annotations

from .base import Limits, UploadProtocol
from .oneshot import Oneshot
from .rufh import RUFH
from .tus import Tus

PROTOCOLS: dict[str, type[UploadProtocol]] = {
    "rufh": RUFH,
    "tus": Tus,
    "oneshot": Oneshot,
}

__all__ = ["PROTOCOLS", "RUFH", "Limits", "Oneshot", "Tus", "UploadProtocol"]
