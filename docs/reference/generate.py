"""Write the reference from the docstrings: one page per package.

Run ``python docs/reference/generate.py`` after a public docstring has changed;
a test compares the pages with what it would write.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import re
import typing
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
        yield _doc(module)
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
        bases = [b.__name__ for b in value.__bases__ if _shown(b)]
        if bases:
            yield f"Bases: {', '.join(f'`{base}`' for base in bases)}\n"
        signature = _signature(value)
        if signature and _made_by_callers(value):
            yield f"```text\n{name}{signature}\n```\n"
        yield _doc(value)
        if issubclass(value, enum.Enum):
            members = ", ".join(f"`{member}`" for member in value.__members__)
            yield f"\nMembers: {members}."
        for member, attribute in sorted(_members(value).items()):
            yield from _member(name, member, attribute)
    elif callable(value):
        yield f"\n## `{name}`\n"
        yield f"```text\n{name}{_signature(value)}\n```\n"
        yield _doc(value)
    else:
        yield f"\n## `{name}`\n"
        members = " or ".join(f"`{m.__name__}`" for m in typing.get_args(value))
        yield f"One of {members}." if members else f"Type: `{type(value).__name__}`."


def _shown(base: type) -> bool:
    """Whether *base* is worth naming: what a page or Python's own docs explain."""
    package, _, _ = base.__module__.partition(".")
    return base is not object and (
        package not in ("poster", "poster_resume") or _ours(base)
    )


def _ours(base: type) -> bool:
    return any(
        getattr(importlib.import_module(module), base.__name__, None) is base
        for modules in PAGES.values()
        for module in modules
    )


def _members(value: type) -> dict[str, object]:
    """Return the public members of a class, and what it has from nameless bases."""
    members: dict[str, object] = {}
    for cls in reversed(value.__mro__):
        package, _, _ = cls.__module__.partition(".")
        if cls is value or (package == "poster_resume" and not _ours(cls)):
            members.update(vars(cls))
    return {name: member for name, member in members.items() if name[0] != "_"}


def _member(owner: str, name: str, attribute: object) -> Iterator[str]:
    function = getattr(attribute, "__func__", attribute)
    if isinstance(attribute, property):
        if not attribute.__doc__:
            return  # it says what the property of its base says
        yield f"\n### `{owner}.{name}`\n"
        yield _doc(attribute)
    elif inspect.isfunction(function) and function.__doc__:
        yield f"\n### `{owner}.{name}`\n"
        yield f"```text\n{name}{_signature(function)}\n```\n"
        yield _doc(function)


def _doc(value: object) -> str:
    """Return the docstring of *value*, what it lists as a list of Markdown's."""
    written = inspect.getdoc(value) or ""
    return _LISTS.sub(lambda found: _listed(found[1], found[2]), written).rstrip()


_LISTS = re.compile(r"^(Args|Raises):\n((?: {4}.+(?:\n|\Z))+)", re.MULTILINE)


def _listed(heading: str, entries: str) -> str:
    items: list[str] = []
    for line in inspect.cleandoc(entries).splitlines():
        name, colon, rest = line.partition(":")
        if line.startswith(" ") or not colon:
            items[-1] += f"\n  {line.strip()}"
        else:
            names = ", ".join(f"`{each.strip()}`" for each in name.split(","))
            items.append(f"* {names}:{rest}")
    return "\n".join([f"{heading}:\n", *items, ""])


def _made_by_callers(value: type) -> bool:
    """Whether the signature of a class says anything: not of what is only raised."""
    protocol = getattr(value, "_is_protocol", False)
    return not protocol and not issubclass(value, (BaseException, enum.Enum))


def _signature(value: object) -> str:
    try:
        signature = inspect.signature(value)  # type: ignore[arg-type]  # any callable
    except (TypeError, ValueError):
        return ""
    signature = signature.replace(
        parameters=[_plain(each, value) for each in signature.parameters.values()],
        return_annotation=_literal(signature.return_annotation),
    )
    spelled = str(signature)
    if len(spelled) <= 76:
        return spelled
    lines = []
    positional = True
    for each in signature.parameters.values():
        if each.kind is each.VAR_POSITIONAL:
            positional = False
        elif each.kind is each.KEYWORD_ONLY and positional:
            lines.append("*")
            positional = False
        lines.append(str(each))
    result = signature.return_annotation
    arrow = "" if result is inspect.Signature.empty else f" -> {result!r}"
    return "(\n" + "".join(f"    {line},\n" for line in lines) + f"){arrow}"


class _Literal:
    """Something that is spelled as it is."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _literal(value: object) -> object:
    return _Literal(value) if isinstance(value, str) else value


def _plain(parameter: inspect.Parameter, value: object) -> inspect.Parameter:
    # As it is written, where a library would spell it in its own way.
    written = inspect.get_annotations(value) if inspect.isclass(value) else {}
    annotation = written.get(parameter.name, parameter.annotation)
    default = parameter.default
    if isinstance(default, enum.Enum):
        default = _Literal(str(default))
    elif " at 0x" in repr(default):
        default = _Literal("...")
    return parameter.replace(annotation=_literal(annotation), default=default)


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
