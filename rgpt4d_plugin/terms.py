# SPDX-License-Identifier: Apache-2.0
"""The loss terms of P4D: what each compares, which part of a teacher window it owns, and how it is drawn."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LossTerm:
    """One term, named as in `p4d.loss`.

    Attributes:
        name: Key under `p4d.loss`, and of a teacher's maps.
        title: Its name in pictures.
        compares: "features" at the teacher's hooks (L_LD), or one of the teacher's "map"s (L_ED).
        owns: Attribute of `distill.grid.Window` that says which steps or frames of a window count.
        colors: Function of `preview.map_figure` that colors the map; None where there is nothing to look at.
        legend: How to read the colors.
        in_pixels: Whether its values are lengths in pixels of the teacher's input.
    """

    name: str
    title: str
    compares: Literal["features", "map"]
    owns: Literal["steps", "frames", "flow_frames"]
    colors: Literal["depth", "flow", "motion"] | None = None
    legend: str = ""
    in_pixels: bool = False

    @property
    def log_key(self) -> str:
        """Name under which the trainer logs the term."""
        return f"loss_{self.name}"


TERMS = {
    term.name: term
    for term in (
        LossTerm("latent", "latent features", "features", "steps"),
        LossTerm("depth", "depth", "map", "frames", "depth", "near is bright, log scale over the clip"),
        LossTerm(
            "flow",
            "backward flow",
            "map",
            "flow_frames",
            "flow",
            "hue is the direction, saturation the length",
            in_pixels=True,
        ),
        LossTerm("motion", "motion", "map", "frames", "motion", "bright moves"),
        LossTerm("camray", "camera rays", "map", "frames"),
        # A window's first frame is where its cameras are measured from: it has neither a flow nor a pose to compare.
        LossTerm("pose", "camera pose", "map", "flow_frames"),
        LossTerm("scale", "metric scale", "map", "frames"),
    )
}
"""Every loss term by name, in the order in which they are logged."""

MAP_TERMS = tuple(term.name for term in TERMS.values() if term.compares == "map")
"""Names of the terms that compare maps."""
