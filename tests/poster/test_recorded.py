"""Every recorded call gives the bytes, sizes, callbacks and errors of poster 0.8.1.

`recorded.json` holds what it did under Python 2.7.18, wherever that was a well-formed
document. Texts are tagged as ``text`` or ``bytes`` (in latin-1), because Python 2 took
both; ``file`` and ``repeat`` stand for files in memory.
"""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from poster import encode

RECORDED: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("recorded.json").read_text("ascii")
)


def argument(tagged: Any) -> Any:
    match tagged:
        case {"text": text}:
            return text
        case {"bytes": latin}:
            return latin.encode("latin-1")
        case {"file": latin}:
            return io.BytesIO(latin.encode("latin-1"))
        case {"repeat": latin, "times": times}:
            return io.BytesIO(latin.encode("latin-1") * times)
        case dict():
            return {name: argument(value) for name, value in tagged.items()}
        case _:
            return tagged


def text(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def octets(given: bytes, recorded: dict[str, Any]) -> dict[str, Any]:
    if "sha256" in recorded:
        return {"sha256": hashlib.sha256(given).hexdigest()}
    return {"bytes": text(given)}


def call_param(call: dict[str, Any], recorded: dict[str, Any]) -> dict[str, Any]:
    param = encode.MultipartParam(argument(call["name"]), **argument(call["options"]))
    boundary = argument(call["boundary"])
    attributes = (
        param.name,
        param.value,
        param.filename,
        param.filetype,
        param.filesize,
    )
    gives: dict[str, Any] = {
        "attributes": [text(attribute) for attribute in attributes],
        "header": text(param.encode_hdr(boundary)),
    }
    if param.value is None and param.fileobj is None:
        return gives
    log: list[list[int]] = []
    param.cb = lambda _, current, total: log.append([current, total])
    gives["size"] = param.get_size(boundary)
    blocks = list(param.iter_encode(boundary, call["blocksize"]))
    whole = b"".join(blocks)
    gives |= {"blocks": [len(block) for block in blocks], "log": log}
    param.reset()
    assert param.encode(boundary) == whole
    return gives | octets(whole, recorded)


def call_form(call: dict[str, Any], recorded: dict[str, Any]) -> dict[str, Any]:
    log: list[list[object]] = []
    boundary = argument(call["boundary"])
    params = encode.MultipartParam.from_params(
        [(argument(name), argument(value)) for name, value in call["params"]]
    )
    body, headers = encode.multipart_encode(
        params,
        boundary,
        lambda param, current, total: log.append(
            [param and param.name, current, total]
        ),
    )
    gives = {"headers": headers, "size": encode.get_body_size(params, boundary)}
    whole = b"".join(body)
    return gives | {"log": log} | octets(whole, recorded)


def outcome(call: dict[str, Any], recorded: dict[str, Any]) -> dict[str, Any]:
    match call["call"]:
        case "encode_string":
            arguments = [argument(call[name]) for name in ("boundary", "name", "value")]
            return octets(encode.encode_string(*arguments), recorded)
        case "encode_file_header":
            names = ("boundary", "name", "size", "filename", "filetype")
            arguments = [argument(call[name]) for name in names]
            return octets(encode.encode_file_header(*arguments), recorded)
        case "encode_and_quote":
            return {"text": encode.encode_and_quote(argument(call["data"]))}
        case "param":
            return call_param(call, recorded)
        case "form":
            return call_form(call, recorded)
        case unknown:
            raise AssertionError(unknown)


@pytest.mark.parametrize("number", range(len(RECORDED)))
def test_a_recorded_call_gives_what_it_gave(number: int) -> None:
    call = dict(RECORDED[number])
    recorded = call.pop("gives")
    if "raises" in recorded:
        with pytest.raises(ValueError, match=f"^{recorded['says']}"):
            outcome(call, recorded)
    else:
        assert outcome(call, recorded) == recorded
