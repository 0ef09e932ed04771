"""Huge uploads through bad links, byte for byte.

``ResumableUpload(target, params).send()`` is the main call; everything named
here is public, and stays compatible within a major version.
"""

from __future__ import annotations

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
