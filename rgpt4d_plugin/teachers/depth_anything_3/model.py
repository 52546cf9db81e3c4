# SPDX-License-Identifier: Apache-2.0
"""The Depth Anything 3 network: views to features, features to depth and rays."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rgpt4d_plugin.teachers.base import IMAGENET_MEAN, IMAGENET_STD, channel_constants
from rgpt4d_plugin.teachers.depth_anything_3.config import DepthAnything3Config
from rgpt4d_plugin.teachers.depth_anything_3.encoder import AnyViewEncoder, Reference
from rgpt4d_plugin.teachers.depth_anything_3.head import DualDPTHead


@dataclass(frozen=True)
class Geometry:
    """Outputs of the network for some views, in float32; depth and origins share one unknown scale per window.

    Attributes:
        log_depth: (B, S, H, W) logarithm of the depth along the optical axis.
        depth_confidence: (B, S, H, W) above 1.
        rays: (B, S, 6, 8h, 8w) of h w tokens: direction, of unit depth and so not of unit length, and origin, in the
            reference view's camera: origin + depth x direction is the point. None if not asked for.
        ray_confidence: (B, S, 8h, 8w) above 1, or None.
    """

    log_depth: Tensor
    depth_confidence: Tensor
    rays: Tensor | None = None
    ray_confidence: Tensor | None = None


class DepthAnything3(nn.Module):
    """Encoder and head, under the names of the checkpoints without their first part, `model.`.

    Args:
        config: Sizes.
        encoder: False: the head alone, for features that come from elsewhere.
    """

    def __init__(self, config: DepthAnything3Config, encoder: bool = True) -> None:
        super().__init__()
        self.config = config
        self.backbone = nn.ModuleDict({"pretrained": AnyViewEncoder(config)} if encoder else {})
        self.head = DualDPTHead(config)

    @property
    def encoder(self) -> AnyViewEncoder:
        encoder = self.backbone["pretrained"]
        assert isinstance(encoder, AnyViewEncoder)
        return encoder

    @property
    def dtype(self) -> torch.dtype:
        return self.head.norm.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.head.norm.weight.device

    def normalise(self, frames: Tensor) -> Tensor:
        """uint8 RGB frames (B, S, 3, H, W) to views in the model's dtype and on its device."""
        mean, std = (channel_constants(values, self.device) for values in (IMAGENET_MEAN, IMAGENET_STD))
        return ((frames.to(self.device).float() / 255 - mean) / std).to(self.dtype)

    def encode(self, views: Tensor, hooks: Collection[int], reference: Reference = "first") -> dict[int, Tensor]:
        """Features (B, S*h*w, 2C) of views (B, S, 3, H, W) after the blocks at the hooks; see `AnyViewEncoder`."""
        return self.encoder(views, hooks, reference)

    def decode(self, features: Mapping[int, Tensor], grid: tuple[int, int], rays: bool = True) -> Geometry:
        """Depth and rays; gradients reach the features, also through frozen weights.

        Args:
            features: Those at the configuration's hooks, (B, S*h*w, 2C).
            grid: (h, w) tokens of a view.
            rays: Whether the rays are wanted.
        """
        tokens = grid[0] * grid[1]
        levels = [features[hook].unflatten(1, (-1, tokens)) for hook in self.config.hooks]
        batch = levels[0].shape[:2]
        depth, ray = self.head([level.flatten(0, 1) for level in levels], grid, rays)
        depth = depth.unflatten(0, batch)
        log_depth, confidence = depth[:, :, 0], depth[:, :, 1].exp() + 1
        if ray is None:
            return Geometry(log_depth, confidence)
        ray = ray.unflatten(0, batch)
        return Geometry(log_depth, confidence, ray[:, :, :6], ray[:, :, 6].exp() + 1)
