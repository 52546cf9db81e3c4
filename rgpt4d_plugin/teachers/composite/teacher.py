# SPDX-License-Identifier: Apache-2.0
"""A teacher put together from published networks; docs/teachers/composite.md says which term comes from which.

Latents come from V-JEPA 2 or Depth Anything 3, and the student's maps from heads that train with the decoder. What
several terms need of the same windows is computed once.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from rgpt4d_plugin.teachers.base import (
    MapSpec,
    Teacher,
    TeacherArguments,
    TeacherSpec,
    TeacherWindows,
    channel_constants,
)
from rgpt4d_plugin.teachers.composite.motion import cameras_of_rays, motion_logit, rigid_backward_flow
from rgpt4d_plugin.teachers.composite.networks import (
    VJEPA2,
    DepthKind,
    DepthModel,
    Raft,
    depth_kind,
    raft_problem,
    read_vjepa2_config,
)
from rgpt4d_plugin.teachers.depth_anything_3.checkpoint import load_depth_anything_3, read_depth_anything_3_config
from rgpt4d_plugin.teachers.depth_anything_3.config import DepthAnything3Config
from rgpt4d_plugin.teachers.depth_anything_3.model import DepthAnything3
from rgpt4d_plugin.teachers.geometry import POSE_CHANNELS, pose_map, relative_to_first
from rgpt4d_plugin.validation import Integer, Number, Text


INPUT, GRID, WIDTH, TUBELET = 224, 16, 256, 2
"""Side of the frames in pixels and in tokens, channels, and frames of a token where no network gives latents."""


class CompositeArguments(TeacherArguments):
    """Options of `type: composite`: which networks there are decides which terms there are."""

    weight_files = ("depth_anything_3", "raft")

    depth_anything_3: Text | None = Field(
        None,
        description="Path of the weights of a Depth Anything 3: camray, pose, and latent and depth unless another "
        "network gives them.",
    )
    depth_model: Text | None = Field(
        None, description="Folder or Hub name of a depth estimator of transformers: depth, and scale if it is metric."
    )
    depth_kind: DepthKind | None = Field(
        None, description="What `depth_model` gives; null: what is known of its kind."
    )
    raft: Text | None = Field(
        None,
        description="File of the weights of torchvision's RAFT, or raft_large or raft_small for its own: flow, and "
        "with depth_anything_3 motion.",
    )
    vjepa2: Text | None = Field(None, description="Folder or Hub name of a V-JEPA 2: latent.")
    motion_threshold: Number = Field(
        2.0,
        gt=0,
        le=1000,
        description="Pixels of the input by which flow must differ from that of the camera's motion alone for a "
        "pixel to be as likely moving as not.",
    )
    window: Integer = Field(16, ge=2, le=256, description="Frames of a window.")
    pixels: Integer = Field(4, ge=1, le=16, description="Pixels of a map's height and width for each token.")

    @field_validator("depth_anything_3", "depth_model", "raft", "vjepa2")
    @classmethod
    def _expand(cls, path: str | None) -> str | None:
        return path and os.path.expanduser(path)


@dataclass
class _Geometry:
    """What Depth Anything 3 says of windows, lengths in the geometric mean of each window's depths."""

    log_depth: Tensor
    """(W, T, H, W')"""
    rays: Tensor
    """(W, 6, T, h, w): direction of depth 1, origin."""
    matrices: Tensor
    poses: Tensor


