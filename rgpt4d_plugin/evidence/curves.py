# SPDX-License-Identifier: Apache-2.0
"""The picture of accuracy over steps."""

import io
from collections.abc import Sequence

from matplotlib.figure import Figure

from rgpt4d_plugin.eval_hooks.report.charts import COLORS
from rgpt4d_plugin.evidence.arms import ARMS
from rgpt4d_plugin.evidence.results import Results


def curves(results: Results, regime: str, arms: Sequence[str]) -> bytes:
    """An SVG: the share of right answers at every evaluation, with each seed's as thin lines."""
    figure = Figure(figsize=(7.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for number, arm in enumerate(arms):
        colour, line = COLORS[number % len(COLORS)], ("-", "--", ":")[number // len(COLORS) % 3]
        steps = results.steps(regime, arm)
        for seed in results.seeds(regime, arm):
            values = [results.value(regime, arm, seed, at=at) for at in range(len(steps))]
            axes.plot(steps, values, color=colour, linewidth=0.6, alpha=0.5)
        means = [results.estimate(regime, arm, at=at).value for at in range(len(steps))]
        axes.plot(steps, means, line, color=colour, linewidth=2, marker="o", markersize=4, label=ARMS[arm].title)
    axes.set_xlabel("steps")
    axes.set_ylabel("right answers (%)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=8.5, loc="outside right upper")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, facecolor="white")
    return buffer.getvalue()
