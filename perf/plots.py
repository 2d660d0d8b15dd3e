"""Bars of one family of scenarios as SVG. Needs matplotlib, the extra `bench`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perf.rows import Row, curves

OURS, THEIRS, LIMITS = "#1f6f6f", "#b8b8b8", "#e3c88a"
"""Limosa, everybody else, what the machine could do."""
WIDTH, BAR_HEIGHT, MARGIN, CURVE_HEIGHT = 9.0, 0.3, 1.1, 3.5
"""Inches."""


def draw(family: str, rows: Sequence[Row], folder: Path) -> Path:
    """A picture with one panel per scenario: rates with their quartiles. The same rows give the same file."""
    names = list(dict.fromkeys(row.scenario for row in rows))
    groups = [[row for row in rows if row.scenario == name] for name in names]
    heights = [len(group) * BAR_HEIGHT + MARGIN for group in groups]
    with mpl.rc_context(_style(family)):
        figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
        panels = figure.subplots(len(groups), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
        for panel, name, group in zip(panels, names, groups, strict=True):
            _panel(panel, name, group)
        return _saved(figure, folder / f"{family}.svg")


def draw_curve(name: str, what: str, rows: Sequence[Row], folder: Path) -> Path:
    """A picture of the figures `what`_at_N over N, a line for each row that has them."""
    with mpl.rc_context(_style(name)):
        figure = Figure(figsize=(WIDTH, CURVE_HEIGHT), layout="constrained")
        panel = figure.subplots()
        for row in rows:
            points = curves(row).get(what, [])
            panel.plot([at for at, _ in points], [value for _, value in points], marker=".", label=row.subject)
        panel.set_title(name, loc="left", fontweight="bold")
        panel.set_xlabel("objects")
        panel.set_ylabel(what.replace("_", " "))
        panel.set_ylim(bottom=0)
        panel.legend(frameon=False)
        panel.spines[["top", "right"]].set_visible(False)
        return _saved(figure, folder / f"{name}.svg")


def _style(name: str) -> dict[Any, Any]:
    """Text stays text, and the same rows make the same file."""
    return {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 9}


def _saved(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    return path


def _panel(panel: Axes, name: str, rows: Sequence[Row]) -> None:
    rates = [row.rate or 0.0 for row in rows]
    low = [max(0.0, rate - row.spread[0]) if row.spread else 0.0 for rate, row in zip(rates, rows, strict=True)]
    high = [max(0.0, row.spread[1] - rate) if row.spread else 0.0 for rate, row in zip(rates, rows, strict=True)]
    places = range(len(rows))
    panel.barh(places, rates, color=[_colour(row.subject) for row in rows], xerr=[low, high], ecolor="#404040")
    panel.set_yticks(places, [row.subject for row in rows])
    panel.invert_yaxis()
    panel.set_title(name, loc="left", fontweight="bold")
    panel.set_xlabel("MB/s" if any(row.mb_per_s is not None for row in rows) else "objects/s")
    for place, rate in zip(places, rates, strict=True):
        panel.annotate(f" {rate:,.0f}", (rate, place), va="bottom", fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)


def _colour(subject: str) -> str:
    if subject.startswith("limosa"):
        return OURS
    return LIMITS if subject.startswith(("machine", "answers")) else THEIRS
