# SPDX-License-Identifier: Apache-2.0
"""Pictures of results: bars with intervals, a radar of the categories, and differences between runs."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

import matplotlib
import numpy as np
from matplotlib.figure import Figure


# Okabe and Ito's colours, which stay apart under every kind of colour blindness.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")

_INK, _SOFT, _LINE = "#1b2430", "#5b6675", "#dfe4ea"
# Letters as outlines: the picture looks the same everywhere and needs no font. The fixed salt makes the same picture
# the same bytes.
_SETTINGS = {
    "svg.fonttype": "path",
    "svg.hashsalt": "rgpt4d",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _LINE,
    "xtick.color": _SOFT,
    "ytick.color": _INK,
}


@dataclass(frozen=True)
class Series:
    """One number a column, in percent, with its interval; None where there is none."""

    name: str
    values: Sequence[float | None]
    lows: Sequence[float | None]
    highs: Sequence[float | None]


@dataclass(frozen=True)
class Reference:
    """Points to lay beside the bars: a published model, or chance."""

    name: str
    values: Sequence[float | None]
    comparable: bool = True


def bars(columns: Sequence[str], series: Sequence[Series], references: Sequence[Reference] = ()) -> bytes:
    """An SVG of horizontal bars: columns from top to bottom, the series of each beside each other."""
    with matplotlib.rc_context(_SETTINGS):
        thick = 0.8 / len(series)
        figure = Figure(figsize=(7.0, 1.25 + len(columns) * max(0.3, 0.17 * len(series) + 0.1)), layout="constrained")
        axes = figure.add_subplot()
        places = np.arange(len(columns))
        for number, one in enumerate(series):
            at = places + (number - (len(series) - 1) / 2) * thick
            known = [i for i, value in enumerate(one.values) if value is not None]
            values = np.array([one.values[i] for i in known], dtype=float)
            colour = COLOURS[number % len(COLOURS)]
            axes.barh(at[known], values, thick * 0.92, color=colour, label=one.name, zorder=2)
            bounded = [i for i in known if one.lows[i] is not None]
            if bounded:
                # The interval of a skewed column may lie to one side of its value.
                lows, highs = (np.array([ends[i] for i in bounded], dtype=float) for ends in (one.lows, one.highs))
                axes.hlines(at[bounded], lows, highs, color=_INK, linewidth=1.0, zorder=3)
                for ends in (lows, highs):
                    axes.plot(ends, at[bounded], "|", color=_INK, markersize=max(3.5, 26 * thick / 2.4), zorder=3)
        for number, reference in enumerate(references):
            known = [i for i, value in enumerate(reference.values) if value is not None]
            points = [reference.values[i] for i in known]
            if reference.name == "chance":
                axes.vlines(points, places[known] - 0.43, places[known] + 0.43, color=_SOFT, linestyle=(0, (2, 1.5)))
                axes.plot([], [], color=_SOFT, linestyle=(0, (2, 1.5)), label="chance")
                continue
            style = {"markerfacecolor": _INK} if reference.comparable else {"markerfacecolor": "white"}
            style |= {"markeredgecolor": _INK if reference.comparable else "#8a94a1", "markersize": 5.5}
            marker = "Dos^v<>ph"[number % 9]
            axes.plot(points, places[known], marker, linestyle="none", label=reference.name, zorder=4, **style)
        axes.set_yticks(places, [fill(column, 30) for column in columns])
        axes.set_ylim(len(columns) - 0.45, -0.55)
        shown = [v for one in series for v in (*one.values, *one.highs) if v is not None]
        shown += [v for reference in references for v in reference.values if v is not None]
        axes.set_xlim(0, min(100, 10 * np.ceil((max(shown, default=100) + 2) / 10)) or 100)
        axes.set_xlabel("percent; lines are 95 % intervals")
        _clean(axes, "x")
        figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8.5, handlelength=1.3)
        return _svg(figure)


def radar(categories: Sequence[str], series: Sequence[Series]) -> bytes:
    """An SVG with one spoke a category and one outline a series."""
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(4.6, 4.6), layout="constrained")
        axes = figure.add_subplot(projection="polar")
        angles = np.linspace(0, 2 * np.pi, len(categories), endpoint=False)
        closed = np.append(angles, angles[0])
        for number, one in enumerate(series):
            values = [np.nan if value is None else value for value in one.values]
            colour = COLOURS[number % len(COLOURS)]
            marker, line = "os^Dv<"[number % 6], ("-", (0, (4, 1.5)))[number % 2]
            values.append(values[0])
            axes.plot(closed, values, color=colour, linestyle=line, linewidth=1.8, marker=marker, markersize=4)
            axes.fill(closed, values, color=colour, alpha=0.08)
        axes.set_theta_offset(np.pi / 2)
        axes.set_theta_direction(-1)
        top = max((value for one in series for value in one.values if value is not None), default=100)
        top = min(100, 20 * np.ceil((top + 1) / 20))
        axes.set_ylim(0, top)
        axes.set_yticks(np.arange(20, top + 1, 20))
        axes.tick_params(axis="y", labelsize=7.5, labelcolor=_SOFT)
        axes.set_rlabel_position(180 / len(categories))
        axes.set_xticks(angles, [fill(category, 16) for category in categories])
        for angle, label in zip(angles, axes.get_xticklabels()):
            side = np.sin(angle)
            label.set_horizontalalignment("center" if abs(side) < 0.2 else "left" if side > 0 else "right")
        axes.tick_params(axis="x", pad=2)
        axes.grid(color=_LINE)
        axes.spines["polar"].set_color(_LINE)
        return _svg(figure)


def differences(columns: Sequence[str], series: Sequence[Series]) -> bytes:
    """An SVG of differences in percentage points about a line at zero; filled where the interval leaves zero out."""
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(
            figsize=(7.0, 1.25 + len(columns) * max(0.28, 0.17 * len(series) + 0.06)), layout="constrained"
        )
        axes = figure.add_subplot()
        places = np.arange(len(columns))
        axes.axvline(0, color=_INK, linewidth=1.0, zorder=1)
        step = 0.7 / len(series)
        for number, one in enumerate(series):
            colour = COLOURS[number % len(COLOURS)]
            at = places + (number - (len(series) - 1) / 2) * step
            for i, value in enumerate(one.values):
                if value is None:
                    continue
                low, high = one.lows[i], one.highs[i]
                certain = low is not None and (low > 0 or high < 0)
                if low is not None:
                    axes.hlines(at[i], low, high, color=colour, linewidth=2.2, zorder=2)
                axes.plot(
                    value, at[i], "os^Dv<"[number % 6], color=colour, zorder=3, markersize=6.5,
                    markerfacecolor=colour if certain else "white", markeredgewidth=1.6,
                )  # fmt: skip
            axes.plot([], [], "os^Dv<"[number % 6], color=colour, linestyle="-", linewidth=2.2, label=one.name)
        axes.set_yticks(places, [fill(column, 30) for column in columns])
        axes.set_ylim(len(columns) - 0.45, -0.55)
        axes.set_xlabel("percentage points, with 95 % intervals; filled where they leave out zero")
        axes.margins(x=0.06)
        _clean(axes, "x")
        figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8.5)
        return _svg(figure)


def _clean(axes, grid: str) -> None:
    axes.grid(axis=grid, color=_LINE, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, facecolor="white")
    return buffer.getvalue()
