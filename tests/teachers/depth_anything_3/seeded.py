# SPDX-License-Identifier: Apache-2.0
"""Small Depth Anything 3 networks and views that anyone can make again: a name and a shape give the numbers."""

import zlib
from dataclasses import dataclass

import numpy as np
import torch

from rgpt4d_plugin.teachers.depth_anything_3 import DepthAnything3, DepthAnything3Config


CONFIG = DepthAnything3Config(
    patch=14,
    dim=32,
    blocks=6,
    heads=2,
    mlp="gelu",
    mlp_hidden=128,
    position_side=3,
    alternate_from=2,
    hooks=(1, 3, 4, 5),
    feature_dim=16,
    layer_dims=(8, 12, 16, 24),
    frames=4,
    height=56,
    width=56,
)
SWIGLU = {"mlp": "swiglu", "mlp_hidden": 88}


@dataclass(frozen=True)
class Case:
    """What is compared: changes of CONFIG, and the views (B, S, 3, H, W) with their reference."""

    changes: dict
    views: tuple[int, int, int, int]
    reference: str = "first"


CASES = {
    "one view": Case({}, (1, 1, 56, 28)),
    "two views": Case({}, (2, 2, 28, 56)),
    "five views, balanced": Case({}, (2, 5, 28, 42), "saddle_balanced"),
    "own grid": Case({}, (1, 3, 42, 42)),
    "swiglu": Case(SWIGLU, (1, 3, 42, 28)),
    "swiglu, sixteen views, balanced": Case(SWIGLU, (1, 16, 28, 28), "saddle_balanced"),
    "late start, odd": Case({"alternate_from": 3, "hooks": (2, 3, 4, 5)}, (1, 4, 70, 56), "saddle_balanced"),
}


def seeded(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal numbers; RandomState's stream never changes."""
    numbers = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    return torch.from_numpy(numbers).float()


def weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A weight under its official name: of variance 1 / fan-in; norms and scales near 1, biases near 0."""
    numbers = seeded(name, shape)
    if name.endswith(("_token", "pos_embed")):
        return numbers
    if len(shape) > 1:
        return numbers / np.prod(shape[1:]) ** 0.5
    return 0.1 * numbers + (0 if name.endswith("bias") else 1)


def network(config: DepthAnything3Config = CONFIG) -> DepthAnything3:
    """The network of that configuration with seeded weights."""
    model = DepthAnything3(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weight(f"model.{name}", tuple(parameter.shape)))
    return model.requires_grad_(False).eval()


def views_of(case: Case) -> torch.Tensor:
    """Its views (B, S, 3, H, W)."""
    batch, count, height, width = case.views
    return seeded(f"views {case.views}", (batch, count, 3, height, width))


def thinned(outputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Every 17th number of each output: enough to tell, and small enough to store."""
    return {name: output.flatten()[::17].clone() for name, output in outputs.items()}
