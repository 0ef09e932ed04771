"""Playing the server to a single verb."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from poster_resume.flow import (
    Digest,
    Effect,
    Flow,
    Interim,
    Recall,
    Remember,
    Reply,
    Request,
    Response,
)
from poster_resume.upload import Upload

TARGET = "https://example.test/files"
RESOURCE = "https://example.test/files/1"


def upload_of(length: int | None = 100, **changes: object) -> Upload:
    upload = Upload(
        id="u1",
        protocol="rufh",
        target=TARGET,
        length=length,
        content_type="multipart/form-data; boundary=b",
    )
    return upload.evolve(**changes)


def created(length: int = 100, **changes: object) -> Upload:
    defaults: dict[str, object] = {"resource": RESOURCE, "phase": "sending"}
    return upload_of(length, **(defaults | changes))


class Verb:
    """One verb whose requests are answered by hand."""

    def __init__(self, flow: Flow[Upload], facts: Mapping[str, str] | None = None):
        self._flow, self._facts = flow, facts or {}
        self.remembered: list[Remember] = []

    def start(self) -> Request:
        return self._until_request(next(self._flow))

    def answer(self, status: int, content: bytes = b"", /, **headers: str) -> Request:
        return self._until_request(self._flow.send(_response(status, content, headers)))

    def finish(self, status: int, content: bytes = b"", /, **headers: str) -> Upload:
        with pytest.raises(StopIteration) as stop:
            self.answer(status, content, **headers)
        result: Upload = stop.value.value
        return result

    def fail(self, error: Exception) -> None:
        self._until_request(self._flow.throw(error))

    def _until_request(self, effect: Effect) -> Request:
        while not isinstance(effect, Request):
            effect = self._flow.send(self._perform(effect))
        return effect

    def _perform(self, effect: Effect) -> Reply:
        match effect:
            case Recall(_, key):
                return self._facts.get(key)
            case Remember():
                self.remembered.append(effect)
                return None
            case Digest(algorithm, content):
                return f"{algorithm}:{content.start}-{content.stop}".encode()
            case _:
                raise AssertionError(effect)


def result_of(flow: Flow[Upload], facts: Mapping[str, str] | None = None) -> Upload:
    """Run a verb that sends nothing."""
    with pytest.raises(StopIteration) as stop:
        Verb(flow, facts).start()
    result: Upload = stop.value.value
    return result


def interim(status: int = 104, /, **headers: str) -> Interim:
    return Interim(status, _spelled(headers), wall=1000.0, url=TARGET)


def _response(status: int, content: bytes, headers: Mapping[str, str]) -> Response:
    return Response(status, _spelled(headers), content, wall=1000.0, url="")


def _spelled(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
