"""Where upload state is kept.

One file per kind of store, one entry in ``STORES``. A store is durable before
``save`` returns, and is used by several threads and processes at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ..records import PlanRecord
from ..upload import Upload


class StateStore(Protocol):
    """Durable upload state, by upload id.

    Every method raises ``StoreError``, whose message says what to do, when the
    state cannot be read or written; nothing that was kept is lost by that.
    """

    def find(self, identity: str) -> Upload | None:
        """Return the newest upload with this identity, if any is kept."""

    def load(self, upload_id: str) -> Upload | None:
        """Return what is kept under *upload_id*, if anything is."""

    def save(self, upload: Upload) -> None:
        """Keep *upload*, replacing what was kept under its id. Durable on return."""

    def load_plan(self, digest: str) -> PlanRecord | None:
        """Return the plan record with this digest, if it is kept."""

    def save_plan(self, record: PlanRecord) -> None:
        """Keep *record* under its digest; keeping it again changes nothing."""

    def claim(self, upload_id: str, wait: float = 0) -> None:
        """Become the only sender of *upload_id*, waiting at most *wait* seconds.

        Raises:
            UploadBusy: another process or thread is; the message names its pid.
        """

    def release(self, upload_id: str) -> None:
        """Stop being its sender. Nothing happens if we are not."""

    def list(self) -> Iterator[Upload]:
        """Yield every upload that is kept, oldest first."""

    def delete(self, upload_id: str) -> None:
        """Forget *upload_id*, and its plan if no other upload needs it."""

    def spool_directory(self) -> Path:
        """Return a private directory (0700) for spooled content."""

    def close(self) -> None:
        """Release what is open. Using the store again opens it anew."""
