"""The version is one, wherever it is written."""

from __future__ import annotations

import re
import tomllib

import poster
import poster_resume

from .test_code_blocks import ROOT


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    said = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert said is not None
    assert poster_resume.__version__ == project["version"] == said[1]
    assert ".".join(map(str, poster.version)) == project["version"]
