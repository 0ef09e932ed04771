"""How a call meets its earlier state: find, claim, restore or plan, and probe.

A flow, so that neither facade decides anything: the drivers only perform.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from .errors import (
    InvalidParameter,
    NotResumable,
    OutcomeUnknown,
    SourceChanged,
    StoreError,
    UploadBusy,
    UploadError,
    origin_of,
)
from .flow import (
    Claim,
    Delete,
    Find,
    Flow,
    Identify,
    Instant,
    Load,
    LoadPlan,
    MakePlan,
    OwnPlan,
    Prune,
    RestorePlan,
    Save,
    SavePlan,
    Sleep,
    now,
    report,
)
from .plan import Plan
from .progress import Event
from .protocols import UploadProtocol, protocol_named
from .protocols.discovery import Discovery, chosen, discover
from .records import PlanRecord
from .responses import FinalResponse
from .retry import retrying
from .session import Guard, Rules, Session
from .upload import Upload

#: Seconds for which a delivered outcome with a key is returned again.
DELIVERED_SECONDS = 7 * 86400.0
#: Seconds between two looks at whether an upload's owner is done.
_CLAIM_INTERVAL = 0.2
#: Expired uploads that one call cancels at most: it has something else to do.
_TIDIED_AT_ONCE = 3

Assumption = Literal["complete", "lost"]


@dataclass(frozen=True, slots=True)
class Call:
    """What a caller asked for, as far as opening needs to know it.

    *protocol* None stands for ``auto``, then *fallback* is what a server gets
    that speaks nothing resumable. *upload_id* names an upload to go on with;
    without it the identity of target and content finds one. *wait* is seconds.
    """

    target: str
    method: str
    protocol: UploadProtocol | None
    fallback: UploadProtocol
    form: bool
    upload_id: str | None = None
    new_id: str = ""
    key: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    require_resumable: bool = False
    on_change: Literal["raise", "restart"] = "raise"
    wait: float = 0
    assume: Assumption | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """An upload that is ours to send, with what is needed for it.

    *plan* is None where nothing is left to send.
    """

    upload: Upload
    protocol: UploadProtocol
    plan: Plan | None


def opening(call: Call, rules: Rules) -> Flow[Opened]:
    """Find the upload of *call*, or make it. The claim is kept on return.

    Raises:
        UploadBusy: somebody else is sending it.
        SourceChanged: its sources are no longer those that were planned.
        NotResumable: the server speaks nothing that *call* accepts.
        StoreError: its state cannot be read or kept.
    """
    found, waited = yield from _found(call)
    if found is None:
        return (yield from _fresh(call, rules))
    moment = yield from now()
    if found.complete and not waited and _spent(found, call, moment):
        return (yield from _fresh(call, rules))
    protocol = protocol_named(found.protocol, found.options, call.protocol)
    protocol = protocol.permitting(call.protocol or call.fallback)
    if found.complete:
        yield from report(Event("found", "it was complete already", found.offset))
        return Opened(found, protocol, None)
    if call.assume is not None and found.phase == "finishing":
        # Only what nobody can say is the caller's to settle.
        session = Session(found, protocol, rules)
        with suppress(OutcomeUnknown):
            yield from session.proven()
        found = session.upload
        if found.complete:
            return Opened(found, protocol, None)
    if call.assume is not None and found.phase == "unknown":
        if call.assume == "complete":
            return Opened((yield from _assumed(found)), protocol, None)
        yield from _discarded(found, protocol, rules)
        found = found.forget_resource()
        yield Save(found)
    return (yield from _resumed(call, rules, found, protocol))


def cancelling(call: Call, rules: Rules, *, tell_server: bool) -> Flow[Upload | None]:
    """Forget the upload of *call*; first have the server remove it, if *tell_server*.

    Returns what was forgotten, None if nothing was kept.

    Raises:
        UploadBusy: somebody is sending it.
        UploadError: the server would not remove it; it is kept then.
    """
    found, _ = yield from _found(call)
    if found is None:
        return None
    if tell_server and found.resource is not None and not found.complete:
        protocol = protocol_named(found.protocol, found.options, call.protocol)
        yield from Session(found, protocol, rules).cancelled()
    yield Delete(found.id)
    return found


def asking(call: Call, rules: Rules) -> Flow[Discovery]:
    """Ask the target of *call*, or of the upload that it names, what it speaks.

    Raises:
        InvalidParameter: nothing is kept under the upload's id.
        UploadError: as from `probing`.
    """
    target = call.target
    if call.upload_id is not None:
        target = (yield from _loaded(call.upload_id)).target
    return (yield from probing(target, rules))


def probing(target: str, rules: Rules) -> Flow[Discovery]:
    """Ask *target* what it speaks, patiently, by the rules for every request.

    Raises:
        Unauthorized: it wants other credentials than it was given.
        UploadError: it gave no answer within the policy's patience.
    """
    guard = Guard(target, rules)

    def attempt() -> Flow[Discovery]:
        while True:
            try:
                return (yield from guard.run(discover(target)))
            except UploadError as error:
                guard.attempt += 1
                if guard.may_refresh(error):
                    continue
                raise

    return (
        yield from retrying(
            rules.policy, attempt, lambda: False, deadline=rules.deadline
        )
    )


def tidying(call: Call, rules: Rules) -> Flow[None]:
    """Forget uploads whose time is long over: delivered ones, and expired ones.

    An expired one is cancelled first, if it belongs to the origin that was just
    uploaded to: its credentials are at hand. Others wait until theirs is.
    """
    reply = yield Prune()
    assert isinstance(reply, tuple)
    here = origin_of(call.target)
    tidied = 0
    for upload in reply:
        if tidied == _TIDIED_AT_ONCE:
            return
        if origin_of(upload.target) != here:
            continue
        try:
            protocol = protocol_named(upload.protocol, upload.options, call.protocol)
        except InvalidParameter:
            continue  # another program's, whose protocol is not installed here
        yield from _discarded(upload, protocol, rules)
        yield Delete(upload.id)
        tidied += 1


def _found(call: Call) -> Flow[tuple[Upload | None, bool]]:
    """Claim the upload of *call*; return it, and whether this call waited for it.

    An outcome that was waited for is this call's own: sending again would double
    the upload. Looking before and after tells, as clocks may be set meanwhile.
    """
    if call.upload_id is not None:
        upload = yield from _loaded(call.upload_id)
        yield from _claimed(upload.identity, call.wait)
        # Its last owner may have moved it between the look and the claim.
        return (yield from _loaded(call.upload_id)), False
    identity = yield Identify()
    assert isinstance(identity, str)
    before = (yield Find(identity)) if call.wait else None
    assert before is None or isinstance(before, Upload)
    waited = yield from _claimed(identity, call.wait)
    found = yield Find(identity)
    assert found is None or isinstance(found, Upload)
    return found, waited and found is not None and _ended(before, found)


def _ended(before: Upload | None, found: Upload) -> bool:
    """Whether *found* was delivered since *before* was seen, and not rejected."""
    if not found.delivered or _rejected(found):
        return False
    return before is None or before.id != found.id or not before.delivered


def _rejected(found: Upload) -> bool:
    return found.result is not None and found.result.status_code >= 400


def _claimed(identity: str, wait: float) -> Flow[bool]:
    """Become the one sender of *identity*; ask again for *wait* seconds.

    Returns whether somebody else was.
    """
    began = yield from now()
    waited = False
    while True:
        try:
            yield Claim(identity)
            return waited
        except UploadBusy:
            if (yield from now()).monotonic >= began.monotonic + wait:
                raise
        waited = True
        yield Sleep(_CLAIM_INTERVAL)


def _loaded(upload_id: str) -> Flow[Upload]:
    reply = yield Load(upload_id)
    if not isinstance(reply, Upload):
        raise InvalidParameter(
            f"upload_id: nothing is kept under {upload_id!r}; "
            "`poster list` shows what is"
        )
    return reply


def _spent(found: Upload, call: Call, moment: Instant) -> bool:
    """Whether a complete upload has had its day, so that this call is a new one."""
    if not found.delivered or call.upload_id is not None:
        return False
    if found.key is None or _rejected(found):
        return True
    return moment.wall - found.updated > DELIVERED_SECONDS


def _resumed(
    call: Call, rules: Rules, found: Upload, protocol: UploadProtocol
) -> Flow[Opened]:
    rotated = call.upload_id is None and found.target != call.target
    if found.key is not None and rotated:
        # The key stands for it, so the target may carry a new token; and what
        # this call brings along was meant for the origin that it names.
        found = found.evolve(target=call.target)
        yield Save(found)
    try:
        plan = yield from _restored(found)
        if plan is None:
            return (yield from _lost(call, rules, found, protocol))
    except UploadError as error:
        error.upload_id = found.id
        if not isinstance(error, SourceChanged):
            raise
        found = yield from _settled(found, protocol, rules)
        if found.complete:
            return Opened(found, protocol, None)
        if call.on_change != "restart" or call.upload_id is not None:
            raise
        yield from _discarded(found, protocol, rules)
        yield Delete(found.id)
        return (yield from _fresh(call, rules))
    if found.length != plan.length:
        raise StoreError(
            f"the stored plan of upload {found.id} does not fit it; "
            f"cancel it with `poster cancel {found.id}` and send again"
        )
    yield from report(Event("found", f"going on with {found.id}", found.offset))
    return Opened(found, protocol, plan)


def _lost(
    call: Call, rules: Rules, found: Upload, protocol: UploadProtocol
) -> Flow[Opened]:
    """Start over what was planned from sources that nobody can find again.

    Raises:
        OutcomeUnknown: it may be complete, and the server cannot say.
    """
    found = yield from _settled(found, protocol, rules)
    if found.complete:
        return Opened(found, protocol, None)
    if call.upload_id is not None:
        raise StoreError(
            f"upload {found.id} was planned from what only its own process had; "
            f"cancel it with `poster cancel {found.id}` and send again"
        )
    yield from _discarded(found, protocol, rules)
    yield Delete(found.id)
    return (yield from _fresh(call, rules))


def _settled(found: Upload, protocol: UploadProtocol, rules: Rules) -> Flow[Upload]:
    """Ask the server how *found* stands, if its last bytes may have left.

    Whatever became of its sources, what may be complete is not given up unasked.

    Raises:
        OutcomeUnknown: it may be complete, and the server cannot say.
        UploadError: the server gave no definite answer.
    """
    if found.phase not in ("finishing", "unknown"):
        return found
    try:
        return (yield from Session(found, protocol, rules).proven())
    except UploadError as error:
        error.upload_id = found.id
        raise


def _restored(found: Upload) -> Flow[Plan | None]:
    if not found.plan_digest:
        own = yield OwnPlan(found.id)
        assert own is None or isinstance(own, Plan)
        return own
    record = yield LoadPlan(found.plan_digest)
    if not isinstance(record, PlanRecord):
        raise StoreError(
            f"the plan of upload {found.id} is missing from the state directory; "
            f"cancel it with `poster cancel {found.id}` and send again"
        )
    plan = yield RestorePlan(record)
    assert isinstance(plan, Plan)
    return plan


def _fresh(call: Call, rules: Rules) -> Flow[Opened]:
    plan = yield MakePlan()
    assert isinstance(plan, Plan)
    yield from report(Event("planned", f"{plan.length} bytes"))
    protocol = call.protocol or (yield from _chosen(call, rules))
    if call.require_resumable and not protocol.resumable:
        raise NotResumable(
            "require_resumable: one plain request cannot be resumed; choose another "
            "protocol, or leave require_resumable out"
        )
    record = plan.record()
    if record is not None:
        yield SavePlan(record)
    identity = yield Identify()
    assert isinstance(identity, str)
    moment = yield from now()
    upload = Upload(
        id=call.new_id,
        protocol=protocol.name,
        options=protocol.options(),
        target=call.target,
        method=call.method,
        identity=identity,
        key=call.key,
        length=plan.length,
        content_type=plan.content_type,
        metadata=dict(call.metadata),
        plan_digest="" if record is None else record.digest,
        created=moment.wall,
        updated=moment.wall,
    )
    yield Save(upload)
    return Opened(upload, protocol, plan)


def _chosen(call: Call, rules: Rules) -> Flow[UploadProtocol]:
    found = yield from probing(call.target, rules)
    protocol = chosen(found, form=call.form, fallback=call.fallback)
    if protocol.resumable:
        yield from report(Event("probed", f"the server speaks {protocol.name}"))
        return protocol
    said = "the server speaks no resumable protocol"
    if "tus" in found.protocols:
        said = (
            "the server speaks tus, which stores what it gets as a file: choose "
            'Tus(form="file") or Tus(form="multipart")'
        )
    if call.require_resumable:
        raise NotResumable(f"require_resumable: {said}")
    yield from report(Event("not_resumable", f"{said}: one plain request"))
    return protocol


def _discarded(found: Upload, protocol: UploadProtocol, rules: Rules) -> Flow[None]:
    """Remove an upload that will not be continued, as well as may be."""
    if found.resource is None:
        return
    try:
        yield from Session(found, protocol, rules).cancel()
    except UploadError as error:
        message = f"the earlier upload could not be cancelled: {error}"
        yield from report(Event("interrupted", message, error=error))


def _assumed(found: Upload) -> Flow[Upload]:
    """Believe the caller that *found* is complete. Nobody saw its answer."""
    unseen = FinalResponse(0, truncated=True)
    complete = found.evolve(phase="complete", offset=found.length, result=unseen)
    yield Save(complete)
    return complete
