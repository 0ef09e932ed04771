"""What failures mean at the command line: sentences, remedies, exit codes."""

from __future__ import annotations

import pytest

from poster_resume import errors
from poster_resume.cli.failures import explained, in_options
from poster_resume.responses import FinalResponse


def _error(kind: type[errors.UploadError], upload_id: str | None) -> errors.UploadError:
    error = (
        kind("it failed", FinalResponse(422))
        if kind is errors.UploadRejected
        else kind("it failed")
    )
    error.upload_id = upload_id
    return error


def _kinds(kind: type[errors.UploadError]) -> list[type[errors.UploadError]]:
    return [kind, *(e for sub in kind.__subclasses__() for e in _kinds(sub))]


#: Exit codes with and without an upload to go on with; else 75 and 75.
_CODES = {
    "InvalidParameter": (2, 2),
    "NotResumable": (1, 1),
    "SourceError": (75, 1),
    "SourceChanged": (1, 1),
    "StoreError": (75, 1),
    "UploadPaused": (130, 130),
    "TransportRefused": (1, 1),
    "UploadTooLarge": (1, 1),
    "UploadRejected": (3, 3),
    "OutcomeUnknown": (4, 4),
}


@pytest.mark.parametrize("kind", _kinds(errors.UploadError), ids=lambda k: k.__name__)
def test_every_error_has_its_exit_code(kind: type[errors.UploadError]) -> None:
    kept, lost = _CODES.get(kind.__name__, (75, 75))
    assert explained(_error(kind, "abc")).code == kept
    assert explained(_error(kind, None)).code == lost


@pytest.mark.parametrize("kind", _kinds(errors.UploadError), ids=lambda k: k.__name__)
def test_what_can_go_on_says_how(kind: type[errors.UploadError]) -> None:
    failure = explained(_error(kind, "abc"), go_on="poster resume {id} --state x")
    told = "\n".join(failure.remedies)
    if failure.code in (75, 4, 130):
        assert failure.resume == "poster resume abc --state x"
        assert failure.resume in told or kind is errors.UploadBusy
    else:
        assert failure.resume is None
        assert "poster resume" not in told


def test_an_unknown_outcome_offers_both_ways() -> None:
    failure = explained(_error(errors.OutcomeUnknown, "abc"))
    told = "\n".join(failure.remedies)
    assert "poster resume abc --assume complete" in told
    assert "poster resume abc --assume lost" in told


def test_what_cannot_go_on_says_how_to_be_rid_of_it() -> None:
    for kind in (errors.SourceChanged, errors.UploadTooLarge, errors.UploadRejected):
        failure = explained(
            _error(kind, "abc"), go_on="poster resume {id} --state x", unfinished=True
        )
        assert failure.remedies == ("to give it up: poster cancel abc --state x",)


def test_a_certificate_is_trusted_by_an_option() -> None:
    error = errors.TransportRefused("the TLS certificate is not accepted: why")
    assert "--cacert" in "".join(explained(error).remedies)
    error.upload_id = "abc"
    assert "poster resume abc" in "".join(explained(error, unfinished=True).remedies)


@pytest.mark.parametrize(("status", "option"), [(401, "--user"), (407, "-x http")])
def test_credentials_are_asked_for_where_they_belong(status: int, option: str) -> None:
    error = errors.Unauthorized("the server answered")
    error.status = status
    assert option in "".join(explained(error).remedies)


@pytest.mark.parametrize(("status", "told"), [(403, "--user"), (404, "poster probe")])
def test_a_refusal_says_what_may_be_wrong(status: int, told: str) -> None:
    error = errors.UploadRejected("the server answered", FinalResponse(status))
    assert told in "".join(explained(error).remedies)


@pytest.mark.parametrize(
    ("message", "spoken"),
    [
        ("params: 'a': there is no file x", "-F 'a': there is no file x"),
        ("target: not a URL; use x", "URL: not a URL; use x"),
        ("chunk_size: 0 is not more than 0", "--chunk-size: 0 is not more than 0"),
        ("headers: Host is set by the upload", "-H: Host is set by the upload"),
        ("the deadline has passed; call send() to go on", "the deadline has passed"),
        ('choose Tus(form="file") to', "choose --tus-form file to"),
        ("or pass store=None to keep no state", "or pass --no-state to keep no state"),
        (
            "name another directory by store= or X",
            "name another directory by --state or X",
        ),
        (
            "lost: look; look on the server, then send again with "
            'assume="complete" or assume="lost"',
            "lost: look",
        ),
        (
            "no connection: UNEXPECTED_EOF_WHILE_READING (https://x/…)",
            "no connection: the server broke off the TLS handshake; does it speak "
            "https? (https://x/…)",
        ),
        ("the connection broke: why", "the connection broke: why"),
    ],
)
def test_messages_name_options_and_not_parameters(message: str, spoken: str) -> None:
    assert in_options(message) == spoken
