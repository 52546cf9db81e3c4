# SPDX-License-Identifier: Apache-2.0
"""Every size of an L4P network in one frozen record, checked when it is made.

Source of the released numbers: L4P, NVlabs/L4P commit 8701a4b.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rgpt4d_plugin.teachers.base import MapSize


TASKS = ("depth", "flow_2d_backward", "dyn_mask", "camray")
"""The dense tasks of L4P; its sparse point tracking (track_2d) is not covered."""

Size = tuple[int, int, int]

_MOST_TOKENS = 2**16


@dataclass(frozen=True)
class TaskConfig:
    """One dense head.

    Attributes:
        channels: Channels of the map: depth 1, flow 2 (u, v), mask 1 (logit), rays 6 (direction, moment).
        actpost_scale_factors: Per hook, the log2 of the (t, h, w) resampling from the token grid.
        fusion_scale_factors: Per fusion stage, shallowest first, its (t, h, w) upsampling factor.
        hooks: The four feature-list indices the head reads, shallowest first.
        activation: Function after the last convolution.
        output_size: (T, H', W') of the map, or None for the clip's own T, H, W.
    """

    channels: int
    actpost_scale_factors: tuple[Size, Size, Size, Size]
    fusion_scale_factors: tuple[Size, Size, Size, Size]
    hooks: tuple[int, int, int, int]
    activation: Literal["linear", "exp"] = "linear"
    output_size: Size | None = None


@dataclass(frozen=True)
class L4PConfig:
    """The whole network: a video ViT and the DPT heads on it.

    Attributes:
        frames: Frames of one window, even because consecutive windows overlap by half.
        patch: (t, h, w) extent of one token, in frames and pixels.
        dim: Channels of a token.
        blocks: Transformer blocks; the feature list has one entry more.
        eps: LayerNorm epsilon.
        feature_dim: Channels of the DPT pyramid.
        last_dim: Channels before a head's last convolution.
        layer_dims: Channels of the four reassembled maps, shallowest first.
    """

    frames: int
    height: int
    width: int
    patch: Size
    dim: int
    blocks: int
    heads: int
    mlp_hidden: int
    eps: float
    feature_dim: int
    last_dim: int
    layer_dims: tuple[int, int, int, int]
    tasks: dict[str, TaskConfig]

    def __post_init__(self) -> None:
        sizes = (self.frames, self.height, self.width, *self.patch, self.dim, self.blocks, self.heads)
        if min(*sizes, self.mlp_hidden, self.feature_dim, self.last_dim, *self.layer_dims) < 1 or self.eps <= 0:
            raise ValueError(f"All sizes and eps must be positive, found {self}.")
        if any(size % step for size, step in zip((self.frames, self.height, self.width), self.patch)):
            raise ValueError(
                f"Frames, height and width {(self.frames, self.height, self.width)} must be multiples of the patch "
                f"{self.patch}."
            )
        if self.frames % 2:
            raise ValueError(f"frames must be even, since windows overlap by half, found {self.frames}.")
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}.")
        if self.feature_dim % 2:
            raise ValueError(f"feature_dim must be even, since head1 halves it, found {self.feature_dim}.")
        if self.tokens > _MOST_TOKENS:
            raise ValueError(f"A window has {self.tokens} tokens {self.grid}, more than the {_MOST_TOKENS} supported.")
        for name in self.tasks:
            self._check_task(name)

    @property
    def grid(self) -> Size:
        """Token grid (t, h, w) of one window."""
        return (self.frames // self.patch[0], self.height // self.patch[1], self.width // self.patch[2])

    @property
    def tokens(self) -> int:
        """Tokens N = t*h*w of one window."""
        t, h, w = self.grid
        return t * h * w

    @property
    def hooks(self) -> tuple[int, ...]:
        """Feature-list indices that the heads read, ascending."""
        return self.hooks_of(self.tasks)

    def hooks_of(self, tasks: Iterable[str]) -> tuple[int, ...]:
        """Feature-list indices that these tasks' heads read, ascending."""
        return tuple(sorted({hook for task in tasks for hook in self.tasks[task].hooks}))

    def map_shape(self, task: str) -> tuple[int, int, int, int]:
        """(C, T, H', W') of a task's map for one window."""
        head = self.tasks[task]
        return (head.channels, *(head.output_size or (self.frames, self.height, self.width)))

    def map_sizes(self, task: str) -> dict[MapSize, tuple[int, int]]:
        """Smaller (H', W') that a task's map can be computed at; none if its last layers change the frame count."""
        head = self.tasks[task]
        frames, *level = resampled_size(self.grid, head.actpost_scale_factors[0])
        factor = head.fusion_scale_factors[0]
        if head.output_size or frames != self.frames or factor[0] != 1:
            return {}
        return {"half": (level[0] * factor[1], level[1] * factor[2]), "quarter": (level[0], level[1])}

    def check_tasks(self, tasks: Iterable[str]) -> tuple[str, ...]:
        """The tasks as a tuple, in the given order.

        Raises:
            ValueError: If one has no head here.
        """
        tasks = tuple(tasks)
        unknown = [task for task in tasks if task not in self.tasks]
        if unknown:
            raise ValueError(f"This L4P has no head for {unknown}; its tasks are {list(self.tasks)}.")
        return tasks

    def _check_task(self, name: str) -> None:
        """Refuse a head that could not run."""
        head = self.tasks[name]
        if name not in TASKS:
            raise ValueError(f"Unknown task {name!r}, expected some of {list(TASKS)}.")
        if max(head.hooks) > self.blocks:
            raise ValueError(f"{name}: hooks must be indices in 0..{self.blocks}, found {head.hooks}.")
        if head.output_size and (min(head.output_size) < 1 or head.output_size[0] != self.frames):
            # A map with another frame count could not be stitched over windows.
            raise ValueError(f"{name}: output_size must be ({self.frames}, H', W'), found {head.output_size}.")
        if any(min(scale) < 0 < max(scale) for scale in head.actpost_scale_factors):
            raise ValueError(
                f"{name}: one actpost_scale_factors triple cannot both enlarge and reduce, "
                f"found {head.actpost_scale_factors}."
            )
        self._check_pyramid(name)

    def _check_pyramid(self, name: str) -> None:
        """Refuse scale factors whose upsampled levels are not of the size of the level they are added to."""
        head = self.tasks[name]
        levels = [resampled_size(self.grid, scale) for scale in head.actpost_scale_factors]
        for level in (3, 2, 1):
            fused = [size * factor for size, factor in zip(levels[level], head.fusion_scale_factors[level])]
            if level == 3:
                # The deepest result is cropped to the next level in T and H; see DPTHead.
                fused[:2] = [min(pair) for pair in zip(fused[:2], levels[2])]
            if tuple(fused) != levels[level - 1]:
                raise ValueError(
                    f"{name}: pyramid level {level + 1} grows to {tuple(fused)} but level {level} is "
                    f"{levels[level - 1]}; with the token grid {self.grid} these scale factors do not meet."
                )


