"""Where upload state is kept.

One file per kind of store, one entry in ``STORES``. A store is durable before
``save`` returns, and is used by several threads and processes at once. It has
no clock: who asks for what depends on time says what time it is.
"""

from __future__ import annotations

import atexit
import enum
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

from ..errors import InvalidParameter
from ..records import PlanRecord
from ..upload import Upload
from .directory import default_directory
from .memory import MemoryStore
from .sqlite import SQLiteStore

__all__ = [
    "DEFAULT",
    "STORES",
    "Default",
    "MemoryStore",
    "SQLiteStore",
    "StateStore",
    "StoreChoice",
    "checked_store",
    "default_directory",
    "open_store",
]


class StateStore(Protocol):
    """Durable upload state, by upload id.

    Every method raises ``StoreError``, whose message says what to do, when the
    state cannot be read or written; nothing that was kept is lost by that.
    Of a result only what ``FinalResponse.storable`` leaves is kept. All
    methods may be called from any thread.
    """

    def find(self, identity: str) -> Upload | None:
        """Return the newest upload with this identity, if any is kept.

        The newest is the one that was first saved last. It may be complete and
        delivered: what that means for a call is not the store's to decide.
        """

    def load(self, upload_id: str) -> Upload | None:
        """Return what is kept under *upload_id*, if anything is."""

    def save(self, upload: Upload) -> None:
        """Keep *upload*, replacing what was kept under its id. Durable on return."""

    def load_plan(self, digest: str) -> PlanRecord | None:
        """Return the plan record with this digest, if it is kept."""

    def save_plan(self, record: PlanRecord) -> None:
        """Keep *record* under its digest; keeping it again changes nothing.

        It comes before its upload; without one it is kept for some days.
        """

    def remember(self, scope: str, key: str, value: str, until: float) -> None:
        """Keep a small fact about *scope* (an origin), replacing what was there.

        *until* is in seconds since the epoch.
        """

    def recall(self, scope: str, key: str, now: float) -> str | None:
        """Return what was remembered, unless its time is over at *now*."""

    def claim(self, identity: str, wait: float = 0) -> None:
        """Become the only sender of *identity*, waiting at most *wait* seconds.

        Ownership is this object's, in this process: a thread may release what
        another one claimed, a forked child owns nothing. It ends by
        ``release``, or with the process. Claiming what one owns is busy, too.

        Raises:
            UploadBusy: somebody else is; the message names the process, and
                since when it has been.
            StoreError: nothing can be written, so that sending would lose track.
        """

    def release(self, identity: str) -> None:
        """Stop being its sender. Nothing happens if we are not."""

    def list(self) -> Iterator[Upload]:
        """Yield every upload that is kept, oldest first."""

    def delete(self, upload_id: str) -> None:
        """Forget *upload_id*, and its plan and spools if no other one needs them."""

    def drop_spools(self, digest: str) -> None:
        """Remove the spooled content of a plan, unless an unfinished upload has it."""

    def prune(self, now: float) -> Sequence[Upload]:
        """Forget delivered uploads after 7 days; return those expired 30 days ago.

        Times are seconds since the epoch. What is returned is still kept: it
        wants to be cancelled on its server first, then deleted. Uploads that
        the server lets live for ever are kept for ever.
        """

    def spool_directory(self) -> Path:
        """Return a private directory (0700) for spooled content.

        Files are removed from it that belong to no plan and were not written
        for 7 days.
        """

    def close(self) -> None:
        """Release what is open. Using the store again opens it anew."""


class Default(enum.Enum):
    """The store that is meant when none is named."""

    STORE = "default"


#: The store in ``default_directory()``, as it is when it is used.
DEFAULT: Final = Default.STORE

#: What ``store=`` accepts: None keeps nothing, a path names a directory.
StoreChoice: TypeAlias = StateStore | str | Path | Literal[Default.STORE] | None

STORES: dict[str, Callable[[], StateStore]] = {
    "memory": MemoryStore,
    "sqlite": SQLiteStore,
}


def open_store(store: StoreChoice = DEFAULT) -> StateStore:
    """Return the store that *store* stands for. Nothing is opened yet.

    One directory has one store per process, closed at exit; None is a new
    store in memory each time.
    """
    if store is None:
        return MemoryStore()
    if isinstance(store, str | Path):
        return _shared(Path(store))
    if store is DEFAULT:
        return _shared(default_directory())
    return store


def checked_store(store: StoreChoice) -> StoreChoice:
    """Return *store*, if it stands for one.

    Raises:
        InvalidParameter: it does not.
    """
    if store is None or store is DEFAULT or isinstance(store, str | Path):
        return store
    if not callable(getattr(store, "claim", None)):
        raise InvalidParameter(
            f"store: {type(store).__name__} is neither a directory nor a StateStore"
        )
    return store


def _shared(directory: Path) -> SQLiteStore:
    key = os.path.realpath(directory)
    # setdefault is atomic: two threads get the same store without a lock, which
    # a fork could leave locked for ever.
    return _SHARED.get(key) or _SHARED.setdefault(key, SQLiteStore(directory))


_SHARED: dict[str, SQLiteStore] = {}


@atexit.register
def _close_shared() -> None:
    for store in list(_SHARED.values()):
        store.close()
