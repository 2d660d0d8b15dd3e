"""Bars of one family of scenarios as SVG. Needs matplotlib, the extra `bench`."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perf.rows import Row

OURS, THEIRS, LIMITS = "#1f6f6f", "#b8b8b8", "#e3c88a"
"""Limosa, everybody else, what the machine could do."""
WIDTH, BAR_HEIGHT, MARGIN = 9.0, 0.3, 1.1
"""Inches."""


def draw(family: str, rows: Sequence[Row], folder: Path) -> Path:
    """A picture with one panel per scenario: rates with their quartiles. The same rows give the same file."""
    names = list(dict.fromkeys(row.scenario for row in rows))
    groups = [[row for row in rows if row.scenario == name] for name in names]
    heights = [len(group) * BAR_HEIGHT + MARGIN for group in groups]
    # Text stays text, and nothing in the file tells when it was made.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": family, "font.size": 9}):
        figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
        panels = figure.subplots(len(groups), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
        for panel, name, group in zip(panels, names, groups, strict=True):
            _panel(panel, name, group)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{family}.svg"
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
