from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from poster_resume.arguments import Arguments, checked, file_of_form, stored
from poster_resume.errors import InvalidParameter
from poster_resume.protocols import Oneshot, Tus
from poster_resume.retry import RetryPolicy

TARGET = "https://example.test/files"


def given(target: str = TARGET, params: Any = None, **others: Any) -> Arguments:
    defaults: dict[str, Any] = {
        "content": None,
        "content_type": None,
        "metadata": None,
        "headers": None,
        "auth": None,
        "protocol": "auto",
        "replay": "never",
        "trusted_origins": (),
    }
    if params is None and "content" not in others:
        params = {"a": "b"}
    return checked(target, params, **(defaults | others))


@pytest.mark.parametrize(
    "target",
    [
        "",
        "example.test/files",
        "/files",
        "ftp://example.test/",
        "file:///etc/passwd",
        "https:///files",
        "https://example.test:port/",
        "https://example.test/a b",
        "https://example.test/a\r\nx: y",
        "https://[::1/",
    ],
)
def test_targets_that_are_no_absolute_http_urls_are_refused(target: str) -> None:
    with pytest.raises(InvalidParameter, match="target"):
        given(target)


def test_a_target_of_another_type_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="target"):
        given(b"https://example.test/")  # type: ignore[arg-type]  # on purpose


def test_userinfo_becomes_credentials_and_leaves_the_target() -> None:
    arguments = given("https://me:p%40ss@example.test:8443/files?x=1#y")
    assert arguments.target == "https://example.test:8443/files?x=1"
    assert arguments.auth == ("me", "p@ss")


def test_given_credentials_win_over_userinfo() -> None:
    arguments = given("https://me:pass@example.test/", auth=("you", "word"))
    assert arguments.auth == ("you", "word")


def test_exactly_one_of_form_and_content() -> None:
    with pytest.raises(InvalidParameter, match="exactly one"):
        given(params={"a": "b"}, content=b"x")
    with pytest.raises(InvalidParameter, match="exactly one"):
        given(content=None)


@pytest.mark.parametrize("content", ["text", io.StringIO("text")])
def test_text_is_no_content(content: object) -> None:
    with pytest.raises(InvalidParameter, match="content"):
        given(content=content)


@pytest.mark.parametrize("params", ["a=b", b"a=b"])
def test_an_encoded_body_is_no_form(params: object) -> None:
    with pytest.raises(InvalidParameter, match="content="):
        given(params=params)


def test_a_generator_of_params_is_kept_for_every_look() -> None:
    arguments = given(params=((name, "x") for name in "ab"))
    assert arguments.params == (("a", "x"), ("b", "x"))


@pytest.mark.parametrize("name", ["content_type", "metadata"])
def test_what_describes_content_does_not_go_with_a_form(name: str) -> None:
    with pytest.raises(InvalidParameter, match=name):
        given(**dict[str, Any]({name: {"a": "b"}}))


@pytest.mark.parametrize(
    "name",
    [
        "Content-Length",
        "content-type",
        "Host",
        "Transfer-Encoding",
        "Expect",
        "Upload-Offset",
        "tus-resumable",
    ],
)
def test_headers_of_ours_are_refused(name: str) -> None:
    with pytest.raises(InvalidParameter, match=name):
        given(headers={name: "x"})


@pytest.mark.parametrize(
    "headers", [{"a b": "x"}, {"": "x"}, {"a": "x\r\ny: z"}, {"a": 1}, {"a": "\0"}]
)
def test_headers_that_cannot_be_spelled_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidParameter, match="headers") as refused:
        given(headers=headers)
    assert "y: z" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "GE T"),
        ("method", ""),
        ("on_change", "ignore"),
        ("on_gone", "ignore"),
        ("replay", "sometimes"),
        ("same_file", "loosely"),
        ("chunk_size", 0),
        ("chunk_size", -1),
        ("chunk_size", True),
        ("deadline", 0),
        ("wait", -1),
        ("wait", "long"),
        ("trusted_origins", "https://a.test"),
        ("trusted_origins", ["a.test"]),
        ("protocol", "gopher"),
        ("protocol", 7),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidParameter, match=name):
        given(**dict[str, Any]({name: value}))


def test_a_form_over_tus_has_to_say_what_is_stored() -> None:
    with pytest.raises(InvalidParameter, match="Tus"):
        given(protocol="tus")
    with pytest.raises(InvalidParameter, match="Tus"):
        given(protocol=Tus())
    assert given(protocol=Tus(form="file")).protocol is not None


def test_auto_falls_back_to_a_plain_request_with_the_given_replay() -> None:
    call = given(replay="incomplete").call("id", None)
    assert call.protocol is None
    assert isinstance(call.fallback, Oneshot)
    assert call.fallback.replay == "incomplete"


def test_content_is_described_to_servers_that_want_it() -> None:
    call = given(content=Path("/tmp/holiday.MOV")).call("id", None)
    assert call.metadata == {"filename": "holiday.MOV", "filetype": "video/quicktime"}
    call = given(content=Path("x.mov"), metadata={"a": "b"}).call("id", None)
    assert call.metadata == {"a": "b"}


def test_the_deadline_counts_from_each_call() -> None:
    rules = given(deadline=5.0).rules(interims=True, monotonic=100.0, closing=7)
    assert (rules.deadline, rules.closing, rules.interims) == (105.0, 7, True)
    assert given().rules(interims=False, monotonic=1.0).deadline is None


def test_only_a_callable_can_bring_other_credentials() -> None:
    rules = given(headers=lambda info: {}).rules(interims=False, monotonic=0)
    assert rules.refreshable
    assert not given(headers={}).rules(interims=False, monotonic=0).refreshable


def test_loading_takes_how_to_send_and_not_what() -> None:
    arguments = stored("id", None, headers=None, auth=None, chunk_size=5)
    assert (arguments.upload_id, arguments.chunk_size) == ("id", 5)
    assert isinstance(arguments.retry, RetryPolicy)
    with pytest.raises(InvalidParameter, match="params"):
        stored("id", None, headers=None, auth=None, params={})
    with pytest.raises(InvalidParameter, match="chunk_size"):
        stored("id", None, headers=None, auth=None, chunk_size=0)


def test_one_file_and_text_fields_become_content_and_metadata() -> None:
    content, kind, metadata = file_of_form(
        [("title", "Holiday"), ("n", 3), ("video", Path("a.mov"))]
    )
    assert content == Path("a.mov")
    assert kind == "video/quicktime"
    assert metadata == {
        "title": "Holiday",
        "n": "3",
        "filename": "a.mov",
        "filetype": "video/quicktime",
    }


def test_a_named_and_typed_file_keeps_both() -> None:
    content, kind, metadata = file_of_form({"f": ("b.bin", b"data", "x/y")})
    assert (content, kind) == (b"data", "x/y")
    assert metadata == {"filename": "b.bin", "filetype": "x/y"}


@pytest.mark.parametrize(
    "params",
    [
        {"a": "b"},
        {"a": Path("x"), "b": Path("y")},
        {"a": Path("x"), "b": None},
        [("t", "1"), ("t", "2"), ("f", Path("x"))],
    ],
)
def test_anything_but_one_file_is_refused(params: Any) -> None:
    with pytest.raises(InvalidParameter, match="params"):
        file_of_form(params)
