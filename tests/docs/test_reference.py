"""The reference says what the docstrings say, and every public name has one."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest

GENERATOR = Path(__file__).parents[2] / "docs" / "reference" / "generate.py"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_up_to_date(generator: ModuleType) -> None:
    for path, text in generator.pages().items():
        said = path.read_text(encoding="utf-8")
        assert said == text, f"run python docs/reference/generate.py: {path.name}"


@pytest.mark.parametrize("name", ["poster_resume", "poster_resume.testing"])
def test_every_public_name_says_what_it_is(name: str) -> None:
    module = importlib.import_module(name)
    for public in module.__all__:
        value = getattr(module, public)
        if not callable(value):
            continue
        # Dataclasses without one get their signature for a docstring.
        said = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
        assert said, public
        assert not said.startswith(f"{public}("), public
        for member, attribute in vars(value).items() if inspect.isclass(value) else ():
            if inspect.isfunction(attribute) and not member.startswith("_"):
                assert inspect.getdoc(getattr(value, member)), f"{public}.{member}"


@pytest.mark.parametrize("public", ["ResumableUpload", "AsyncResumableUpload"])
@pytest.mark.parametrize("member", ["send", "pause", "cancel", "load", "state"])
def test_what_a_class_has_from_its_base_is_on_the_page(
    generator: ModuleType, public: str, member: str
) -> None:
    (page,) = [t for p, t in generator.pages().items() if p.stem == "poster_resume"]
    assert f"\n### `{public}.{member}`\n" in page
