"""From figures to the plots that the documentation shows.

The same figures give the same files: no date, and identifiers from a fixed
salt. Each file names the figures that it was drawn from by their digest.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .senders import SENDERS
from .tables import MIB, PAGE, conditions

_OURS, _OTHERS, _FLOOR = "#1b6ca8", "#9aa5b1", "#444444"
# White, whatever the viewer's background is.
_STYLE = {
    "svg.hashsalt": "poster_resume",
    "svg.fonttype": "path",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
}
_WIDTH = 8.0  # inches


class Undrawable(Exception):
    """The library that draws is not installed."""


def digest(results: dict[str, Any]) -> str:
    """Return what identifies *results* in the plots drawn from them."""
    said = json.dumps(results, sort_keys=True).encode()
    return f"figures sha256 {hashlib.sha256(said).hexdigest()}"


def draw(results: dict[str, Any], into: Path = PAGE.parent) -> list[Path]:
    """Draw every plot of *results* and return the files.

    Raises:
        Undrawable: matplotlib is not installed.
    """
    try:
        matplotlib = importlib.import_module("matplotlib")
        figures = importlib.import_module("matplotlib.figure")
    except ImportError:
        raise Undrawable(
            "plots need matplotlib: pip install -e '.[bench]', "
            "then python -m tests.bench --draw"
        ) from None
    drawn = []
    for name, plot in PLOTS.items():
        path = into / f"performance-{name}.svg"
        with matplotlib.rc_context(_STYLE):
            figure = figures.Figure(layout="constrained")
            plot(figure, results)
            figure.supxlabel(
                conditions(results), fontsize=7, color=_FLOOR, ha="left", x=0.01
            )
            about = {"Date": None, "Description": digest(results)}
            figure.savefig(path, format="svg", metadata=about)
        # Matplotlib ends some lines of paths with a blank.
        lines = path.read_text("utf-8").splitlines()
        path.write_text("\n".join(line.rstrip() for line in lines) + "\n", "utf-8")
        drawn.append(path)
    return drawn


def _color(label: str) -> str:
    if label.startswith("poster_resume"):
        return _OURS
    return _FLOOR if label.startswith("C, ") else _OTHERS


def _bars(
    axes: Any,
    values: dict[str, float],
    title: str,
    unit: str,
    show: Callable[[float], str],
    *,
    logarithmic: bool = True,
) -> None:
    labels = list(values)
    bars = axes.barh(
        labels, list(values.values()), color=[_color(label) for label in labels]
    )
    if logarithmic:  # most values are small and one is huge
        axes.set_xscale("log")
    axes.bar_label(bars, [show(value) for value in values.values()], padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel(unit)
    axes.tick_params(axis="y", length=0)


def _uploads(
    results: dict[str, Any], kind: str, figure: Callable[[dict[str, Any]], float | None]
) -> dict[str, float]:
    found = {}
    for name, result in results[kind].items():
        value = figure(result) if "user" in result else None
        if value:
            found[SENDERS[name][0]] = value
    return found


def _cpu(figure: Any, results: dict[str, Any]) -> None:
    def total(result: dict[str, Any]) -> float:
        return float(result["user"] + result["system"])

    figure.set_size_inches(_WIDTH, 6.4)
    for axes, kind, title in zip(
        figure.subplots(2, 1), ("plain", "tls"), ("Plain HTTP", "TLS"), strict=True
    ):
        values = _uploads(results, kind, total)
        floor = total(results[kind].get("native", {"user": 1.0, "system": 0.0}))
        ratios = {label: value / floor for label, value in values.items()}
        unit = "client CPU, user and system, as a ratio to C (logarithmic)"
        _bars(axes, ratios, title, unit, lambda value: f"{value:.2f}")
        axes.axvline(1.0, color=_FLOOR, linewidth=0.8, linestyle=":", zorder=0)


def _calls(figure: Any, results: dict[str, Any]) -> None:
    figure.set_size_inches(_WIDTH, 3.4)
    values = _uploads(results, "plain", lambda result: result.get("calls"))
    _bars(
        figure.subplots(),
        values,
        "Plain HTTP",
        "system calls for I/O per GiB (logarithmic)",
        lambda value: f"{value:,.0f}",
    )


def _forms(figure: Any, results: dict[str, Any]) -> None:
    figure.set_size_inches(_WIDTH, 2.8)
    values = {
        label: each["cpu"]
        for label, each in results["others"]["forms"].items()
        if "cpu" in each
    }
    _bars(
        figure.subplots(),
        values,
        "Forms of 10 KB on one kept connection",
        "client CPU, µs per form",
        lambda value: f"{value:.0f}",
        logarithmic=False,
    )


def _cuts(figure: Any, results: dict[str, Any]) -> None:
    figure.set_size_inches(_WIDTH, 3.4)
    twice, wall = figure.subplots(1, 2)
    cuts = [each for each in results["others"]["cuts"] if "wall" in each]
    for every, marker in zip(
        sorted({each["every"] for each in cuts}), "osD^v", strict=False
    ):
        mine = [each for each in cuts if each["every"] == every]
        delays = [each["delay"] * 1000 for each in mine]
        label = f"cut every {every // MIB} MiB" if every else "never cut"
        color = {0: _FLOOR}.get(every)
        again = [(each["received"] - each["length"]) / MIB for each in mine]
        twice.plot(delays, again, marker=marker, label=label, color=color)
        wall.plot(
            delays,
            [each["wall"] for each in mine],
            marker=marker,
            label=label,
            color=color,
        )
    twice.set_title("Received twice, MiB of 64", loc="left", fontweight="bold")
    wall.set_title("Time until complete, s", loc="left", fontweight="bold")
    twice.set_ylim(0, max(1.0, *twice.get_ylim()))
    wall.set_ylim(bottom=0)
    for axes in (twice, wall):
        axes.set_xlabel("round trip, ms")
        axes.grid(visible=True, axis="y", color="#dddddd")
    lines, labels = wall.get_legend_handles_labels()
    figure.legend(
        lines, labels, loc="outside upper right", ncols=len(labels), frameon=False
    )


#: What draws each plot; ``tables`` shows them.
PLOTS: dict[str, Callable[[Any, dict[str, Any]], None]] = {
    "cpu": _cpu,
    "calls": _calls,
    "forms": _forms,
    "cuts": _cuts,
}
