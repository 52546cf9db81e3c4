# SPDX-License-Identifier: Apache-2.0
"""Teacher's and student's maps of one dataset record, through the host's own data path: what a person looks at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from rgpt4d_plugin.preview.recipe_pipeline import RecipePipeline
from rgpt4d_plugin.teachers import ClipKey, TeacherWindows, cut_windows
from rgpt4d_plugin.trainers.mixin import BATCH_KEY, DECODER_FILE
from rgpt4d_plugin.trainers.tap import StudentTap
from rgpt4d_plugin.video import SeenClip
from rgpt4d_plugin.video.frames import read_frames, read_info


@dataclass(frozen=True)
class ClipMaps:
    """Maps of the first window of a record's first clip, all float32 on the CPU.

    `frames` are what the teacher saw, (T, H, W, 3) uint8. `teacher` has a map (channels, T, H', W') for each term, in
    the units of `TeacherSpec.maps`, and `student` the same, from the student's latents through the teacher's heads.
    """

    frames: np.ndarray
    teacher: dict[str, np.ndarray]
    student: dict[str, np.ndarray]


@torch.no_grad()
def clip_maps(recipe: dict[str, Any], dataset: str, record: int, checkpoint: str | None = None) -> ClipMaps:
    """Runs one record of a dataset through student and teacher of a recipe with a `p4d:` block.

    `checkpoint` is a folder of full fine-tuning with its decoder; None takes the recipe's model, and the decoder as it
    is when training starts.
    """
    if checkpoint is not None:
        recipe = {**recipe, "model_name_or_path": checkpoint}
    pipeline = RecipePipeline.from_recipe(recipe)
    run, template = pipeline.run, pipeline.run_template
    model = pipeline.load_student(trainable=False)

    decoder = run.build_decoder(model.config, pipeline.training_args.seed)
    if checkpoint is not None:
        decoder.load_state_dict(load_file(Path(checkpoint) / DECODER_FILE))
    per_step = run.family.frames_per_step(pipeline.processor)
    tap = StudentTap(model, run.family, decoder.to(model.device), run.teacher, per_step)
    teacher = run.load_distiller(model.device).teacher

    feature = pipeline.tokenise(template, pipeline.records(dataset, record + 1)[record])
    inputs = pipeline.p4d_collator(template, model)([feature])
    batch = inputs.pop(BATCH_KEY).to(model.device)
    with tap.listen(batch):
        model(**{name: value.to(model.device) for name, value in inputs.items() if torch.is_tensor(value)})
        latents, own = tap.latents()[: run.teacher.tokens], tap.maps

    key = batch.keys[0]
    frames = batch.frames[0] if batch.frames is not None else _frames_of(key, pipeline)
    stored = {term: found.map(lambda tensor: tensor[:1]) for term, found in batch.stored[0].items()}
    window = TeacherWindows(((key, 0),), cut_windows(frames, run.teacher, (0,)), stored)
    features = teacher.features(window, run.hooks)
    targets = {term: teacher.targets(window, features, term)[0] for term in run.arguments.loss.maps}
    decoded = {hook: latents[None, :, k] for k, hook in enumerate(run.hooks)}
    predictions = {term: own[term][0] if term in own else teacher.predict(decoded, term)[0] for term in targets}
    return ClipMaps(
        frames=frames.permute(0, 2, 3, 1).cpu().numpy(),
        teacher={term: value.float().cpu().numpy() for term, value in targets.items()},
        student={term: value.float().cpu().numpy() for term, value in predictions.items()},
    )


def _frames_of(key: ClipKey, pipeline: RecipePipeline) -> torch.Tensor:
    """A clip's frames as a teacher would get them, where this one needs none."""
    info = read_info(key.source)
    frames = read_frames(key.source, [info.frame_at(key.start + time) for time in key.timestamps])
    return pipeline.run.teacher_frames(SeenClip(key.source, frames, list(key.timestamps)), pipeline.processor)
