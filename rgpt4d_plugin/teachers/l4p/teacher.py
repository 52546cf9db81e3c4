# SPDX-License-Identifier: Apache-2.0
"""L4P as a teacher: its tasks under the names of the loss terms, raw outputs, logarithm of depth.

[release]: heads are compared before their activation, except for depth, which is compared as log(depth + 1e-8).
"""

import math
from collections.abc import Mapping
from typing import Self

import torch
from pydantic import Field
from torch import Tensor

from rgpt4d_plugin.teachers.base import (
    WHOLE_MAP,
    ClipKey,
    MapSpec,
    MapView,
    NetworkArguments,
    Teacher,
    TeacherSpec,
    TeacherWindows,
)
from rgpt4d_plugin.teachers.l4p.checkpoint import ORIGIN, load_l4p, read_l4p_config
from rgpt4d_plugin.teachers.l4p.config import L4PConfig
from rgpt4d_plugin.teachers.l4p.model import L4P
from rgpt4d_plugin.validation import Text


TASK_OF_TERM = {"depth": "depth", "flow": "flow_2d_backward", "motion": "dyn_mask", "camray": "camray"}
"""L4P's task behind each loss term."""

DEPTH_EPSILON = 1e-8


class L4PArguments(NetworkArguments):
    """Options of `type: l4p`."""

    checkpoint: Text | None = Field(
        None, description="Path of the teacher's weights (.ckpt or .safetensors), e.g. from NVlabs/L4P."
    )


class L4PTeacher(Teacher):
    """The frozen L4P of a checkpoint.

    Args:
        model: The frozen network, with the heads that are needed.
        name: How messages call it.
    """

    Arguments = L4PArguments
    terms = ("latent", *TASK_OF_TERM)
    licence = "NVlabs/L4P's weights are under CC BY-NC-SA 4.0 (non-commercial)."

    def __init__(self, model: L4P, name: str = "L4P") -> None:
        self.model = model
        self.spec = l4p_spec(model.config, name)
        self.device = model.device
        self.dtype = model.dtype

    @classmethod
    def problems(cls, options: L4PArguments) -> list[str]:
        return options.missing_file(ORIGIN)

    @classmethod
    def read_spec(cls, options: L4PArguments) -> TeacherSpec:
        return l4p_spec(read_l4p_config(str(options.checkpoint)), str(options.checkpoint))

    @classmethod
    def load(cls, options: L4PArguments, device: torch.device, terms: tuple[str, ...]) -> Self:
        tasks = [TASK_OF_TERM[term] for term in terms]
        path = str(options.checkpoint)
        model = load_l4p(path, getattr(torch, options.dtype), device, tasks=tasks)
        if options.compile:
            assert model.video_encoder is not None
            for block in model.video_encoder.blocks:  # all of them are one compiled function
                block.compile()
        return cls(model, path)

    @classmethod
    def load_heads(cls, options: L4PArguments, device: torch.device, terms: tuple[str, ...]) -> Self:
        tasks = [TASK_OF_TERM[term] for term in terms]
        path = str(options.checkpoint)
        return cls(load_l4p(path, getattr(torch, options.dtype), device, tasks=tasks, encoder=False), path)

    def features(self, windows: TeacherWindows, hooks: tuple[int, ...]) -> dict[int, Tensor]:
        assert windows.frames is not None, "this teacher needs frames"
        features = self.model.encode(self.model.normalise(windows.frames), only=hooks)
        return {hook: features[hook] for hook in hooks}

    def targets(self, windows: TeacherWindows, features: Mapping[int, Tensor], term: str) -> Tensor:
        return self._map(features, term)

    def predict(self, latents: Mapping[int, Tensor], term: str) -> Tensor:
        return self._map(latents, term)

    def target_part(self, windows: TeacherWindows, features: Mapping[int, Tensor], term: str, view: MapView) -> Tensor:
        return self._map(features, term, view)

    def predict_part(self, latents: Mapping[int, Tensor], term: str, view: MapView) -> Tensor:
        return self._map(latents, term, view)

    def _map(self, features: Mapping[int, Tensor], term: str, view: MapView = WHOLE_MAP) -> Tensor:
        task = TASK_OF_TERM[term]
        raw = self.model.decode(features, (task,), raw=True, view=view)[task]
        return log_depth(raw) if term == "depth" else raw

    @torch.no_grad()
    def maps(self, clip: Tensor, key: ClipKey, term: str, hooks: tuple[int, ...]) -> Tensor:
        # Depth has another scale and shift in every window; the model's own forward fits them to one another.
        task = TASK_OF_TERM[term]
        whole = self.model(self.model.normalise(clip[None]), (task,))[task][0].cpu()
        if term != "depth":
            return whole
        # Where windows do not fit together, depth is 0 for "beyond all": show it as the farthest.
        return torch.where(whole > 0, whole, whole.max()).clamp(min=DEPTH_EPSILON).log()


def l4p_spec(config: L4PConfig, name: str) -> TeacherSpec:
    """Describes an L4P of that configuration."""
    return TeacherSpec(
        name=name,
        input_size=(config.height, config.width),
        window=config.frames,
        stride=config.frames // 2,
        tubelet=config.patch[0],
        grid=config.grid,
        width=config.dim,
        features=tuple(range(config.blocks + 1)),
        maps={
            term: MapSpec(
                config.map_shape(task),
                config.tasks[task].hooks,
                sizes=config.map_sizes(task),
                tiles=bool(config.map_sizes(task)),  # the same layers are cut short
            )
            for term, task in TASK_OF_TERM.items()
            if task in config.tasks
        },
    )


def log_depth(raw: Tensor) -> Tensor:
    """log(exp(raw) + 1e-8) of a depth head's raw output, computed without the exp, which overflows above 88."""
    return torch.logaddexp(raw.float(), torch.full((), math.log(DEPTH_EPSILON), device=raw.device))