def resampled_size(grid: Size, log2_scale: Size) -> Size:
    """Size of a token grid after the resampling 2^log2_scale; reductions round up."""
    t, h, w = (size << scale if scale >= 0 else (size - 1 >> -scale) + 1 for size, scale in zip(grid, log2_scale))
    return t, h, w


_RELEASED_HOOKS = (14, 21, 28, 36)


def _pixel_head(channels: int, activation: Literal["linear", "exp"] = "linear") -> TaskConfig:
    return TaskConfig(
        channels=channels,
        activation=activation,
        actpost_scale_factors=((1, 2, 2), (1, 1, 1), (0, 0, 0), (-1, -1, -1)),
        fusion_scale_factors=((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2)),
        hooks=_RELEASED_HOOKS,
    )


RELEASED = L4PConfig(
    frames=16,
    height=224,
    width=224,
    patch=(2, 14, 14),
    dim=1408,
    blocks=40,
    heads=16,
    mlp_hidden=6144,
    eps=1e-6,
    feature_dim=256,
    last_dim=128,
    layer_dims=(256, 512, 1024, 1024),
    tasks={
        "depth": _pixel_head(1, "exp"),
        "flow_2d_backward": _pixel_head(2),
        "dyn_mask": _pixel_head(1),
        "camray": TaskConfig(
            channels=6,
            actpost_scale_factors=((1, 0, 0), (1, 0, 0), (0, 0, 0), (-1, -1, -1)),
            fusion_scale_factors=((1, 1, 1), (1, 1, 1), (2, 1, 1), (2, 2, 2)),
            hooks=_RELEASED_HOOKS,
            output_size=(16, 16, 16),
        ),
    },
)
"""The configuration of the official checkpoint."""
