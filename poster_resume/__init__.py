"""Huge uploads through bad links, byte for byte.

``ResumableUpload(target, params).send()`` is the main call; everything named
here is public, and stays compatible within a major version.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .async_sender import AsyncResumableUpload
    from .body import Blocks, Body, iter_bytes
    from .errors import (
        ConnectError,
        ContentTooLarge,
        DeadlineExceeded,
        InvalidParameter,
        NotResumable,
        OffsetMismatch,
        OutcomeUnknown,
        ProtocolError,
        Recovery,
        RedirectRefused,
        ServerBusy,
        SourceChanged,
        SourceError,
        StoreError,
        TransportError,
        TransportRefused,
        Unauthorized,
        UploadBusy,
        UploadError,
        UploadGone,
        UploadPaused,
        UploadRejected,
        UploadTooLarge,
    )
    from .flow import RequestInfo, Timeouts
    from .performing import Outcome, UploadInfo, uploads
    from .plan import Plan, plan_content, plan_form, restore
    from .progress import Event, Progress
    from .protocols import RUFH, Limits, Oneshot, Tus, UploadProtocol
    from .ranges import ByteRange
    from .responses import FinalResponse
    from .retry import RetryPolicy
    from .sender import ResumableUpload
    from .stores import StateStore
    from .transport import async_client, client
    from .upload import Upload

__version__ = "1.0.0"

__all__ = [
    "RUFH",
    "AsyncResumableUpload",
    "Blocks",
    "Body",
    "ByteRange",
    "ConnectError",
    "ContentTooLarge",
    "DeadlineExceeded",
    "Event",
    "FinalResponse",
    "InvalidParameter",
    "Limits",
    "NotResumable",
    "OffsetMismatch",
    "Oneshot",
    "Outcome",
    "OutcomeUnknown",
    "Plan",
    "Progress",
    "ProtocolError",
    "Recovery",
    "RedirectRefused",
    "RequestInfo",
    "ResumableUpload",
    "RetryPolicy",
    "ServerBusy",
    "SourceChanged",
    "SourceError",
    "StateStore",
    "StoreError",
    "Timeouts",
    "TransportError",
    "TransportRefused",
    "Tus",
    "Unauthorized",
    "Upload",
    "UploadBusy",
    "UploadError",
    "UploadGone",
    "UploadInfo",
    "UploadPaused",
    "UploadProtocol",
    "UploadRejected",
    "UploadTooLarge",
    "async_client",
    "client",
    "iter_bytes",
    "plan_content",
    "plan_form",
    "restore",
    "uploads",
]

# Imported when they are asked for (PEP 562): the command line answers --help
# without loading an HTTP client and a database first.
_HOMES = {
    "AsyncResumableUpload": "async_sender",
    "Blocks": "body",
    "Body": "body",
    "iter_bytes": "body",
    "ConnectError": "errors",
    "ContentTooLarge": "errors",
    "DeadlineExceeded": "errors",
    "InvalidParameter": "errors",
    "NotResumable": "errors",
    "OffsetMismatch": "errors",
    "OutcomeUnknown": "errors",
    "ProtocolError": "errors",
    "Recovery": "errors",
    "RedirectRefused": "errors",
    "ServerBusy": "errors",
    "SourceChanged": "errors",
    "SourceError": "errors",
    "StoreError": "errors",
    "TransportError": "errors",
    "TransportRefused": "errors",
    "Unauthorized": "errors",
    "UploadBusy": "errors",
    "UploadError": "errors",
    "UploadGone": "errors",
    "UploadPaused": "errors",
    "UploadRejected": "errors",
    "UploadTooLarge": "errors",
    "RequestInfo": "flow",
    "Timeouts": "flow",
    "Outcome": "performing",
    "UploadInfo": "performing",
    "uploads": "performing",
    "Plan": "plan",
    "plan_content": "plan",
    "plan_form": "plan",
    "restore": "plan",
    "Event": "progress",
    "Progress": "progress",
    "RUFH": "protocols",
    "Limits": "protocols",
    "Oneshot": "protocols",
    "Tus": "protocols",
    "UploadProtocol": "protocols",
    "ByteRange": "ranges",
    "FinalResponse": "responses",
    "RetryPolicy": "retry",
    "ResumableUpload": "sender",
    "StateStore": "stores",
    "async_client": "transport",
    "client": "transport",
    "Upload": "upload",
}


if not TYPE_CHECKING:  # else no misspelt name would be noticed

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f".{home}", __name__), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
