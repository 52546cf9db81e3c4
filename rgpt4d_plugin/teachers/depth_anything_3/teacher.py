# SPDX-License-Identifier: Apache-2.0
"""Depth Anything 3 as a teacher: the frames of a window are the views, and the first one's camera is the world.

Depth and ray origins have one unknown scale per window, so both sides of a term are measured in a unit of their own,
the geometric mean of their depths over the window:

- `depth` is the logarithm of the depth minus its mean over the window (a scale-invariant comparison);
- `camray` is the ray's direction, of unit depth, and its origin divided by that mean depth. The student's origins are
  divided by the mean of the depths that its own latents give, so the gradient of this term reaches depth too.

Frames that only fill up a short clip's window count in the mean, on both sides alike.
"""

from collections.abc import Mapping
from typing import Self

import torch
from pydantic import Field
from torch import Tensor

from rgpt4d_plugin.teachers.base import (
    ClipKey,
    MapSpec,
    NetworkArguments,
    Teacher,
    TeacherSpec,
    TeacherWindows,
    cut_windows,
)
from rgpt4d_plugin.teachers.depth_anything_3.checkpoint import (
    ORIGIN,
    load_depth_anything_3,
    read_depth_anything_3_config,
)
from rgpt4d_plugin.teachers.depth_anything_3.config import DepthAnything3Config
from rgpt4d_plugin.teachers.depth_anything_3.model import DepthAnything3
from rgpt4d_plugin.validation import Text


class DepthAnything3Arguments(NetworkArguments):
    """Options of `type: depth_anything_3`."""

    checkpoint: Text | None = Field(
        None, description="Path of the weights, model.safetensors of depth-anything/DA3-SMALL or DA3-BASE."
    )


class DepthAnything3Teacher(Teacher):
    """The frozen Depth Anything 3 of a checkpoint.

    Args:
        model: The frozen network.
        name: How messages call it.
    """

    Arguments = DepthAnything3Arguments
    terms = ("latent", "depth", "camray")
    licence = "The weights of DA3-SMALL and DA3-BASE are under Apache-2.0."

    def __init__(self, model: DepthAnything3, name: str = "Depth Anything 3") -> None:
        self.model = model
        self.spec = depth_anything_3_spec(model.config, name)
        self.device = model.device
        self.dtype = model.dtype

    @classmethod
    def problems(cls, options: DepthAnything3Arguments) -> list[str]:
        return options.missing_file(ORIGIN)

    @classmethod
    def read_spec(cls, options: DepthAnything3Arguments) -> TeacherSpec:
        path = str(options.checkpoint)
        return depth_anything_3_spec(read_depth_anything_3_config(path), path)

    @classmethod
    def load(cls, options: DepthAnything3Arguments, device: torch.device, terms: tuple[str, ...]) -> Self:
        path = str(options.checkpoint)
        model = load_depth_anything_3(path, getattr(torch, options.dtype), device)
        if options.compile:
            for block in model.encoder.blocks:
                block.compile()
        return cls(model, path)

    @classmethod
    def load_heads(cls, options: DepthAnything3Arguments, device: torch.device, terms: tuple[str, ...]) -> Self:
        path = str(options.checkpoint)
        return cls(load_depth_anything_3(path, getattr(torch, options.dtype), device, encoder=False), path)

    def features(self, windows: TeacherWindows, hooks: tuple[int, ...]) -> dict[int, Tensor]:
        assert windows.frames is not None, "this teacher needs frames"
        return self.model.encode(self.model.normalise(windows.frames), hooks)

    def targets(self, windows: TeacherWindows, features: Mapping[int, Tensor], term: str) -> Tensor:
        return self._map(features, term)

    def predict(self, latents: Mapping[int, Tensor], term: str) -> Tensor:
        return self._map(latents, term)

    def _map(self, features: Mapping[int, Tensor], term: str) -> Tensor:
        geometry = self.model.decode(features, self.model.config.grid, rays=term == "camray")
        mean = geometry.log_depth.mean(dim=(1, 2, 3), keepdim=True)  # (W, 1, 1, 1)
        if geometry.rays is None:
            return (geometry.log_depth - mean)[:, None]
        direction, origin = geometry.rays.movedim(2, 1).split(3, dim=1)  # each (W, 3, T, 8h, 8w)
        return torch.cat([direction, origin * (-mean)[:, None].exp()], dim=1)

    @torch.no_grad()
    def maps(self, clip: Tensor, key: ClipKey, term: str, hooks: tuple[int, ...]) -> Tensor:
        if term != "depth":
            return super().maps(clip, key, term, hooks)
        # Each window has another scale: bring it to that of the frames before it, over those that both have.
        whole = torch.empty(1, 0, self.spec.input_size[0], self.spec.input_size[1])
        for start in self.spec.window_starts(len(clip))[1]:
            windows = TeacherWindows(((key, start),), cut_windows(clip, self.spec, (start,)))
            depth = self.targets(windows, self.features(windows, hooks), term)[0].cpu()
            shared = whole[:, start:]
            if shared.shape[1]:
                depth = depth + (shared - depth[:, : shared.shape[1]]).mean()
            whole = torch.cat([whole[:, :start], depth], dim=1)
        return whole[:, : len(clip)]


def depth_anything_3_spec(config: DepthAnything3Config, name: str) -> TeacherSpec:
    """Describes a Depth Anything 3 of that configuration."""
    height, width = config.grid
    return TeacherSpec(
        name=name,
        input_size=(config.height, config.width),
        window=config.frames,
        stride=max(1, config.frames // 2),
        tubelet=1,
        grid=(config.frames, height, width),
        width=2 * config.dim,
        features=tuple(range(config.blocks)),
        maps={
            "depth": MapSpec((1, config.frames, config.height, config.width), config.hooks),
            "camray": MapSpec((6, config.frames, 8 * height, 8 * width), config.hooks),
        },
    )
