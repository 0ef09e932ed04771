"""How an upload is spelled in a store: three texts that change at their own pace.

What is decided once (*fixed*), what moves with every acknowledgement
(*progress*: small, whatever the rest is), and the final answer (*result*).
Reading validates everything again: a store's content comes from outside.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ..errors import StoreError
from ..responses import FinalResponse
from ..upload import Upload

_FIXED = {
    "version", "id", "protocol", "options", "target", "method", "identity", "key",
    "content_type", "metadata", "plan_digest", "created",
}  # fmt: skip

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class WrittenUpload:
    """An upload as JSON texts; *result* None says that there is none yet."""

    fixed: str
    progress: str
    result: str | None


def write_upload(upload: Upload) -> WrittenUpload:
    """Spell *upload*. Of its result, only what may be stored is kept."""
    values = upload.model_dump(mode="json", exclude={"result"})
    return WrittenUpload(
        _json({k: v for k, v in values.items() if k in _FIXED}),
        _json({k: v for k, v in values.items() if k not in _FIXED}),
        None if upload.result is None else _write_result(upload.result.storable()),
    )


def read_upload(upload_id: str, written: WrittenUpload) -> Upload:
    """Return the upload that *written* spells.

    Raises:
        StoreError: it is not one, or one of a newer version.
    """
    try:
        values = json.loads(written.fixed) | json.loads(written.progress)
        if written.result is not None:
            values["result"] = _read_result(written.result)
        return Upload.model_validate(values)
    except (ValueError, TypeError, KeyError) as exc:
        raise _unreadable(f"upload {upload_id}", exc) from None


def read_model(kind: type[Model], text: bytes, what: str) -> Model:
    """Return the model that the JSON *text* spells; *what* it is, for messages.

    Raises:
        StoreError: it is not one.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as exc:
        raise _unreadable(what, exc) from None


def _write_result(result: FinalResponse) -> str:
    return _json(
        {
            "status_code": result.status_code,
            "headers": dict(result.headers),
            "content": base64.b64encode(result.content).decode("ascii"),
            "truncated": result.truncated,
        }
    )


def _read_result(text: str) -> FinalResponse:
    found = json.loads(text)
    content = base64.b64decode(found.pop("content"), validate=True)
    return FinalResponse(content=content, **found)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _unreadable(what: str, exc: Exception) -> StoreError:
    # Validation errors quote the values: targets and metadata stay out of messages.
    places = ""
    if isinstance(exc, ValidationError):
        names = {".".join(map(str, error["loc"])) for error in exc.errors()}
        places = f" ({', '.join(sorted(names))})"
    return StoreError(
        f"the stored state of {what} cannot be read{places}: it is damaged or was "
        "written by a newer version; upgrade poster-resume, or remove it from the "
        "store with delete()"
    )
