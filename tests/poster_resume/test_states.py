"""What an upload's state may be, and what of a final answer is kept."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from poster_resume.protocols import Oneshot, Tus, protocol_named
from poster_resume.ranges import ByteRange
from poster_resume.responses import STORE_LIMIT, FinalResponse

from .test_session import RESOURCE, upload_of


def test_an_offset_may_be_the_length_and_no_more() -> None:
    assert upload_of(10, offset=10).offset == 10
    with pytest.raises(ValidationError, match="exceeds length"):
        upload_of(10, offset=11)


def test_what_is_forgotten_of_a_resource_is_all_of_it() -> None:
    found = upload_of(
        10,
        resource=RESOURCE,
        offset=5,
        phase="sending",
        session={"limits": {}},
        expires=5.0,
        result=FinalResponse(200),
        append_size=4,
        key="k",
    )
    assert found.forget_resource() == upload_of(10, append_size=4, key="k")


@pytest.mark.parametrize(
    ("status", "success"), [(199, False), (200, True), (299, True), (300, False)]
)
def test_success_is_2xx(status: int, success: bool) -> None:
    assert FinalResponse(status).is_success is success


def test_no_cookie_and_no_secret_is_stored() -> None:
    secrets = {"set-cookie": "a", "set-cookie2": "b", "authentication-info": "c"}
    final = FinalResponse(200, secrets | {"etag": "d"}, b"body")
    assert final.storable() == FinalResponse(200, {"etag": "d"}, b"body")


@pytest.mark.parametrize(("more", "truncated"), [(0, False), (1, True)])
def test_what_is_too_long_to_keep_is_said_to_be_cut(more: int, truncated: bool) -> None:
    stored = FinalResponse(200, {}, b"x" * (STORE_LIMIT + more)).storable()
    assert (len(stored.content), stored.truncated) == (STORE_LIMIT, truncated)
    assert FinalResponse(200, {}, b"", truncated=True).storable().truncated


def test_http_counts_the_last_byte_in() -> None:
    assert ByteRange(0, 10).content_range(20) == "bytes 0-9/20"
    assert ByteRange(5, 5).content_range(None) == "bytes */*"


def test_an_instance_lends_its_class_to_its_own_name_alone() -> None:
    assert isinstance(protocol_named("tus", {}, Oneshot()), Tus)
    given = Oneshot(replay="always")
    found = protocol_named("oneshot", {"replay": "never"}, given)
    assert isinstance(found, Oneshot)
    assert found.replay == "never"