class CompositeTeacher(Teacher):
    """Frozen networks, and the terms that they give together.

    Args:
        options: What stands under `p4d.teacher`.
        spec: What `read_spec` gives for them.
        device: Where they run.
        networks: Those that are loaded, by the names of their options.
    """

    Arguments = CompositeArguments
    licence = "Each network has a licence of its own (docs/teachers/composite.md); see the pages of its weights."
    terms = ("latent", "depth", "flow", "motion", "camray", "pose", "scale")
    options_of: ClassVar[Mapping[str, str]] = {
        "latent": "vjepa2 or depth_anything_3",
        "depth": "depth_model or depth_anything_3",
        "flow": "raft",
        "motion": "raft and depth_anything_3",
        "camray": "depth_anything_3",
        "pose": "depth_anything_3",
        "scale": "a metric depth_model",
    }

    def __init__(
        self, options: CompositeArguments, spec: TeacherSpec, device: torch.device, networks: Mapping[str, Any]
    ) -> None:
        self.options, self.spec, self.device = options, spec, device
        self.dtype = getattr(torch, options.dtype)
        self._vjepa2: VJEPA2 | None = networks.get("vjepa2")
        self._anything: DepthAnything3 | None = networks.get("depth_anything_3")
        self._depth_model: DepthModel | None = networks.get("depth_model")
        self._raft: Raft | None = networks.get("raft")
        self._seen: tuple[TeacherWindows | None, dict[str, Any]] = (None, {})

    @classmethod
    def problems(cls, options: CompositeArguments) -> list[str]:
        problem = raft_problem(options.raft) if options.raft is not None else None
        problems = [problem] if problem else []
        path = options.depth_anything_3
        if path is not None and not os.path.isfile(path):
            problems.append(f"p4d.teacher.depth_anything_3: no such file: {path}")
        return problems

    @classmethod
    def read_spec(cls, options: CompositeArguments) -> TeacherSpec:
        anything = options.depth_anything_3 and read_depth_anything_3_config(options.depth_anything_3)
        latents = _latents(options, anything or None)
        frames, (_, rows, columns) = options.window, latents.grid
        plane = (options.pixels * rows, options.pixels * columns)
        shapes: dict[str, tuple[int, int, int, int]] = {}
        if options.depth_model or anything:
            shapes["depth"] = (1, frames, *plane)
        if options.raft:
            shapes["flow"] = (2, frames, *plane)
        if options.raft and anything:
            shapes["motion"] = (1, frames, *plane)
        if anything:
            shapes["camray"] = (6, frames, rows, columns)
            shapes["pose"] = (POSE_CHANNELS, frames, 1, 1)
        if options.depth_model and depth_kind(options.depth_model, options.depth_kind) == "metric":
            shapes["scale"] = (1, frames, 1, 1)
        return TeacherSpec(
            name="composite",
            input_size=latents.input_size,
            window=frames,
            stride=frames,
            tubelet=frames // latents.grid[0],
            grid=latents.grid,
            width=latents.width,
            features=latents.features,
            maps={term: MapSpec(shape, latents.hooks) for term, shape in shapes.items()},
            has_features=latents.given,
            trainable_heads=True,
        )

    @classmethod
    def load(cls, options: CompositeArguments, device: torch.device, terms: tuple[str, ...]) -> Self:
        dtype = getattr(torch, options.dtype)
        networks: dict[str, Any] = {}
        if options.vjepa2:
            networks["vjepa2"] = VJEPA2.load(options.vjepa2, dtype, device)
        by_geometry = {"camray", "pose", "motion"} | (set() if options.depth_model else {"depth"})
        if options.depth_anything_3 and (not options.vjepa2 or by_geometry & set(terms)):
            networks["depth_anything_3"] = load_depth_anything_3(options.depth_anything_3, dtype, device)
        if options.depth_model and {"depth", "scale"} & set(terms):
            kind = depth_kind(options.depth_model, options.depth_kind)
            networks["depth_model"] = DepthModel.load(options.depth_model, kind, dtype, device)
        if options.raft and {"flow", "motion"} & set(terms):
            networks["raft"] = Raft.load(options.raft, device)
        return cls(options, cls.read_spec(options), device, networks)

    def features(self, windows: TeacherWindows, hooks: tuple[int, ...]) -> dict[int, Tensor]:
        if not self.spec.has_features:
            return {}
        if self._vjepa2 is not None:
            return self._vjepa2.features(self._frames(windows), hooks)
        encoded = self._encoded(windows)
        rest = tuple(hook for hook in hooks if hook not in encoded)
        if rest:
            encoded = {**encoded, **self._encode(windows, rest)}
        return {hook: encoded[hook] for hook in hooks}

    def targets(self, windows: TeacherWindows, features: Mapping[int, Tensor], term: str) -> Tensor:
        made: dict[str, Callable[[TeacherWindows], Tensor]] = {
            "depth": self._depth,
            "flow": lambda given: self._sized(self._flow(given), "flow"),
            "motion": self._motion,
            "camray": lambda given: self._sized(self._geometry(given).rays, "camray"),
            "pose": lambda given: pose_map(relative_to_first(self._geometry(given).poses)),
            "scale": self._scale,
        }
        # The encoder may have run ahead, on other slices of the same windows.
        network = self._anything
        if self._vjepa2 is None and network is not None and set(network.config.hooks) <= features.keys():
            self._once(windows, "encoded", lambda: features)
        return made[term](windows)

    def _once(self, windows: TeacherWindows, name: str, make: Callable[[], Any]) -> Any:
        """What several terms need of the same windows; kept until other windows come."""
        if self._seen[0] is not windows:
            self._seen = (windows, {})
        found = self._seen[1]
        if name not in found:
            found[name] = make()
        return found[name]

    def _frames(self, windows: TeacherWindows) -> Tensor:
        assert windows.frames is not None, "this teacher needs frames"
        return windows.frames.to(self.device)

    def _sized(self, maps: Tensor, term: str) -> Tensor:
        """(W, C, T, H, W') maps at the size of a term's: averages over its pixels."""
        size = self.spec.maps[term].shape[2:]
        if tuple(maps.shape[-2:]) == size:
            return maps
        resized = F.interpolate(maps.flatten(1, 2).float(), size, mode="bilinear", antialias=True)
        return resized.unflatten(1, maps.shape[1:3])

    def _encode(self, windows: TeacherWindows, hooks: tuple[int, ...]) -> dict[int, Tensor]:
        network = self._anything
        assert network is not None
        config, frames = network.config, self._frames(windows)
        size = (config.height, config.width)
        if tuple(frames.shape[-2:]) != size:
            resized = F.interpolate(frames.flatten(0, 1).float(), size, mode="bilinear", antialias=True)
            frames = resized.round().clamp(0, 255).byte().unflatten(0, frames.shape[:2])
        return network.encode(network.normalise(frames), hooks)

    def _encoded(self, windows: TeacherWindows) -> dict[int, Tensor]:
        assert self._anything is not None
        hooks = self._anything.config.hooks
        return self._once(windows, "encoded", lambda: self._encode(windows, hooks))

    def _geometry(self, windows: TeacherWindows) -> _Geometry:
        def make() -> _Geometry:
            network = self._anything
            assert network is not None
            found = network.decode(self._encoded(windows), network.config.grid)
            assert found.rays is not None
            mean = found.log_depth.mean(dim=(1, 2, 3), keepdim=True)
            direction, origin = found.rays.movedim(2, 1).float().split(3, dim=1)
            rays = torch.cat([direction, origin * (-mean)[:, None].exp()], dim=1)
            return _Geometry(found.log_depth - mean, rays, *cameras_of_rays(rays))

        return self._once(windows, "geometry", make)

    def _flow(self, windows: TeacherWindows) -> Tensor:
        """(W, 2, T, H, W') in pixels of the input, at its size."""
        assert self._raft is not None
        raft = self._raft
        return self._once(windows, "flow", lambda: raft.backward_flow(self._frames(windows)))

    def _own_depth(self, windows: TeacherWindows) -> Tensor:
        """(W, 1, T, h, w) of the depth model, as large as it comes."""
        assert self._depth_model is not None
        model = self._depth_model
        frames = self._frames(windows)
        return self._once(
            windows,
            "depth",
            lambda: model(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).transpose(1, 2),
        )

    def _depth(self, windows: TeacherWindows) -> Tensor:
        if self._depth_model is not None:
            return self._sized(self._own_depth(windows), "depth")
        return self._sized(self._geometry(windows).log_depth[:, None], "depth")

    def _scale(self, windows: TeacherWindows) -> Tensor:
        mean = self._own_depth(windows).mean(dim=(1, 2, 3, 4))
        return mean.view(-1, 1, 1, 1, 1).expand(-1, 1, self.spec.window, 1, 1)

    def _motion(self, windows: TeacherWindows) -> Tensor:
        found = self._geometry(windows)
        size = found.rays.shape[-2:]
        depth = F.interpolate(found.log_depth, size, mode="bilinear", antialias=True).exp()
        cells = rigid_backward_flow(found.rays, depth, found.matrices, found.poses)
        height, width = self.spec.input_size
        unit = channel_constants((width / size[1], height / size[0]), cells.device)[..., None]
        rigid = self._sized(cells * unit, "motion")
        return motion_logit(self._sized(self._flow(windows), "motion"), rigid, self.options.motion_threshold)


