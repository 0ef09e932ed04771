"""The state of one upload: everything needed to go on after a crash.

Frozen; change is a new value. What must survive a crash is here, and never in
a frame of a running program.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, JsonValue, NonNegativeInt, model_validator

from .responses import FinalResponse

Phase = Literal["new", "sending", "finishing", "complete", "unknown"]


class Upload(BaseModel):
    """One upload, as last acknowledged by the server.

    *target* gets the representation; *resource* is the URL of the upload
    resource once there is one. *length* and *offset* are bytes. *session*
    belongs to the protocol alone (limits, upload ids): nobody else reads it.
    *phase* ``finishing`` is durable before any request whose content reaches
    the end; "gone" after that is an unknown outcome, never a reason to start
    over. Times are seconds since the epoch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: Literal[1] = 1
    id: str
    protocol: str
    options: dict[str, JsonValue] = {}
    target: str
    method: str = "POST"
    identity: str = ""
    key: str | None = None
    resource: str | None = None
    length: NonNegativeInt | None
    offset: NonNegativeInt = 0
    content_type: str
    metadata: dict[str, str] = {}
    phase: Phase = "new"
    plan_digest: str = ""
    append_size: NonNegativeInt | None = None
    session: dict[str, JsonValue] = {}
    result: FinalResponse | None = None
    delivered: bool = False
    expires: float | None = None
    created: float = 0.0
    updated: float = 0.0

    @model_validator(mode="after")
    def _offset_within_length(self) -> Self:
        if self.length is not None and self.offset > self.length:
            raise ValueError(f"offset {self.offset} exceeds length {self.length}")
        return self

    @property
    def complete(self) -> bool:
        """Whether the target resource has given its final answer."""
        return self.phase == "complete"

    def __repr_args__(self) -> Iterable[tuple[str | None, object]]:
        """Show what tells uploads apart, and no URL: those are capabilities."""
        shown = ("id", "protocol", "phase", "offset", "length")
        return [(name, getattr(self, name)) for name in shown]

    def evolve(self, **changes: object) -> Self:
        """Return a copy with *changes* applied and validated."""
        return self.model_validate(dict(self) | changes)

    def forget_resource(self) -> Self:
        """Return a copy that has yet to be created on the server."""
        return self.evolve(
            resource=None, offset=0, session={}, phase="new", expires=None, result=None
        )
