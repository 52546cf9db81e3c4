# SPDX-License-Identifier: Apache-2.0
"""The map figure of the demo: a clip's frames over the teacher's and the student's maps, before and after training."""

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from rgpt4d_plugin.preview.student_maps import ClipMaps
from rgpt4d_plugin.terms import TERMS
from rgpt4d_plugin.video.colours import flow_colours


def save_contact_sheet(before: ClipMaps, after: ClipMaps, path: str, columns: int = 6) -> None:
    """Draws `columns` frames of a clip, and per term the teacher's map and the student's before and after training.

    Within a term all rows share one colour scale, the teacher's, so that colours can be compared.
    """
    terms = [term for term in TERMS.values() if term.colors and term.name in after.teacher]
    rows = [("video", after.frames)]
    for term in terms:
        for name, maps in (
            ("teacher", after.teacher[term.name]),
            ("student before", before.student[term.name]),
            ("student after", after.student[term.name]),
        ):
            rows.append((f"{term.title}\n{name}", COLOURS[term.colors](maps, after.teacher[term.name])))
    # From the second frame on: the first has no backward flow.
    moments = np.linspace(1, len(after.frames) - 1, columns).round().astype(int)

    figure = Figure(figsize=(1.55 * columns + 1.3, 1.55 * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (label, images) in zip(axes, rows):
        for axis, moment in zip(row, moments):
            axis.imshow(images[moment], interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(label, fontsize=10)
    for axis, moment in zip(axes[0], moments):
        axis.set_title(f"frame {moment}", fontsize=10)
    figure.savefig(path, dpi=100)


def _depth_colours(depth: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """(1, T, H, W) log depth to (T, H, W, 4), over the teacher's range, near bright."""
    low, high = np.percentile(teacher, [1, 99])
    return colormaps["viridis_r"]((depth[0] - low) / max(high - low, 1e-6))


def _flow_colours(flow: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """(2, T, H, W) pixels to (T, H, W, 3), on the teacher's scale."""
    return flow_colours(flow, max(np.percentile(np.hypot(*teacher), 99.5), 1e-6))


def _motion_colours(logits: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """(1, T, H, W) logits to (T, H, W, 4): the probability that the pixel moves."""
    return colormaps["magma"](1 / (1 + np.exp(-logits[0].clip(-30, 30))))


COLOURS = {"depth": _depth_colours, "flow": _flow_colours, "motion": _motion_colours}
"""By `LossTerm.colors`; each takes a map and the teacher's, whose scale it uses."""
