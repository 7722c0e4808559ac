"""One picture of all loads (PNG). Needs matplotlib, the extra `bench`; without it the bench goes on and says so.

Each panel is a load, each bar a proxy's CPU time per request as a multiple of mosnpy's, so that longer is dearer and the
line at 1 is mosnpy. Whiskers reach from the smallest to the largest round; an upright mark shows the wanted ratio.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
from pathlib import Path
from typing import Any

from .proxies import ALL
from .report import Report, Row, cpu, label, rows

INK, PALE, PAPER = "#22303c", "#6b7a88", "#ffffff"
GRID = "#e3e8ec"
STYLE: dict[str, Any] = {
    "font.family": ["Inter", "Helvetica Neue", "Liberation Sans", "DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
}
COLUMNS = 3


def available() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def colour(proxy: str) -> str:
    return ALL[proxy].colour if proxy in ALL else PALE


def _panel(axes: Any, title: str, table: list[Row], base: str, tallest: int) -> None:
    shown = [row for row in table if row.runs and (row.proxy == base or row.ratio)]
    values = [1.0 if row.proxy == base else row.ratio for row in shown]
    reach = max([*values, *(max(row.ratio_most, row.target or 0) for row in shown if row.proxy != base), 1.0])
    places = list(range(len(shown)))
    axes.barh(places, values, height=0.66, color=[colour(row.proxy) for row in shown], zorder=2)
    axes.axvline(1, color=colour(base), linewidth=1.1, linestyle=(0, (4, 3)), zorder=1)
    for place, row, value in zip(places, shown, values, strict=True):
        end = value
        if row.proxy != base:
            axes.plot([row.ratio_least, row.ratio_most], [place, place], color=INK, linewidth=1.1, alpha=0.55, zorder=3)
            end = max(end, row.ratio_most)
        if row.target is not None:
            for paint, width in ((PAPER, 4.0), (INK, 1.8)):
                axes.plot([row.target] * 2, [place - 0.38, place + 0.38], color=paint, linewidth=width, zorder=4)
            end = max(end, row.target)
        own = row.proxy == base
        axes.text(
            end + reach * 0.022,
            place,
            f"{cpu(row.cpu_us)} µs" if own else f"{value:.2f}×   {cpu(row.cpu_us)} µs",
            va="center",
            fontsize=9.5,
            fontweight="bold" if own else "normal",
            color=INK,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.2},
            zorder=3,
        )
    axes.set_yticks(places, [row.label for row in shown])
    for tick, row in zip(axes.get_yticklabels(), shown, strict=True):
        tick.set_fontweight("bold" if row.proxy == base else "normal")
        tick.set_color(INK)
    axes.set_ylim(tallest - 0.45, -0.55)
    axes.set_xlim(0, reach * 1.42)
    axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", color=INK, pad=8)
    axes.tick_params(length=0, labelsize=9.5)
    axes.tick_params(axis="x", colors=PALE, labelsize=8.5)
    step = max(1, math.ceil(reach / 5))
    axes.set_xticks(range(0, math.floor(reach) + 1, step), [f"{n}×" for n in range(0, math.floor(reach) + 1, step)])
    axes.grid(axis="x", color=GRID, linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def draw(report: Report, path: Path) -> None:
    """Writes the picture. Requires `available()`."""
    importlib.import_module("matplotlib").use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # the first fonts of the list may be absent
    panels = [(outcome, rows(outcome)) for outcome in report.outcomes if outcome.charted and outcome.samples]
    if not panels:
        return
    columns = min(COLUMNS, len(panels))
    lines = math.ceil(len(panels) / columns)
    tallest = max(len(table) for _, table in panels)
    height = lines * (0.36 * tallest + 0.95) + 1.35
    base = panels[0][0].base
    with pyplot.rc_context(STYLE):
        figure, grid = pyplot.subplots(lines, columns, figsize=(4.9 * columns + 0.4, height), squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (outcome, table) in zip(grid.flat, panels, strict=False):
            _panel(axes, outcome.title, table, outcome.base, tallest)
        top = 1 - 0.9 / height
        heading = f"CPU time per request, {label(base)} = 1×"
        figure.text(0.012, 1 - 0.18 / height, heading, va="top", fontsize=17, fontweight="bold", color=INK)
        figure.text(
            0.012,
            1 - 0.58 / height,
            "Longer bars cost more. Same core and load, interleaved rounds: medians, whiskers the range, marks the wanted ratio.",
            va="top",
            fontsize=10,
            color=PALE,
        )
        machine = report.machine
        figure.text(
            0.012,
            0.12 / height,
            f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, "
            f"{str(machine['date'])[:16].replace('T', ' ')} UTC, commit {machine['commit'] or 'unknown'}",
            va="bottom",
            fontsize=8.5,
            color=PALE,
        )
        figure.tight_layout(rect=(0.005, 0.36 / height, 0.995, top), h_pad=2.2, w_pad=2.4)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=144)
        pyplot.close(figure)
