# SPDX-License-Identifier: Apache-2.0
"""Charts of results: bars with intervals, and differences between runs."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure


# Okabe and Ito's colours, which stay apart under every kind of colour blindness.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")

_DARK = ("#0072b2", "#009e73", "#d55e00")  # that white letters are read on
_MARKERS = "os^Dv<"
_WIDTH = 5.55  # inches; two pictures fit beside each other on a page of 1160 pixels
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
    """Numbers to lay beside the bars: points, as for a published model, or dashed ticks, as for chance."""

    name: str
    values: Sequence[float | None]
    ticks: bool = False


_DASHES = ((0, (2, 1.5)), (0, (1, 1)), "-", (0, (5, 2)), (0, (5, 1.5, 1, 1.5)), (0, (5, 1, 1, 1, 1, 1)))


def bars(
    columns: Sequence[str], series: Sequence[Series], references: Sequence[Reference] = (), title: str = ""
) -> bytes:
    """An SVG of horizontal bars with their numbers: columns from top to bottom, in each its series and references."""
    with matplotlib.rc_context(_SETTINGS):
        thick = 0.84 / len(series)
        figure, axes, places = _figure(columns, series)
        for index, one in enumerate(series):
            at = places + (index - (len(series) - 1) / 2) * thick
            known = [i for i, value in enumerate(one.values) if value is not None]
            colour = COLORS[index % len(COLORS)]
            axes.barh(at[known], [one.values[i] for i in known], thick * 0.92, color=colour, label=one.name, zorder=2)
            for i in known:
                text_colour = "white" if colour in _DARK else _INK
                style = {"fontsize": 7.5, "va": "center_baseline", "color": text_colour, "zorder": 5}
                style["bbox"] = {"facecolor": colour, "edgecolor": "none", "pad": 0.5}  # over the interval's line
                axes.text(0.6, at[i], f"{one.values[i]:.1f}", **style)
            # The interval of a skewed column may lie to one side of its value, so this is no error bar.
            bounded = [i for i in known if one.lows[i] is not None]
            lows, highs = ([ends[i] for i in bounded] for ends in (one.lows, one.highs))
            axes.hlines(at[bounded], lows, highs, color=_INK, linewidth=0.9, zorder=3)
            for ends in (lows, highs):
                axes.plot(ends, at[bounded], "|", color=_INK, markersize=4, markeredgewidth=0.9, zorder=3)
        for index, reference in enumerate(references):
            known = [i for i, value in enumerate(reference.values) if value is not None]
            points = [reference.values[i] for i in known]
            if reference.ticks:
                style = {"color": _INK, "linestyle": _DASHES[index % len(_DASHES)], "linewidth": 1.2}
                axes.vlines(points, places[known] - 0.45, places[known] + 0.45, zorder=4, **style)
                axes.plot([], [], label=reference.name, **style)
            else:
                style = {"color": _INK, "markeredgecolor": "white", "markersize": 7, "zorder": 6}
                style |= {"marker": "Dos^v<>ph"[index % 9], "linestyle": "none"}
                axes.plot(points, places[known], label=reference.name, **style)
        shown = [v for one in series for v in (*one.values, *one.highs) if v is not None]
        shown += [v for reference in references for v in reference.values if v is not None]
        axes.set_xlim(0, min(100, 10 * np.ceil((max(shown, default=100) + 2) / 10)))
        axes.set_xlabel("percent; lines are 95 % intervals", color=_SOFT, fontsize=8.5)
        handles, names = axes.get_legend_handles_labels()
        # Bars first, as they are drawn.
        order = sorted(range(len(names)), key=lambda i: names[i] not in {one.name for one in series})
        return _finish(figure, title, [handles[i] for i in order], [names[i] for i in order])


def differences(columns: Sequence[str], series: Sequence[Series], title: str = "") -> bytes:
    """An SVG of differences in percentage points about a line at zero; filled where the interval leaves zero out."""
    with matplotlib.rc_context(_SETTINGS):
        figure, axes, places = _figure(columns, series)
        axes.axvline(0, color=_INK, linewidth=1.0, zorder=1)
        step = 0.66 / len(series)
        for index, one in enumerate(series):
            style = {"color": COLORS[index % len(COLORS)], "linewidth": 2.0}
            marker = {"marker": _MARKERS[index % 6], "markersize": 6, "markeredgewidth": 1.5}
            at = places + (index - (len(series) - 1) / 2) * step
            for i, (value, low, high) in enumerate(zip(one.values, one.lows, one.highs)):
                if value is None:
                    continue
                certain = low is not None and (low > 0 or high < 0)
                if low is not None:
                    axes.plot([low, high], [at[i], at[i]], zorder=2, **style)
                face = style["color"] if certain else "white"
                axes.plot(value, at[i], zorder=3, markerfacecolor=face, linestyle="none", **marker, **style)
            axes.plot([], [], label=one.name, **marker, **style)
        axes.set_xlabel("percentage points; filled where the 95 % interval leaves out zero", color=_SOFT, fontsize=8.5)
        axes.margins(x=0.06)
        return _finish(figure, title, *axes.get_legend_handles_labels())


def _figure(columns: Sequence[str], series: Sequence[Series]) -> tuple[Figure, Axes, np.ndarray]:
    """A figure with one row a column, the first on top, and the heights at which they are."""
    names, places = [fill(column, 26) for column in columns], np.arange(len(columns))
    rows = [max(0.155 * len(series) + 0.1, 0.15 * (name.count("\n") + 1) + 0.06) for name in names]
    figure = Figure(figsize=(_WIDTH, 1.2 + len(columns) * max(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_yticks(places, names)
    axes.set_ylim(len(columns) - 0.45, -0.55)
    axes.grid(axis="x", color=_LINE, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    return figure, axes, places


def _finish(figure: Figure, title: str, handles: Sequence[Artist], names: Sequence[str]) -> bytes:
    style = {"ncols": 5, "frameon": False, "fontsize": 8.5, "handlelength": 1.4, "columnspacing": 1.2}
    # The title is the legend's, since constrained layout would draw a figure's own title over the legend.
    style |= {"title": title or None, "title_fontproperties": {"weight": "bold", "size": 10.5}, "alignment": "left"}
    figure.legend(handles, names, loc="outside upper left", **style)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, facecolor="white")
    return buffer.getvalue()
