"""A driver without I/O: a model server, scripted faults, a clock that only sleeps."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import closing
from typing import TypeVar

from poster_resume.errors import ConnectError, TransportError, UploadError
from poster_resume.flow import (
    Check,
    Effect,
    Flow,
    Instant,
    Now,
    Recall,
    Remember,
    Reply,
    Report,
    Request,
    Response,
    Save,
    Sleep,
)
from poster_resume.progress import Event
from poster_resume.upload import Upload

from .models import Model
from .wire import Busy, Cut, Fault, Forget, LoseAnswer, Refuse

T = TypeVar("T")


class Killed(BaseException):
    """The process dies."""


class HandDriver:
    """Performs effects on *model*; dies at save number *dies_at*, counted from 1."""

    def __init__(
        self,
        model: Model,
        data: bytes,
        script: Iterable[Fault | None] = (),
        *,
        dies_at: int | None = None,
    ) -> None:
        self.model, self.data = model, data
        self.script = deque(script)
        self.dies_at = dies_at
        self.saved: list[Upload] = []
        self.events: list[Event] = []
        self.requests: list[Request] = []
        self.time = 0.0

    def run(self, flow: Flow[T]) -> T:
        with closing(flow):
            try:
                effect = next(flow)
                while True:
                    try:
                        reply = self.perform(effect)
                    except UploadError as error:
                        effect = flow.throw(error)
                    else:
                        effect = flow.send(reply)
            except StopIteration as stop:
                result: T = stop.value
                return result

    def perform(self, effect: Effect) -> Reply:
        match effect:
            case Request():
                return self._exchange(effect)
            case Save(upload):
                self.saved.append(upload)
                if len(self.saved) == self.dies_at:
                    raise Killed
            case Report(event):
                self.events.append(event)
            case Sleep(seconds):
                self.time += seconds
            case Now():
                return Instant(self.time, self.time)
            case Recall() | Remember() | Check():
                pass
            case _:
                raise AssertionError(f"unexpected: {effect}")
        return None

    def _exchange(self, request: Request) -> Response:
        fault = self.script.popleft() if self.script else None
        self.requests.append(request)
        if isinstance(fault, Refuse):
            raise ConnectError("refused")
        if isinstance(fault, Forget):
            self.model.forget()
        content = self._content(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = self.model.begin(request.method, request.url, headers)
        arrived = len(content)
        if answer is None:
            if isinstance(fault, (Cut, Busy)):
                arrived = min(arrived, fault.after)
            whole = arrived == len(content) and not isinstance(fault, Busy)
            answer = self.model.take(content[:arrived], whole=whole)
        if isinstance(fault, (Cut, LoseAnswer)):
            error = TransportError("cut")
            error.sent = arrived
            raise error
        if isinstance(fault, Busy):
            after = fault.retry_after
            headers = {} if after is None else {"retry-after": after}
            return Response(fault.status, headers, sent=arrived)
        assert answer is not None
        return Response(
            answer.status, dict(answer.headers), answer.content, sent=arrived
        )

    def _content(self, request: Request) -> bytes:
        content = request.content
        if isinstance(content, bytes):
            return content
        return self.data[content.start : content.stop]
