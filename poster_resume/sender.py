"""The blocking driver and its facade: performs what flows ask for, decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import TypeVar

from .arguments import given_headers
from .errors import UploadError
from .facade import UploadFacade, request_info
from .flow import Effect, Flow, Reply, Report, Request, Save, Sleep
from .opening import Assumption, asking, cancelling, opening, tidying
from .performing import Outcome, Tracker, Workbench, new_id
from .plan import Plan
from .progress import Progress
from .protocols.discovery import Discovery
from .session import Session
from .stores import open_store
from .transport import Bridge, own_cookies, shared_client, shows_interims

T = TypeVar("T")


def run(flow: Flow[T], perform: Callable[[Effect], Reply]) -> T:
    """Run *flow* to its end, performing each effect it asks for."""
    with closing(flow):
        try:
            effect = next(flow)
            while True:
                try:
                    reply = perform(effect)
                except UploadError as exc:
                    effect = flow.throw(exc)
                else:
                    effect = flow.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result


class ResumableUpload(UploadFacade):  # noqa: D101 (its base has it)
    __doc__ = UploadFacade.__doc__

    def plan(self) -> Plan:
        """Plan the representation: its exact bytes and length; nothing is sent.

        Raises:
            InvalidParameter: a parameter cannot be used as given.
            SourceError: a file cannot be read.
        """
        return Workbench(self._arguments, open_store(self._store), self._kept).planned()

    def send(self, *, assume: Assumption | None = None) -> Outcome:
        """Bring the upload to its end, going on from wherever it stands.

        *assume* settles an unknown outcome: ``"complete"`` believes that the
        server has it, ``"lost"`` starts over.

        Raises:
            UploadError: what happened; ``error.resumable`` says whether calling
                ``send()`` again goes on from here.
        """
        with self._sending:
            self._waker.reset()
            return _Driver(self).send(assume)

    def cancel(self) -> None:
        """Remove the upload from the server, and forget it.

        Raises:
            UploadBusy: somebody is sending it.
            UploadError: the server would not remove it; it is kept then.
        """
        with self._sending:
            self._waker.reset()
            _Driver(self).cancel(tell_server=True)

    def forget(self) -> None:
        """Forget the upload here; the server is not told.

        Raises:
            UploadBusy: somebody is sending it.
        """
        with self._sending:
            _Driver(self).cancel(tell_server=False)

    def probe(self) -> Discovery:
        """Ask the target what it speaks; nothing is created.

        Raises:
            UploadError: it gave no definite answer.
        """
        with self._sending:
            self._waker.reset()
            return _Driver(self).probe()


class _Driver:
    """One call on a facade, from the claim to the release."""

    def __init__(self, owner: UploadFacade) -> None:
        self._owner, self._arguments = owner, owner._arguments
        client = owner._client
        self._client = own_cookies(shared_client()) if client is None else client
        self._bench = Workbench(self._arguments, open_store(owner._store), owner._kept)
        self._tracker = Tracker(self._arguments)
        self._bridge = self._bridged(None)
        self._started = time.monotonic()

    def send(self, assume: Assumption | None) -> Outcome:
        bench, arguments = self._bench, self._arguments
        session: Session | None = None
        interims = shows_interims(self._client)
        try:
            rules = arguments.rules(interims=interims, monotonic=self._started)
            opened = run(
                opening(arguments.call(new_id(), assume), rules), self._perform
            )
            bench.upload = upload = opened.upload
            if opened.plan is not None and not upload.complete:
                self._bridge = self._bridged(opened.plan)
                rules = arguments.rules(
                    interims=interims,
                    monotonic=self._started,
                    closing=opened.plan.closing,
                )
                session = Session(upload, opened.protocol, rules)
                upload = run(session.run(), self._perform)
            with suppress(UploadError):  # the upload itself is done
                run(tidying(arguments.call("", None), rules), self._perform)
            return bench.delivered(opened, upload)
        except BaseException as error:
            bench.broke(error, session, self._tracker)
            raise
        finally:
            self._close()

    def cancel(self, *, tell_server: bool) -> None:
        rules = self._arguments.rules(interims=False, monotonic=self._started)
        call = self._arguments.call(new_id(), None)
        try:
            run(cancelling(call, rules, tell_server=tell_server), self._perform)
        finally:
            self._close()

    def probe(self) -> Discovery:
        rules = self._arguments.rules(interims=False, monotonic=self._started)
        try:
            call = self._arguments.call("", None)
            return run(asking(call, rules), self._perform)
        finally:
            self._close()

    def _close(self) -> None:
        self._bench.close()

    def _bridged(self, plan: Plan | None) -> Bridge:
        return Bridge(
            self._client,
            plan,
            headers_for=self._headers_for,
            auth=self._arguments.auth,
            on_progress=self._moved,
            perform=self._perform,
            waker=self._owner._waker,
        )

    def _perform(self, effect: Effect) -> Reply:
        match effect:
            case Request():
                self._tracker.began(effect, self._bench.length)
                return self._bridge.send(effect)
            case Report(event):
                if self._arguments.on_event is not None:
                    self._arguments.on_event(event)
                return None
            case Sleep(seconds):
                self._owner._waker.sleep(seconds)
                return None
            case Save(upload):
                self._bench.perform(effect)
                self._tell(self._tracker.acknowledged(upload.offset))
                return None
            case _:
                return self._bench.perform(effect)

    def _headers_for(self, request: Request) -> Mapping[str, str]:
        headers = self._arguments.headers
        if not callable(headers):
            return headers
        given = headers(request_info(request))
        return given_headers(given, "headers: what the callable returned")

    def _moved(self, count: int) -> None:
        self._tell(self._tracker.moved(count))

    def _tell(self, progress: Progress | None) -> None:
        if progress is not None and self._arguments.on_progress is not None:
            self._arguments.on_progress(progress)
