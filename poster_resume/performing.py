"""What a driver performs without the network: state, plans, digests, clocks.

Blocking and decision-free: the blocking driver calls it, the async driver
calls it in worker threads.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, assert_never

from .arguments import Arguments, file_of_form
from .body import iter_bytes
from .errors import (
    InvalidParameter,
    SourceError,
    UploadBusy,
    UploadError,
    UploadRejected,
)
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
    OwnPlan,
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
from .plan import (
    Plan,
    check_files,
    identity_of,
    other_names,
    plan_content,
    plan_form,
    restore,
)
from .progress import Meter, Progress
from .ranges import ByteRange
from .records import PlanRecord
from .responses import FinalResponse
from .session import Session
from .sources import FileSource
from .stores import DEFAULT, Default, StateStore, open_store
from .upload import Upload

_LOGGER: Final = logging.getLogger("poster_resume")

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
    | OwnPlan
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


class Kept:
    """What one object keeps from call to call.

    *upload* is the one it was last about. *plan* is kept while it could not be
    made again: a stream was read for it, or no path leads to a source.
    *read* says that a stream was read, and that its content is gone.
    """

    def __init__(self) -> None:
        self.upload: Upload | None = None
        self.plan: Plan | None = None
        self.read = False


class Workbench:
    """One call's store, plan and state.

    Its threads take turns: one that a cancelled call has left behind ends
    before what it did is undone.
    """

    def __init__(
        self, arguments: Arguments, store: StateStore, kept: Kept | None = None
    ) -> None:
        self._arguments, self.store = arguments, store
        self._kept = Kept() if kept is None else kept
        self.plan: Plan | None = None
        self.upload: Upload | None = None
        self._claimed: str | None = None
        self._identity: str | None = None
        self._turn = threading.RLock()

    def perform(self, effect: LocalEffect) -> Reply:
        """Perform *effect* and return its outcome.

        Raises:
            StoreError, UploadBusy, SourceError, InvalidParameter: as it may be.
        """
        with self._turn:
            return self._performed(effect)

    def _performed(self, effect: LocalEffect) -> Reply:
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
                if self._kept.upload is not None and self._kept.upload.id == upload_id:
                    self._kept.upload = None
            case Prune():
                return tuple(self.store.prune(time.time()))
            case MakePlan():
                self.plan = self.planned()
                return self.plan
            case OwnPlan(upload_id):
                return self._own_plan(upload_id)
            case RestorePlan(record):
                self._compare(record)
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
        """Plan what the caller gave; once, if it can be read only once.

        Raises:
            InvalidParameter: it was read by an earlier call, and is gone.
            SourceError: it cannot be read.
        """
        kept = self._kept
        if kept.plan is not None:
            try:
                kept.plan.check()
                return kept.plan
            except SourceError:
                self._drop_plan()
        if kept.read:
            raise InvalidParameter(
                "a stream was read by an earlier call, and what it held is gone: "
                "open it anew, and make another upload of it"
            )
        plan = self._stored_plan() if self._arguments.upload_id else self._made()
        spooled = any(
            isinstance(each, FileSource) and each.kind == "spool"
            for each in plan.sources
        )
        if plan is not self._arguments.content and (spooled or plan.record() is None):
            kept.plan, kept.read = plan, spooled
        return plan

    def _stored_plan(self) -> Plan:
        """Return the plan of the upload that was loaded."""
        upload_id = self._arguments.upload_id or ""
        upload = self.store.load(upload_id)
        record = None if upload is None else self.store.load_plan(upload.plan_digest)
        if record is None:
            raise InvalidParameter(
                f"upload_id: no plan is kept under {upload_id!r}; "
                "`poster list` shows what is"
            )
        return restore(record)

    def _own_plan(self, upload_id: str) -> Plan | None:
        kept = self._kept
        if kept.plan is None or kept.upload is None or kept.upload.id != upload_id:
            return None
        kept.plan.check()
        self.plan = kept.plan
        return self.plan

    def _compare(self, record: PlanRecord) -> None:
        """Say how this call differs from what is kept under its key."""
        arguments = self._arguments
        if arguments.key is None:
            return
        missing, new = other_names(record, self._content())
        if missing or new:
            _LOGGER.warning(
                "the form that is kept under key %r is sent, and not the one given: "
                "it has the fields %r, which are not given, and not %r, which are",
                arguments.key,
                missing,
                new,
            )
        check_files(record, self._content())

    def _drop_plan(self) -> None:
        plan, self._kept.plan = self._kept.plan, None
        if plan is not None:
            plan.close()

    def _made(self) -> Plan:
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
            own = self._kept.upload
            # What can be read only once is never the same twice: an upload that
            # this object has begun is known by what it was called then.
            unfinished = own is not None and not own.delivered
            self._identity = own.identity if own and unfinished else self._identified()
        return self._identity

    def delivered(self, opened: Opened, upload: Upload) -> Outcome:
        """Note that the caller has the outcome, and return it.

        Raises:
            UploadRejected: the final answer is an error.
        """
        with self._turn:
            return self._delivered(opened, upload)

    def _delivered(self, opened: Opened, upload: Upload) -> Outcome:
        response = upload.result or FinalResponse(0, truncated=True)
        if upload.result is not None:
            stored = upload.evolve(result=upload.result.storable())
            self.keep(stored.evolve(delivered=True))
            self.store.drop_spools(upload.plan_digest)
            self._drop_plan()
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
        with self._turn:
            self._broke(error, session, tracker)

    def undelivered(self) -> None:
        """Note that the outcome did not reach the caller after all."""
        with self._turn:
            if self.upload is not None and self.upload.delivered:
                self.keep(self.upload.evolve(delivered=False))

    def _broke(
        self, error: BaseException, session: Session | None, tracker: Tracker
    ) -> None:
        if not isinstance(error, UploadError):
            self.undelivered()
        if session is not None and not isinstance(error, UploadError):
            # Interrupted from outside: the session had no say.
            upload = session.abandoned(tracker.sent, tracker.length)
            if self.upload is not None and upload.phase != self.upload.phase:
                self.keep(upload)
        if isinstance(error, UploadError) and self.upload is not None:
            error.upload_id = self.upload.id

    def close(self) -> None:
        """Give up the claim and close what is open."""
        with self._turn:
            self._kept.upload = self.upload or self._kept.upload
            claimed, self._claimed = self._claimed, None
            if claimed is not None:
                self.store.release(claimed)
            if self.plan not in (None, self._arguments.content, self._kept.plan):
                assert self.plan is not None
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
        if not moved or self._tell is None:
            return None
        return self._meter.told(time.monotonic())

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
