# SPDX-License-Identifier: Apache-2.0
"""Pictures of a held-out clip's maps: ground truth, and the student's before and after training."""

from pathlib import Path

from rgpt4d_plugin.evidence.arms import Preset, Run, frames_of, recipe_of


def draw_maps(root: Path, preset: Preset, run: Run, record: int = 0) -> Path:
    """Draws the maps of one held-out clip for a finished run, if that is not done; returns the picture.

    Args:
        root: Folder of the experiment.
        preset: Its sizes.
        run: A run with depth, flow and motion.
        record: Number of the clip.
    """
    from rgpt4d_plugin.preview.map_figure import save_contact_sheet
    from rgpt4d_plugin.preview.student_maps import clip_maps

    picture = root / f"maps_{run.name}.png"
    if picture.exists():
        return picture
    recipe = recipe_of(preset, root.resolve(), run)
    del recipe["p4d_eval"], recipe["tokenized_path"]
    held_out = "synth4d_test_many"
    checkpoint = str(run.output(root) / f"checkpoint-{run.steps(preset)}")
    before, after = (clip_maps(recipe, held_out, record, folder) for folder in (None, checkpoint))
    save_contact_sheet(before, after, str(picture), columns=min(6, frames_of(preset) - 1))
    return picture
