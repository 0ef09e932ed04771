from __future__ import annotations

import pytest

from poster_resume.errors import InvalidParameter, ServerBusy, Unauthorized
from poster_resume.flow import Request, Response
from poster_resume.protocols import RUFH, Oneshot, Tus, protocol_named
from poster_resume.protocols.discovery import Discovery, chosen, discover

TARGET = "https://example.test/files"


def asked(status: int, **headers: str) -> Discovery:
    flow = discover(TARGET)
    request = next(flow)
    assert isinstance(request, Request)
    assert (request.method, request.length) == ("OPTIONS", 0)
    assert "upload-complete" not in request.headers
    spelled = {name.replace("_", "-"): value for name, value in headers.items()}
    with pytest.raises(StopIteration) as stop:
        flow.send(Response(status, spelled))
    found: Discovery = stop.value.value
    return found


def auto(found: Discovery, *, form: bool) -> str:
    return chosen(found, form=form, fallback=Oneshot()).name


def test_an_upload_limit_means_rufh() -> None:
    found = asked(200, upload_limit="min-size=0")
    assert found.protocols == ("rufh",)
    assert auto(found, form=True) == "rufh"


@pytest.mark.parametrize("field", ["tus_version", "tus_extension", "tus_resumable"])
def test_any_tus_field_means_tus_for_raw_content_only(field: str) -> None:
    found = asked(204, **{field: "1.0.0"})
    assert auto(found, form=False) == "tus"
    assert auto(found, form=True) == "oneshot"


def test_both_mean_rufh_if_its_dialect_is_known() -> None:
    both = {"upload_limit": "min-size=0", "tus_version": "1.0.0"}
    assert auto(asked(200, **both), form=False) == "rufh"
    known = asked(200, **both, upload_draft_interop_version="6")
    protocol = chosen(known, form=False, fallback=Oneshot())
    assert isinstance(protocol, RUFH)
    assert protocol.dialect == "6"
    unknown = asked(200, **both, upload_draft_interop_version="99")
    assert auto(unknown, form=False) == "tus"


@pytest.mark.parametrize("status", [200, 204, 400, 403, 404, 405, 501])
def test_any_other_definite_answer_means_a_plain_request(status: int) -> None:
    assert auto(asked(status), form=True) == "oneshot"


def test_a_malformed_limit_is_no_limit() -> None:
    assert asked(200, upload_limit="max-size=many").protocols == ()


@pytest.mark.parametrize("status", [401, 407])
def test_credentials_are_asked_for(status: int) -> None:
    with pytest.raises(Unauthorized):
        asked(status)


@pytest.mark.parametrize("status", [408, 421, 425, 429, 500, 502, 503, 504])
def test_a_busy_server_has_not_answered(status: int) -> None:
    with pytest.raises(ServerBusy) as busy:
        asked(status, retry_after="7")
    assert busy.value.retry_after == 7


def test_limits_and_extensions_are_told() -> None:
    found = asked(
        204,
        tus_version="1.0.0",
        tus_max_size="1000",
        tus_extension="creation, Checksum",
        tus_checksum_algorithm="sha1,md5",
    )
    assert found.limits == {"max-size": 1000}
    assert found.extensions == ("creation", "checksum")
    assert found.checksums == ("sha1", "md5")


def test_protocols_are_found_by_name() -> None:
    assert isinstance(protocol_named("tus", {"checksum": "sha1"}), Tus)
    with pytest.raises(InvalidParameter, match="auto, rufh, tus, oneshot"):
        protocol_named("ftp")


def test_an_instance_of_ones_own_lends_its_class() -> None:
    class Mine(Oneshot):
        name = "mine"

    found = protocol_named("mine", {"replay": "always"}, Mine())
    assert isinstance(found, Mine)
    assert found.replay == "always"


def test_the_question_names_the_dialect_it_is_asked_in() -> None:
    request = next(discover(TARGET))
    assert isinstance(request, Request)
    assert request.headers == {"upload-draft-interop-version": "9"}


def test_a_failing_server_that_speaks_a_protocol_has_answered() -> None:
    assert asked(500, tus_resumable="1.0.0").protocols == ("tus",)


def test_the_stricter_field_is_not_replaced_by_the_other() -> None:
    limits = {"upload_limit": "max-size=5", "tus_max_size": "9"}
    assert asked(200, **limits, tus_version="1.0.0").limits == {"max-size": 5}


@pytest.mark.parametrize("size", ["", "-1", "\u0663", "1" * 16])
def test_a_size_that_is_no_number_bounds_nothing(size: str) -> None:
    assert asked(200, tus_version="1.0.0", tus_max_size=size).limits == {}


def test_a_tus_field_of_a_server_without_tus_bounds_nothing() -> None:
    assert asked(200, tus_max_size="9").limits == {}
