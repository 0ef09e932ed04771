"""What a driver performs without the network: state, plans, digests, clocks.

Blocking and decision-free: the blocking driver calls it, the async driver
calls it in worker threads.
"""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, assert_never

from .arguments import Arguments, file_of_form
from .body import iter_bytes
from .errors import UploadBusy, UploadError, UploadRejected
from .flow import (
    Check,
    Claim,
    Delete,
    Digest,
    Find,
    Identify,
    Instant,
    Load,
    LoadPlan,
    MakePlan,
    Now,
    Prune,
    Recall,
    Release,
    Remember,
    Reply,
    Request,
    RestorePlan,
    Save,
    SavePlan,
)
from .opening import Opened
from .plan import Plan, identity_of, plan_content, plan_form, restore
from .progress import Meter, Progress
from .ranges import ByteRange
from .responses import FinalResponse
from .session import Session
from .stores import DEFAULT, Default, StateStore, open_store
from .upload import Upload

Verified: TypeAlias = Literal["none", "length", "digest"]
LocalEffect: TypeAlias = (
    Save
    | Now
    | Check
    | Digest
    | Remember
    | Recall
    | Identify
    | Find
    | Load
    | LoadPlan
    | SavePlan
    | Claim
    | Release
    | Delete
    | Prune
    | MakePlan
    | RestorePlan
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an upload ended.

    *verified* says what proves that the server has the right bytes:
    ``"digest"`` it checked a digest, ``"length"`` it acknowledged every
    offset, ``"none"`` it merely answered. A *response* of status 0 was never
    seen: the caller said that the upload is complete.
    """

    response: FinalResponse
    upload: Upload
    verified: Verified


@dataclass(frozen=True, slots=True)
class UploadInfo:
    """One upload that is kept, as ``uploads()`` lists it. Times are epoch seconds."""

    id: str
    target: str
    protocol: str
    phase: str
    offset: int
    length: int | None
    created: float
    updated: float
    expires: float | None


class Workbench:
    """One call's store, plan and state."""

    def __init__(self, arguments: Arguments, store: StateStore) -> None:
        self._arguments, self.store = arguments, store
        self.plan: Plan | None = None
        self.upload: Upload | None = None
        self._claimed: str | None = None
        self._identity: str | None = None

    def perform(self, effect: LocalEffect) -> Reply:
        """Perform *effect* and return its outcome.

        Raises:
            StoreError, UploadBusy, SourceError, InvalidParameter: as it may be.
        """
        match effect:
            case Save(upload, durable):
                self.keep(upload, durable=durable)
            case Now():
                return Instant(time.monotonic(), time.time())
            case Check():
                if self.plan is not None:
                    self.plan.check()
            case Digest(algorithm, content):
                return self._digest(algorithm, content)
            case Remember(origin, key, value, seconds):
                self.store.remember(origin, key, value, time.time() + seconds)
            case Recall(origin, key):
                return self.store.recall(origin, key, time.time())
            case Identify():
                return self.identity()
            case Find(identity):
                return self.store.find(identity)
            case Load(upload_id):
                return self.store.load(upload_id)
            case LoadPlan(digest):
                return self.store.load_plan(digest)
            case SavePlan(record):
                self.store.save_plan(record)
            case Claim(identity):
                self.store.claim(identity)
                self._claimed = identity
            case Release(identity):
                self.store.release(identity)
            case Delete(upload_id):
                self.store.delete(upload_id)
            case Prune():
                return tuple(self.store.prune(time.time()))
            case MakePlan():
                self.plan = self.planned()
                return self.plan
            case RestorePlan(record):
                self.plan = restore(record, self._content())
                return self.plan
            case _:
                assert_never(effect)
        return None

    def keep(self, upload: Upload, *, durable: bool = True) -> None:
        """Make *upload* this call's state; on disk, if *durable*."""
        self.upload = upload
        if durable:
            self.upload = upload.evolve(updated=time.time())
            self.store.save(self.upload)

    def planned(self) -> Plan:
        """Plan what the caller gave."""
        arguments = self._arguments
        spool = self.store.spool_directory  # made only if something is spooled
        if arguments.params is not None:
            protocol = arguments.protocol
            if protocol is not None and protocol.form == "file":
                file, content_type, _ = file_of_form(arguments.params)
                return plan_content(
                    file,
                    content_type=content_type,
                    spool=spool,
                    same_file=arguments.same_file,
                )
            return plan_form(
                arguments.params, spool=spool, same_file=arguments.same_file
            )
        content = arguments.content
        if isinstance(content, Plan):
            return content
        assert content is not None
        return plan_content(
            content,
            content_type=arguments.content_type,
            spool=spool,
            same_file=arguments.same_file,
        )

    def identity(self) -> str:
        """Return the digest that tells this call's upload from all others."""
        if self._identity is None:
            self._identity = self._identified()
        return self._identity

    def delivered(self, opened: Opened, upload: Upload) -> Outcome:
        """Note that the caller has the outcome, and return it.

        Raises:
            UploadRejected: the final answer is an error.
        """
        response = upload.result or FinalResponse(0, truncated=True)
        if upload.result is not None:
            stored = upload.evolve(result=upload.result.storable())
            self.keep(stored.evolve(delivered=True))
            self.store.drop_spools(upload.plan_digest)
        if response.status_code >= 400:
            raise UploadRejected(
                f"the server answered {response.status_code} to the whole upload",
                response,
            )
        return Outcome(response, upload, opened.protocol.verified)

    @property
    def length(self) -> int | None:
        """Length of what is being sent in bytes, once it is planned."""
        return None if self.plan is None else self.plan.length

    def broke(
        self, error: BaseException, session: Session | None, tracker: Tracker
    ) -> None:
        """Save what *error* leaves, and tell it which upload it belongs to."""
        if session is not None and not isinstance(error, UploadError):
            # Interrupted from outside: the session had no say.
            upload = session.abandoned(tracker.sent, tracker.length)
            if self.upload is not None and upload.phase != self.upload.phase:
                self.keep(upload)
        if isinstance(error, UploadError) and self.upload is not None:
            error.upload_id = self.upload.id

    def close(self) -> None:
        """Give up the claim and close what is open."""
        claimed, self._claimed = self._claimed, None
        if claimed is not None:
            self.store.release(claimed)
        if self.plan is not None and self.plan is not self._arguments.content:
            self.plan.close()

    def _content(self) -> object:
        arguments = self._arguments
        return arguments.content if arguments.params is None else arguments.params

    def _identified(self) -> str:
        arguments = self._arguments
        if arguments.key is not None:
            what = f"key\0{arguments.key}"
        else:
            of = identity_of(self._content(), arguments.content_type)
            what = f"content\0{arguments.target}\0{arguments.method}\0{of}"
        return hashlib.sha256(what.encode("utf-8", "surrogateescape")).hexdigest()

    def _digest(self, algorithm: str, content: ByteRange) -> bytes:
        assert self.plan is not None
        if algorithm == "crc32":
            value = 0
            for block in iter_bytes(self.plan, content):
                value = zlib.crc32(block, value)
            return value.to_bytes(4, "big")
        state = hashlib.new(algorithm, usedforsecurity=False)
        for block in iter_bytes(self.plan, content):
            state.update(block)
        return state.digest()


class Tracker:
    """Where one upload's bytes are, told to whoever wants progress."""

    def __init__(self, arguments: Arguments) -> None:
        self._tell = arguments.on_progress
        self._meter = Meter(None)
        self._start = self._sent = 0
        #: Length of the last request's content in bytes.
        self.length = 0

    def began(self, request: Request, length: int | None) -> None:
        """Note that *request* begins to go out."""
        content = request.content
        self._start = content.start if isinstance(content, ByteRange) else 0
        self._sent, self.length = 0, request.length
        self._meter.length = length

    def acknowledged(self, offset: int) -> Progress | None:
        """Note what the server has; return a report for the observer."""
        moved = offset != self._meter.acknowledged
        self._meter.acknowledged = offset
        return self._meter.report() if moved and self._tell else None

    def moved(self, count: int) -> Progress | None:
        """Note that *count* more bytes are out; return a report if one is due."""
        self._sent += count
        if self._tell is None:
            return None
        return self._meter.moved(time.monotonic(), self._start + self._sent)

    @property
    def sent(self) -> int:
        """Bytes of the last request's content that are out."""
        return self._sent


class OneAtATime:
    """Lets one send through per object."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise UploadBusy("this object is sending already; wait for it, or pause()")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def new_id() -> str:
    """Return a fresh upload id."""
    return uuid.uuid4().hex[:16]


def uploads(
    store: StateStore | str | Path | Default | None = DEFAULT,
) -> Iterator[UploadInfo]:
    """Yield every upload that *store* keeps, oldest first.

    Raises:
        StoreError: the store cannot be read.
    """
    for upload in open_store(store).list():
        yield UploadInfo(
            upload.id,
            upload.target,
            upload.protocol,
            upload.phase,
            upload.offset,
            upload.length,
            upload.created,
            upload.updated,
            upload.expires,
        )
