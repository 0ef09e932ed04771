"""How long state is kept. The time is given: nothing here reads a clock."""

from __future__ import annotations

from ..upload import Upload

#: Seconds for which a delivered upload is kept.
DELIVERED = 7 * 86400.0
#: Seconds for which an upload is kept after the server let it expire.
EXPIRED = 30 * 86400.0
#: Seconds for which plans and spooled files are kept that no upload needs.
ORPHANED = 7 * 86400.0


def is_spent(upload: Upload, now: float) -> bool:
    """Whether *upload* was delivered so long ago that it may be forgotten."""
    return upload.delivered and upload.updated + DELIVERED < now


def is_abandoned(upload: Upload, now: float) -> bool:
    """Whether *upload* expired so long ago that nobody will go on with it."""
    expires = upload.expires
    return not upload.delivered and expires is not None and expires + EXPIRED < now
