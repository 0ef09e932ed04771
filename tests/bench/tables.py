"""From figures to the tables that the documentation shows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .senders import SENDERS

MIB = 1024 * 1024
GIB = 1024 * MIB
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "performance.md"
FIGURES = Path(__file__).parent / "figures.json"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def conditions(results: dict[str, Any]) -> str:
    """Return, in a sentence, how *results* were measured."""
    machine = results["machine"]
    return (
        f"Measured on {machine['system']}, {machine['processors']} processors, "
        f"Python {machine['python']}, over loopback with a warm page cache: "
        f"medians of {results['rounds']} interleaved rounds."
    )


def written(results: dict[str, Any]) -> str:
    """Return all tables, and where the plots go, in Markdown."""
    parts = [conditions(results)]
    if "command" in results:
        parts.append(f"The command was `{results['command']}`.")
    parts += [
        _plot("cpu", "client CPU of each client as a ratio to C"),
        _plot("calls", "system calls of each client per GiB"),
        _uploads("Plain HTTP", results["plain"], results["size"]),
        _uploads("TLS", results["tls"], results["tls-size"]),
        *_others(results["others"]),
    ]
    return "\n\n".join(parts)


def _plot(name: str, what: str) -> str:
    return f"![Bars: {what}](performance-{name}.svg)"


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = list(head)
    lines = [names, ["---", *("---:" for _ in names[1:])], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _uploads(title: str, found: dict[str, Any], size: int) -> str:
    gib = size / GIB
    rows = []
    missing = {}
    base = found.get("native", {})
    floor = base.get("user", 0) + base.get("system", 0)
    for name, result in found.items():
        label = SENDERS[name][0]
        if "user" not in result:
            missing[label] = result.get("unavailable", "no figures")
            continue
        total = result["user"] + result["system"]
        calls = result.get("calls")
        rows.append(
            [
                label,
                f"{total / floor:.2f}" if floor else "",
                f"{total / gib:.2f}",
                f"{result['user'] / gib:.3f}",
                f"{result['wall'] / gib:.2f}",
                "" if calls is None else f"{calls:,.0f}",
                # A program of its own is not measured from its import on.
                "" if SENDERS[name][1] else f"{result['rss'] / MIB:.0f}",
            ]
        )
    head = (
        "client",
        "CPU / C",
        "CPU s/GiB",
        "user s/GiB",
        "wall s/GiB",
        "I/O calls/GiB",
        "RSS above import, MiB",
    )
    text = f"### {title}: a form with one file of {gib:g} GiB\n\n{_table(head, rows)}"
    return text + _missing(missing)


def _missing(reasons: dict[str, str]) -> str:
    if not reasons:
        return ""
    said = (f"{label}: {reason}" for label, reason in reasons.items())
    return "\n\nNot measured: " + "; ".join(said) + "."


def _others(found: dict[str, Any]) -> list[str]:
    parts = []
    forms = found["forms"]
    rows = [
        [name, f"{each['cpu']:.0f}", f"{each['wall']:.0f}"]
        for name, each in forms.items()
        if "cpu" in each
    ]
    parts += [
        "### Forms of 10 KB on one kept connection",
        _plot("forms", "client CPU per form"),
        _table(("client", "CPU, µs/form", "wall, µs/form"), rows)
        + _missing(
            {
                name: each["unavailable"]
                for name, each in forms.items()
                if "cpu" not in each
            }
        ),
    ]
    planning, resuming = found["planning"], found["resuming"]
    parts.append(
        "### Planning and going on\n\n"
        + _table(
            ("what", "figure"),
            [
                ("plan of 1,000,000 parts", f"{planning['seconds']:.2f} s"),
                ("its memory", f"{planning['rss'] / MIB:.1f} MiB"),
                ("look-up of an offset in it", f"{planning['look-up'] * 1e6:.0f} µs"),
                (
                    "first byte from seven eighths of the large file on",
                    f"{resuming['seconds'] * 1000:.2f} ms",
                ),
            ],
        )
    )
    rows = [
        [
            f"{each['every'] // MIB} MiB" if each["every"] else "never",
            f"{each['delay'] * 1000:.0f} ms",
            f"{each['requests']:.0f}",
            f"{(each['received'] - each['length']) / MIB:.1f}",
            f"{each['wall']:.1f}",
        ]
        for each in found["cuts"]
        if "wall" in each
    ]
    parts += [
        "### 64 MiB by RUFH over a link that is cut again and again",
        "![Lines: bytes received twice, and time, by round trip](performance-cuts.svg)",
        _table(
            ("cut every", "round trip", "requests", "received twice, MiB", "wall, s"),
            rows,
        ),
    ]
    return parts


def committed() -> dict[str, Any]:
    """Return the figures that the documentation shows."""
    results: dict[str, Any] = json.loads(FIGURES.read_text("utf-8"))
    return results


def into_documentation(results: dict[str, Any]) -> None:
    """Put the tables between the marks of the page, and the figures beside."""
    before, after = _around()
    text = f"{before}{BEGIN}\n\n{written(results)}\n\n{END}{after}"
    PAGE.write_text(text, "utf-8")
    FIGURES.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def shown() -> str:
    """Return what the page shows between its marks."""
    before, after = _around()
    page = PAGE.read_text("utf-8")
    return page[len(before) + len(BEGIN) : len(page) - len(after) - len(END)].strip()


def _around() -> tuple[str, str]:
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return before, after
