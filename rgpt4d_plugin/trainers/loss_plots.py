# SPDX-License-Identifier: Apache-2.0
"""`plot_loss: true`: a picture of every loss term beside the host's own."""

import json
import math
import os

from matplotlib.figure import Figure

from rgpt4d_plugin.trainers.setup import ALL_LOG_KEYS, GRADIENT_KEYS


def plot_terms(output_dir: str) -> str | None:
    """Draws every logged term over the steps, one panel each, from the run's trainer_state.json, with the evaluations'
    terms.

    Returns the path of the picture, `training_p4d_terms.png` in `output_dir`; None if no term was logged.
    """
    with open(os.path.join(output_dir, "trainer_state.json"), encoding="utf-8") as stream:
        history = json.load(stream)["log_history"]
    curves = {}
    for key in ("loss", *ALL_LOG_KEYS, *GRADIENT_KEYS.values()):
        points = [(entry["step"], entry[key]) for entry in history if key in entry]
        if points and key != "p4d_videos":
            curves[key] = points
    if set(curves) <= {"loss"}:
        return None

    columns = min(3, len(curves))
    rows = math.ceil(len(curves) / columns)
    # Figure alone, without pyplot: the host chooses the back end and owns pyplot's state.
    figure = Figure(figsize=(4.2 * columns, 3.0 * rows), layout="constrained")
    for index, (key, points) in enumerate(curves.items(), start=1):
        axes = figure.add_subplot(rows, columns, index)
        # `eval_loss` is the host's, without the terms; beside `loss_sft` there is `eval_loss_sft`.
        name = f"eval_{key}" if key != "loss" else None
        evaluated = [(entry["step"], entry[name]) for entry in history if name in entry]
        for line, label, colour in ((points, "training", "#1f77b4"), (evaluated, "evaluation", "#d95f02")):
            if line:
                axes.plot(*zip(*line, strict=True), color=colour, label=label, marker="." if len(line) < 20 else None)
        if evaluated:
            axes.legend(fontsize=8)
        axes.set_title(key)
        axes.set_xlabel("step")
        if min(value for _, value in points + evaluated) > 0:
            axes.set_yscale("log")
        axes.grid(alpha=0.3, which="both")
    path = os.path.join(output_dir, "training_p4d_terms.png")
    figure.savefig(path, dpi=120)
    return path
