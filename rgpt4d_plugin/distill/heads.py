# SPDX-License-Identifier: Apache-2.0
"""Small heads from the student's latents to maps, for teachers whose targets no head of their own made.

They train with the decoder, of which they are a part: its optimizer groups, its shards and its file in a checkpoint
are theirs too. A saved model has neither.

Legend: W windows, N = t*h*w tokens of a window, K hooks, C channels, T frames of a window, H' W' of a map.
"""

import torch
from torch import nn

from rgpt4d_plugin.distill.decoder import LatentDecoder
from rgpt4d_plugin.teachers.base import TeacherSpec
from rgpt4d_plugin.terms import TERMS


HEAD_WIDTH = 256

FLOW_UNITS = 16
"""Of the length in which a head says how far something moves, so many make the width of the frame."""


class DecoderWithHeads(LatentDecoder):
    """The decoder, and one head per term that compares maps.

    Args:
        teacher: Its maps are what the heads give.
        at: The hooks that the latents stand for.
        terms: Terms that compare maps.
        seed: Of the initial weights, the decoder's and the heads'.
        **sizes: As for `LatentDecoder`.
    """

    def __init__(self, *, teacher: TeacherSpec, at: tuple[int, ...], terms: tuple[str, ...], seed: int, **sizes: int):
        super().__init__(seed=seed, **sizes)
        self.tokens = teacher.tokens
        generator = torch.Generator().manual_seed(seed)
        self.heads = nn.ModuleDict()
        for term in terms:
            found = teacher.maps[term]
            unit = teacher.input_size[1] / FLOW_UNITS if TERMS[term].in_pixels else 1.0
            self.heads[term] = MapHead(found.shape, teacher.grid, len(found.hooks) * teacher.width, generator, unit)
        self.reads = {term: [at.index(hook) for hook in teacher.maps[term].hooks] for term in terms}

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:  # type: ignore[override]
        """Hidden states (W * N, student_width) to latents (W * N, K, C) and maps, term -> (W, C, T, H', W')."""
        latents = super().forward(hidden)
        windows = latents.unflatten(0, (-1, self.tokens))  # (W, N, K, C)
        maps = {term: head(windows[:, :, self.reads[term]].flatten(2)) for term, head in self.heads.items()}
        return latents, maps


class MapHead(nn.Module):
    """A token to its patch of the map; for a map of one pixel, a step's mean token to the numbers of its frames.

    What is measured against the window's first frame, a camera's pose, needs to see it: the mean token of the first
    step stands beside each step's own.

    Args:
        shape: (C, T, H', W') of the map; T, H' and W' are multiples of the grid's, or H' = W' = 1.
        grid: (t, h, w) tokens of a window.
        width: Channels of a token.
        generator: Of the initial weights.
        unit: What 1 stands for in the map. A layer that begins below 1 is long on its way to a flow of 20 pixels.
    """

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        grid: tuple[int, int, int],
        width: int,
        generator: torch.Generator,
        unit: float = 1.0,
    ) -> None:
        super().__init__()
        channels, *size = shape
        self.grid, self.channels, self.unit = grid, channels, unit
        self.pooled = size[1:] == [1, 1]
        parts = size if not self.pooled else [size[0], *grid[1:]]
        if any(pixels % tokens for pixels, tokens in zip(parts, grid)):
            raise ValueError(f"a map of {tuple(size)} has no whole patch for each of {grid} tokens")
        self.patch = (size[0] // grid[0], 1, 1) if self.pooled else tuple(p // t for p, t in zip(parts, grid))
        outputs = channels * self.patch[0] * self.patch[1] * self.patch[2]
        self.norm = nn.LayerNorm(width)
        self.hidden = _linear((1 + self.pooled) * width, HEAD_WIDTH, generator)
        self.out = _linear(HEAD_WIDTH, outputs, generator)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (W, N, width) to the map (W, C, T, H', W')."""
        tokens = self.norm(tokens).unflatten(1, self.grid)  # (W, t, h, w, width)
        if self.pooled:
            steps = tokens.mean(dim=(2, 3), keepdim=True)
            tokens = torch.cat([steps, steps[:, :1].expand_as(steps)], dim=-1)
        values = self.unit * self.out(nn.functional.gelu(self.hidden(tokens)))
        values = values.unflatten(-1, (self.channels, *self.patch))  # (W, t, h, w, C, pt, ph, pw)
        return values.permute(0, 4, 1, 5, 2, 6, 3, 7).flatten(6).flatten(4, 5).flatten(2, 3)


def _linear(width_in: int, width_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer whose first weights come from the generator, so that the run's random numbers stay the same."""
    linear = nn.utils.skip_init(nn.Linear, width_in, width_out)
    with torch.no_grad():
        nn.init.xavier_uniform_(linear.weight, generator=generator)
        linear.bias.zero_()
    return linear