@dataclass(frozen=True)
class _Latents:
    """The latents of a composite: whose they are decides the grid and the size of the frames."""

    given: bool
    input_size: tuple[int, int]
    grid: tuple[int, int, int]
    width: int
    features: tuple[int, ...]
    hooks: tuple[int, ...]
    """Those that the heads read."""


def _latents(options: CompositeArguments, anything: DepthAnything3Config | None) -> _Latents:
    frames = options.window
    if options.vjepa2:
        config = read_vjepa2_config(options.vjepa2)
        _divides(options, config.tubelet_size)
        blocks, side = config.num_hidden_layers, config.crop_size // config.patch_size
        hooks = tuple(sorted({blocks * quarter // 4 - 1 for quarter in (1, 2, 3, 4)} - {-1}))
        grid = (frames // config.tubelet_size, side, side)
        size = (config.crop_size, config.crop_size)
        return _Latents(True, size, grid, config.hidden_size, tuple(range(blocks)), hooks)
    if anything is not None:
        blocks, size = tuple(range(anything.blocks)), (anything.height, anything.width)
        return _Latents(True, size, (frames, *anything.grid), 2 * anything.dim, blocks, anything.hooks)
    _divides(options, TUBELET)
    return _Latents(False, (INPUT, INPUT), (frames // TUBELET, GRID, GRID), WIDTH, (0,), (0,))


def _divides(options: CompositeArguments, tubelet: int) -> None:
    if options.window % tubelet:
        raise ValueError(f"p4d.teacher.window: {options.window} is no multiple of the {tubelet} frames of a token")
