# SPDX-License-Identifier: Apache-2.0
"""The L4P model: normalise, encode, decode one window, or all at once over a video of any length.

Source: L4P, NVlabs/L4P commit 8701a4b.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from rgpt4d_plugin.teachers.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    WHOLE_MAP,
    MapView,
    channel_constants,
    window_starts,
)
from rgpt4d_plugin.teachers.l4p.config import L4PConfig
from rgpt4d_plugin.teachers.l4p.dpt import DPTHead
from rgpt4d_plugin.teachers.l4p.encoder import VideoEncoder
from rgpt4d_plugin.teachers.l4p.windows import append_window


class L4P(nn.Module):
    """Video encoder and dense heads.

    The maps, all in float32:

    - `depth` (1 channel): along the optical axis, positive, of unknown scale per window.
    - `flow_2d_backward` (2): u to the right and v down, in input pixels, from frame t to frame t-1 on the grid of
      frame t. Frame 0 has no predecessor and is not valid.
    - `dyn_mask` (1): logit of "this pixel moves in the world".
    - `camray` (6): ray direction and moment (origin x direction) on a coarse grid, in the frame of the window's first
      camera, not normalised.
    """

    def __init__(self, config: L4PConfig, encoder: bool = True) -> None:
        """Builds the modules with torch's own initialisation; see `load_l4p` and `from_config` for useful weights.

        Args:
            config: Sizes.
            encoder: False: heads alone, for features that come from elsewhere.
        """
        super().__init__()
        self.config = config
        self.frozen = False
        self.video_encoder = VideoEncoder(config) if encoder else None
        self.task_heads = nn.ModuleDict({task: DPTHead(config, task) for task in config.tasks})

    @classmethod
    def from_config(cls, config: L4PConfig, seed: int = 0) -> Self:
        """A trainable model with random float32 weights on the CPU, for making a small teacher.

        Weights are normal with variance 1 / fan-in, biases 0, norms 1. The global random state is not used.
        """
        with torch.device("meta"):
            model = cls(config)
        model.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            for module in model.modules():
                if isinstance(module, nn.LayerNorm):
                    module.weight.fill_(1)
                elif isinstance(module, (nn.Linear, nn.Conv3d, nn.ConvTranspose3d)):
                    # A transposed convolution here has kernel = stride, so each output sums over its inputs once.
                    transposed = isinstance(module, nn.ConvTranspose3d)
                    fan_in = module.weight.shape[0] if transposed else module.weight[0].numel()
                    module.weight.normal_(std=fan_in**-0.5, generator=generator)
        return model

    def freeze(self) -> Self:
        """Makes this a teacher: no gradient for any weight, and eval mode for good."""
        self.frozen = True
        return self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """As in torch, but a frozen model stays in eval mode when a parent module is switched."""
        return super().train(mode and not self.frozen)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def normalise(self, frames: Tensor) -> Tensor:
        """RGB frames to the clip the encoder takes.

        Args:
            frames: (B, T, 3, H, W), uint8 or floating point in [0, 1], at the model's height and width.

        Returns:
            Normalised clip (B, 3, T, H, W) in the model's dtype and on its device.
        """
        size = (3, self.config.height, self.config.width)
        if frames.dim() != 5 or tuple(frames.shape[2:]) != size:
            raise ValueError(f"Expected frames (B, T, 3, {size[1]}, {size[2]}), found {tuple(frames.shape)}.")
        if frames.dtype == torch.uint8:
            frames = frames.to(self.device).float() / 255
        elif frames.is_floating_point():
            frames = frames.to(self.device).float()
            if frames.numel() and not 0 <= frames.min() <= frames.max() <= 1:
                raise ValueError(
                    f"Floating-point frames must lie in [0, 1], found {frames.min():.4g}..{frames.max():.4g}; divide "
                    "8-bit values by 255, and clamp after a bicubic resize."
                )
        else:
            raise ValueError(f"Expected frames in uint8 or floating point, found {frames.dtype}.")
        mean, std = (channel_constants(values, self.device) for values in (IMAGENET_MEAN, IMAGENET_STD))
        return ((frames - mean) / std).transpose(1, 2).to(self.dtype)

    def encode(self, clip: Tensor, only: Iterable[int] | None = None) -> list[Tensor] | dict[int, Tensor]:
        """Features of one window.

        Args:
            clip: Normalised clip (B, 3, T, H, W) with T = `config.frames`.
            only: Feature-list indices to return; blocks after the highest one do not run.

        Returns:
            Without `only`, the whole list of `config.blocks` + 1 features (B, N, C): index 0 before any block, index k
            after block k, the last one normed. With `only`, a dictionary from index to the same tensors.
        """
        self._check_clip(clip)
        if clip.shape[2] != self.config.frames:
            raise ValueError(f"A window has {self.config.frames} frames, found {clip.shape[2]}; forward() takes any.")
        everything = range(self.config.blocks + 1)
        wanted = set(everything if only is None else only)
        if not wanted or not wanted <= set(everything):
            raise ValueError(f"only must name indices in 0..{self.config.blocks}, found {sorted(wanted)}.")
        if self.video_encoder is None:
            raise RuntimeError("This L4P was loaded without its encoder.")
        features = self.video_encoder(clip.to(self.device, self.dtype), wanted)
        return [features[index] for index in everything] if only is None else features

    def decode(
        self,
        features: Sequence[Tensor] | Mapping[int, Tensor],
        tasks: Iterable[str],
        raw: bool = False,
        view: MapView = WHOLE_MAP,
    ) -> dict[str, Tensor]:
        """Dense maps of one window; gradients reach the features, also through frozen heads.

        Args:
            features: The whole feature list, or a mapping from hook index to (B, N, C); any float dtype.
            tasks: Tasks to run; no other head is run.
            raw: Return what the last convolution gives, without the activation (depth: its logarithm).
            view: What of the maps is computed; see `DPTHead.forward`.

        Returns:
            Per task a map (B, channels, T, H', W') in float32; see the class for its meaning.
        """
        tasks = self.config.check_tasks(tasks)
        if not isinstance(features, Mapping):
            if len(features) != self.config.blocks + 1:
                raise ValueError(
                    f"The whole feature list has {self.config.blocks + 1} entries, found {len(features)}; pass a "
                    "mapping from hook index to tensor for fewer."
                )
            features = dict(enumerate(features))
        shape = (self.config.tokens, self.config.dim)
        ready = {}
        for hook in self.config.hooks_of(tasks):
            if hook not in features:
                raise ValueError(f"Tasks {list(tasks)} read feature {hook}, found only {sorted(features)}.")
            if features[hook].dim() != 3 or tuple(features[hook].shape[1:]) != shape:
                found = tuple(features[hook].shape)
                raise ValueError(f"Feature {hook} must be (B, {shape[0]}, {shape[1]}), found {found}.")
            ready[hook] = features[hook].to(self.device, self.dtype)
        return {
            task: self.task_heads[task]([ready[hook] for hook in self.config.tasks[task].hooks], raw, view)
            for task in tasks
        }

    def forward(self, clip: Tensor, tasks: Iterable[str]) -> dict[str, Tensor]:
        """Dense maps of a video of any length, window by window.

        A length the windows do not fit is extended by repeating the last frame, and the maps are cropped back.

        Args:
            clip: Normalised video (B, 3, T, H, W), T >= 1.
            tasks: Tasks to run.

        Returns:
            Per task a map (B, channels, T, H', W') in float32. `camray` frames refer to the first camera of the
            window that wrote them.
        """
        self._check_clip(clip)
        tasks = self.config.check_tasks(tasks)
        hooks = self.config.hooks_of(tasks)
        frames = clip.shape[2]
        padded, starts = window_starts(frames, self.config.frames, self.config.frames // 2)
        clip = torch.cat((clip, clip[:, :, -1:].expand(-1, -1, padded - frames, -1, -1)), dim=2)
        maps: dict[str, Tensor] = {}
        for start in starts if tasks else ():
            window = self.decode(self.encode(clip[:, :, start : start + self.config.frames], only=hooks), tasks)
            for task, new in window.items():
                maps[task] = append_window(task, maps[task], new) if task in maps else new
        return {task: result[:, :, :frames] for task, result in maps.items()}

    def _check_clip(self, clip: Tensor) -> None:
        height, width = self.config.height, self.config.width
        if clip.dim() != 5 or clip.shape[1] != 3 or tuple(clip.shape[3:]) != (height, width):
            raise ValueError(f"Expected a clip (B, 3, T, {height}, {width}), found {tuple(clip.shape)}.")
