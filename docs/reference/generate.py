"""Write the reference from the docstrings: one page per package.

Run ``python docs/reference/generate.py`` after a public docstring has changed;
a test compares the pages with what it would write.
"""

from __future__ import annotations

import enum
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

PAGES = {
    "poster_resume": ["poster_resume"],
    "testing": ["poster_resume.testing"],
    "poster": ["poster", "poster.encode", "poster.streaminghttp"],
}
HERE = Path(__file__).parent


def pages() -> dict[Path, str]:
    """Return the text of each page by its path."""
    return {
        HERE / f"{page}.md": "\n".join(_page(modules)) + "\n"
        for page, modules in PAGES.items()
    }


def _page(modules: list[str]) -> Iterator[str]:
    for name in modules:
        module = importlib.import_module(name)
        yield f"# `{name}`\n"
        yield inspect.getdoc(module) or ""
        for public in sorted(_public(module), key=str.lower):
            yield from _entry(public, getattr(module, public))
        yield ""


def _public(module: object) -> list[str]:
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == getattr(module, "__name__", "")
    ]


def _entry(name: str, value: object) -> Iterator[str]:
    if inspect.isclass(value):
        yield f"\n## class `{name}`\n"
        bases = [b.__name__ for b in value.__bases__ if b is not object]
        if bases:
            yield f"Bases: {', '.join(f'`{base}`' for base in bases)}\n"
        signature = _signature(value)
        if signature and not issubclass(value, (BaseException, enum.Enum)):
            yield f"```text\n{name}{signature}\n```\n"
        yield inspect.getdoc(value) or ""
        for member, attribute in sorted(vars(value).items()):
            if not member.startswith("_"):
                yield from _member(name, member, attribute)
    elif callable(value):
        yield f"\n## `{name}`\n"
        yield f"```text\n{name}{_signature(value)}\n```\n"
        yield inspect.getdoc(value) or ""
    else:
        yield f"\n## `{name}`\n"
        yield f"Type: `{type(value).__name__}`."


def _member(owner: str, name: str, attribute: object) -> Iterator[str]:
    function = getattr(attribute, "__func__", attribute)
    if isinstance(attribute, property):
        yield f"\n### `{owner}.{name}`\n"
        yield inspect.getdoc(attribute) or ""
    elif inspect.isfunction(function) and function.__doc__:
        yield f"\n### `{owner}.{name}`\n"
        yield f"```text\n{name}{_signature(function)}\n```\n"
        yield inspect.getdoc(function) or ""


def _signature(value: object) -> str:
    try:
        signature = inspect.signature(value)  # type: ignore[arg-type]  # any callable
    except (TypeError, ValueError):
        return ""
    spelled = str(signature)
    if len(spelled) <= 76:
        return spelled
    parameters = ",\n    ".join(str(p) for p in signature.parameters.values())
    result = signature.return_annotation
    arrow = "" if result is inspect.Signature.empty else f" -> {result}"
    return f"(\n    {parameters},\n){arrow}"


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
