"""One upload from its state to its end, for every protocol: the only loop.

There is one way to go on: ask the server for its offset and continue from
there. A dropped connection, a process restart and a pause all come back
through :meth:`Session.run`, so the path that matters most runs most. Whatever
a verb wants sent passes :meth:`Session._guarded`, which keeps the rules on
redirects, credentials and deadlines.
"""

from __future__ import annotations

from ..errors import (
    ContentTooLarge,
    OffsetMismatch,
    OutcomeUnknown,
    ProtocolError,
    Recovery,
    ServerBusy,
    TransportError,
    UploadError,
    UploadGone,
    UploadRejected,
    UploadTooLarge,
)
from ..flow import Check, Flow, Save, Sleep, T, report
from ..progress import Event
from ..protocols import UploadProtocol
from ..protocols.oneshot import unknown
from ..ranges import ByteRange
from ..retry import retrying
from ..upload import Upload
from .guard import Guard, Rules
from .sizes import after_loss, left, next_append

#: Answers within which an offset has to come to rest after a break.
_AGREEMENTS = 40


class Session:
    """Brings one upload to completion, surviving what the rules tolerate."""

    def __init__(self, upload: Upload, protocol: UploadProtocol, rules: Rules) -> None:
        self.upload, self._protocol, self._rules = upload, protocol, rules
        withhold = 0 if protocol.resumable else rules.closing
        self._guard = Guard(
            upload.target, rules, withhold=withhold, refreshable=protocol.refreshable
        )
        #: The end of what was ever sent; None after a restart: we can't know.
        self._sent_to: int | None = None
        #: The highest offset ever acknowledged, and when patience last saw it.
        self._reached = self._counted = upload.offset
        #: The last append that broke, and how much of it had left.
        self._broken: ByteRange | None = None
        #: The smallest append that was refused for its size.
        self._ceiling: int | None = None
        self._clean = 0
        self._restarted = self._went_back = self._in_step = False

    def run(self) -> Flow[Upload]:
        """Go on from wherever the upload stands, to its final answer.

        Raises:
            UploadError: see the class of the error for what may be done.
        """
        try:
            yield from retrying(
                self._rules.policy,
                self._attempt,
                self._progressed,
                deadline=self._rules.deadline,
            )
        except OutcomeUnknown:
            yield from self._settle(self.upload.evolve(phase="unknown"))
            raise
        yield from report(Event("complete", offset=self.upload.offset))
        return self.upload

    def cancel(self) -> Flow[None]:
        """Ask the server once to remove the upload."""
        yield from self._guarded(self._protocol.cancel(self.upload))

    def cancelled(self) -> Flow[None]:
        """Have the server remove the upload, as patiently as it would be sent.

        Raises:
            UploadError: it would not.
        """
        yield from retrying(
            self._rules.policy,
            self._cancel_attempt,
            lambda: False,
            deadline=self._rules.deadline,
        )

    def proven(self) -> Flow[Upload]:
        """Find out how the upload ended, without anything to send.

        Raises:
            OutcomeUnknown: the server cannot say.
            UploadError: it gave no definite answer.
        """
        try:
            yield from retrying(
                self._rules.policy,
                self._prove_attempt,
                lambda: False,
                deadline=self._rules.deadline,
            )
        except OutcomeUnknown:
            yield from self._settle(self.upload.evolve(phase="unknown"))
            raise
        return self.upload

    def _prove_attempt(self) -> Flow[None]:
        while True:
            try:
                yield from self._synchronise()
                return
            except UploadError as error:
                self._guard.attempt += 1
                if not self._guard.may_refresh(error):
                    raise

    def _cancel_attempt(self) -> Flow[None]:
        while True:
            try:
                yield from self.cancel()
                return
            except UploadError as error:
                self._guard.attempt += 1
                if not self._guard.may_refresh(error):
                    raise

    def abandoned(self, sent: int | None, length: int) -> Upload:
        """Return what to save when a request was abandoned from outside.

        Of its *length* bytes of content *sent* had left, None if unknown.
        """
        upload = self.upload
        if upload.phase != "finishing" or sent is None or sent >= length:
            return upload
        return upload.evolve(phase="new" if upload.resource is None else "sending")

    # -- one attempt -------------------------------------------------------

    def _attempt(self) -> Flow[None]:
        while not self.upload.complete:
            try:
                if not self._in_step:
                    yield from self._synchronise()
                while not self.upload.complete:
                    yield from self._advance()
            except UploadError as error:
                self._in_step = False
                yield from self._failed(error)

    def _synchronise(self) -> Flow[None]:
        upload, resumable = self.upload, self._protocol.resumable
        begun = upload.resource is not None if resumable else upload.phase != "new"
        in_doubt = upload.phase == "finishing" and upload.resource is None
        if upload.phase == "unknown" or in_doubt:
            yield from self._prove()
        elif not begun:
            yield from self._create()
        else:
            yield from self._retrieve_offset()

    def _advance(self) -> Flow[None]:
        before, protocol = self.upload, self._protocol
        assert before.length is not None
        at_end = before.offset == before.length
        if at_end:
            content = ByteRange(before.length, before.length)
        elif protocol.resumable:
            limits = protocol.limits(before)
            content = next_append(before, limits, self._rules.chunk_size)
        else:
            content = ByteRange(0, before.length)  # a plain request is not divisible
        yield from self._before(content)
        try:
            after = yield from self._guarded(
                protocol.complete(self.upload)
                if at_end
                else protocol.append(self.upload, content)
            )
        except UploadError as error:
            yield from self._unsent(error, content)
            self._broken = left(error, content)
            raise
        self._went_out(content)
        yield from self._believe(after)
        if after.offset <= before.offset and not after.complete:
            self._broken = content
            raise OffsetMismatch("append: the server kept nothing of what it accepted")
        yield from self._grow()

    def _failed(self, error: UploadError) -> Flow[None]:
        """Put the state right after *error*; return to go on at once, or raise."""
        self._guard.attempt += 1
        if self._guard.may_refresh(error, self._reached):
            yield from report(Event("refreshed", str(error), self.upload.offset))
            return
        if isinstance(error, ContentTooLarge):
            yield from self._shrink(error)
            return
        if isinstance(error, UploadRejected):
            yield from self._doubt(error)
            return
        if error.recovery is Recovery.RECREATE:
            yield from self._gone(error)
        if not self.upload.complete:
            raise error

    # -- the verbs, and what is made durable around them -----------------------

    def _create(self) -> Flow[None]:
        protocol = self._protocol
        upload = yield from self._guarded(
            protocol.prepare(self.upload, interims=self._rules.interims)
        )
        carried = protocol.creation_content(upload)
        largest = upload.append_size or self._rules.chunk_size
        if carried is not None and largest is not None and carried.length > largest:
            upload = protocol.created_carefully(upload)
            carried = protocol.creation_content(upload)
        content = carried or ByteRange(0, 0)
        yield from self._settle(upload)
        if carried is not None:
            yield from self._before(carried)
        try:
            upload = yield from self._guarded(protocol.create(self.upload))
        except UploadError as error:
            yield from self._unsent(error, content)
            if content.length:
                yield from self._settle(protocol.created_carefully(self.upload))
                self._broken = left(error, content)
            raise
        self._went_out(content)
        yield from self._believe(upload)
        if protocol.resumable:
            yield from report(Event("created", offset=self.upload.offset))

    def _retrieve_offset(self) -> Flow[None]:
        """Ask for the offset, until two answers agree."""
        upload = yield from self._asked()
        for _ in range(_AGREEMENTS):
            if upload.complete or not self._protocol.resumable:
                break
            # It is asked after breaks only: bytes that were under way show up late.
            yield Sleep(self._rules.policy.settle / 2)
            before, upload = upload, (yield from self._asked())
            if upload.offset == before.offset:
                break
        else:
            raise ServerBusy("retrieve offset: the offset does not come to rest")
        if not upload.complete:
            upload = upload.evolve(phase="sending")
        yield from self._believe(upload)
        if not upload.complete and self._protocol.resumable:
            yield from report(Event("resumed", offset=upload.offset))
            yield from self._learn()

    def _asked(self) -> Flow[Upload]:
        protocol = self._protocol
        try:
            return (yield from self._guarded(protocol.retrieve_offset(self.upload)))
        except UploadGone:
            if self.upload.phase != "finishing":
                raise
            return (yield from self._proof())

    def _prove(self) -> Flow[None]:
        """Find out how an upload ended whose last answer was lost."""
        upload = yield from self._proof()
        if not upload.complete:
            upload = upload.evolve(phase="sending")
        self._sent_to = None
        yield from self._believe(upload)

    def _proof(self) -> Flow[Upload]:
        if self._protocol.resumable and self.upload.resource is None:
            raise OutcomeUnknown(
                unknown("the first request may have left whole, and got no answer")
            )
        try:
            return (yield from self._guarded(self._protocol.prove(self.upload)))
        except UploadGone as gone:
            raise OutcomeUnknown(
                unknown("the last bytes went out and the server forgot the upload")
            ) from gone

    def _before(self, content: ByteRange) -> Flow[None]:
        """Make durable what must be known before *content* leaves."""
        if content.stop != self.upload.length:
            return
        yield Check()
        yield from self._settle(self.upload.evolve(phase="finishing"))

    def _settle(self, upload: Upload) -> Flow[None]:
        self.upload = upload
        yield Save(upload)

    # -- what answers and failures teach -----------------------------------------

    def _believe(self, upload: Upload) -> Flow[None]:
        """Take over what the server says, if it can be true."""
        before, sent_to = self.upload, self._sent_to
        if upload.complete:
            yield from self._whole(upload)
        else:
            if sent_to is not None and upload.offset > sent_to:
                raise ProtocolError(
                    f"the server claims {upload.offset} bytes, only {sent_to} were "
                    "sent; cancel this upload and start again"
                )
            if upload.offset < before.offset:
                yield from self._back(upload.offset, before.offset)
        yield from self._settle(upload)
        if upload.offset > self._reached:
            self._reached = upload.offset
            self._guard.attempt = 1
            yield from report(Event("acknowledged", offset=upload.offset))

    def _whole(self, upload: Upload) -> Flow[None]:
        """Make sure that what is called complete can be: the end must have left."""
        assert upload.length is not None
        before, sent_to = self.upload, self._sent_to
        if upload.result is not None and upload.result.status_code >= 400:
            return  # it needs nothing whole to refuse it
        if sent_to is None and before.phase in ("finishing", "unknown"):
            return
        if sent_to is not None and sent_to >= upload.length:
            return
        # The phase must not tell the next call that everything may have left.
        phase = "new" if before.resource is None else "sending"
        yield from self._settle(before.evolve(phase=phase))
        raise ProtocolError(
            f"the server calls the upload complete, but of {upload.length} bytes only "
            f"{before.offset if sent_to is None else sent_to} were sent; look at what "
            "it has, then cancel this upload and start again"
        )

    def _went_out(self, content: ByteRange) -> None:
        """Note how much of *content* had left when its answer came."""
        sent = self._guard.sent
        length = content.length if sent is None else sent
        self._sent_to = max(self._sent_to or 0, content.start + length)

    def _back(self, offset: int, before: int) -> Flow[None]:
        if self._went_back:
            raise ProtocolError(
                f"the server's offset went back twice, to {offset} from {before}; "
                "cancel this upload and start again"
            )
        self._went_back = True
        message = f"the server lost acknowledged bytes: {before} before, {offset} now"
        yield from report(Event("went_back", message, offset))

    def _unsent(self, error: UploadError, content: ByteRange) -> Flow[None]:
        """After a failure, judge what may have left; nothing short is finished."""
        sent = error.sent
        self._sent_to = max(
            self._sent_to or 0,
            content.start + (content.length if sent is None else sent),
        )
        upload = self.upload
        if upload.phase != "finishing":
            return
        # A server that failed with everything in hand may have used it first. Of
        # an upload resource that was sent everything, no status says otherwise,
        # only an offset: some answer 4xx to what they have stored whole.
        failed = isinstance(error, ServerBusy) and error.maybe_processed
        refused = isinstance(error, ProtocolError) and not failed
        short = sent is not None and sent < content.length
        if short or (refused and upload.resource is None):
            phase = "new" if upload.resource is None else "sending"
            yield from self._settle(upload.evolve(phase=phase))
            return
        lost = failed or isinstance(error, TransportError)
        if lost and self._protocol.resumable and upload.resource is None:
            because = str(error) if failed else "the connection broke before the answer"
            raise OutcomeUnknown(unknown(because)) from error

    def _learn(self) -> Flow[None]:
        """Send a quarter at once, after an append that broke and left nothing."""
        broken = self._broken
        if self._rules.chunk_size is not None:
            return  # some servers take appends of that very size alone
        if broken is None or self.upload.offset > broken.start:
            return
        limits = self._protocol.limits(self.upload)
        size = after_loss(broken, limits)
        if size < broken.length:
            yield from self._resize(size)

    def _shrink(self, error: ContentTooLarge) -> Flow[None]:
        """Send half at once, after a request was refused for its size."""
        upload, broken = self.upload, self._broken
        self._broken = None
        if broken is None:
            raise error  # it had no content: smaller appends would not help
        refused = broken.length
        limits = self._protocol.limits(upload)
        smallest = max(1, limits.min_append_size)
        if not self._protocol.resumable or refused <= smallest:
            size = "one byte" if refused == 1 else f"{refused} bytes"
            raise UploadTooLarge(
                f"the server refuses even {size} at once (413)"
            ) from error
        self._ceiling = refused
        yield from self._resize(max(refused // 2, smallest))

    def _grow(self) -> Flow[None]:
        """Two clean appends in a row: twice as much at once."""
        self._clean += 1
        size = self.upload.append_size
        if size is None or self._clean < 2 or self.upload.complete:
            return
        if self._ceiling is None or size * 2 < self._ceiling:
            yield from self._resize(size * 2)

    def _resize(self, size: int) -> Flow[None]:
        self._clean = 0
        yield from self._settle(self.upload.evolve(append_size=size))
        message = f"appends of {size} bytes from now on"
        yield from report(Event("resized", message, self.upload.offset))

    def _doubt(self, error: UploadRejected) -> Flow[None]:
        """Ask before giving up: an error status may come with bytes stored."""
        if not self._protocol.resumable or self.upload.resource is None:
            raise error
        error.resumable = True
        before = self.upload.offset
        try:
            yield from self._retrieve_offset()
        except UploadError:
            raise error from None
        if not self.upload.complete and self.upload.offset <= before:
            raise error
        self._in_step = True

    def _gone(self, error: UploadError) -> Flow[None]:
        if self.upload.phase == "finishing":
            yield from self._prove()
            return
        if self._rules.on_gone == "raise" or self._restarted:
            error.recovery = Recovery.NONE
            raise error
        self._restarted = True
        self._sent_to = 0
        yield from self._settle(self.upload.forget_resource())
        message = "the server forgot the upload: starting over"
        yield from report(Event("restarted", message))

    def _progressed(self) -> bool:
        advanced, self._counted = self._reached > self._counted, self._reached
        return advanced

    def _guarded(self, verb: Flow[T]) -> Flow[T]:
        """Run *verb* by the rules, keeping what interim answers teach."""
        self._guard.upload = self._guard.sent = None
        try:
            return (yield from self._guard.run(verb))
        finally:
            if self._guard.upload is not None:
                self.upload = self._guard.upload
