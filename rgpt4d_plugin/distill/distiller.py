# SPDX-License-Identifier: Apache-2.0
"""The distiller: latent and explicit distillation terms of a batch of clips, against a frozen teacher.

L_LD compares the student's decoded latents with the teacher's features at the hooks; L_ED sends those latents through
the teacher's own frozen heads and compares the maps with the teacher's (paper, section "Perceptual 4D Distillation").
Knows torch and a teacher, and no trainer or host.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from rgpt4d_plugin.distill.batch import ClipTokens, DistillBatch
from rgpt4d_plugin.distill.grid import Window, overlap_matrix, plan_windows, resize_tokens, time_matrix
from rgpt4d_plugin.distill.losses import log_depth, masked_sum
from rgpt4d_plugin.teachers.l4p import L4P, window_starts


TERM_TASKS = {"depth": "depth", "flow": "flow_2d_backward", "motion": "dyn_mask", "camray": "camray"}
"""The teacher's task behind each explicit term."""


@dataclass(frozen=True)
class TermSums:
    """Result of a batch: sums over its clips, each clip's term being a mean over its valid elements."""

    total: torch.Tensor
    """Scalar float32 with gradient: sum over clips of the weighted terms."""
    terms: torch.Tensor
    """(number of active terms,) float32, detached: sum over clips of each unweighted term, in the order of weights."""
    clips: int


@dataclass(frozen=True)
class PlannedWindow:
    """One window of one clip, with what it takes to make a clip's sums a mean."""

    window: Window
    counts: dict[str, int]
    """Per term, valid elements of the whole clip, at least 1."""


class Distiller:
    """Computes the active terms.

    Args:
        teacher: the frozen expert.
        weights: weight of each active term, all > 0; a term that is not in it is never computed, nor its head run.
        kind: element loss, see `losses.ELEMENT_LOSSES`.
        hooks: indices into the teacher's feature list that the student's latents stand for.
    """

    def __init__(self, teacher: L4P, weights: dict[str, float], kind: str, hooks: tuple[int, ...]) -> None:
        self.teacher = teacher
        self.weights = weights
        self.kind = kind
        self.hooks = hooks
        # One window fills a GPU, and memory counts there. On a CPU, torch takes its fast 3D convolution for batches
        # only: two windows at once take less time than one.
        self.windows_at_once = 8 if teacher.device.type == "cpu" else 1

    def resample(self, hidden: torch.Tensor, tokens: ClipTokens, frames: int, frames_per_step: int) -> torch.Tensor:
        """One clip's hidden states on the teacher's grid.

        Args:
            hidden: (B, L, C) last hidden states of the batch.
            tokens: where the clip stands.
            frames: T, real frames of the clip.
            frames_per_step: frames that one student step covers.

        Returns:
            (windows * N, C), windows in order, N tokens of the teacher in row-major t, h, w order.
        """
        config = self.teacher.config
        _, starts = window_starts(frames, config.frames)
        steps, height, width = tokens.grid
        _, grid_h, grid_w = config.grid
        device = hidden.device
        clip = hidden.flatten(0, 1).index_select(0, tokens.index).view(steps, height, width, -1)
        return resize_tokens(
            clip,
            time_matrix(frames, steps, frames_per_step, starts, config.frames, config.patch[0], device),
            overlap_matrix(height, grid_h, device),
            overlap_matrix(width, grid_w, device),
        ).flatten(0, 2)

    def clip_windows(self, frames: torch.Tensor) -> torch.Tensor:
        """The teacher's windows over a clip (T, 3, H, W): (windows, window length, 3, H, W), padded with its end."""
        length = self.teacher.config.frames
        padded, starts = window_starts(len(frames), length)
        if padded > len(frames):
            frames = torch.cat([frames, frames[-1:].expand(padded - len(frames), -1, -1, -1)])
        return torch.stack([frames[start : start + length] for start in starts])

    @torch.no_grad()
    def features(self, windows: torch.Tensor) -> dict[int, torch.Tensor]:
        """Teacher features at the hooks of windows (W, window length, 3, H, W) uint8: hook -> (W, N, C)."""
        return self.teacher.encode(self.teacher.normalise(windows), only=self.hooks)

    def __call__(self, latents: torch.Tensor, batch: DistillBatch) -> TermSums:
        """The terms of a batch.

        Args:
            latents: (windows * N of all clips, K, C) decoded latents, clips and windows in order.
            batch: the clips, on the device of the latents.
        """
        total = latents[:0].sum(dtype=torch.float32)  # zero, yet connected: a batch without clips needs a gradient
        terms = torch.zeros(len(self.weights), device=latents.device)
        if not len(batch):
            return TermSums(total, terms, 0)

        plan = [planned for frames in batch.frames for planned in self._plan(len(frames))]
        frames = torch.cat([self.clip_windows(frames) for frames in batch.frames])
        # The teacher may live on a device of its own (p4d.teacher.device).
        windows = latents.to(self.teacher.device).unflatten(0, (len(plan), -1))
        with torch.autocast(windows.device.type, enabled=False):
            for first in range(0, len(plan), self.windows_at_once):
                part = slice(first, first + self.windows_at_once)
                features = self.features(frames[part])
                part_total, part_terms = _TermsWithGradient.apply(windows[part].float(), self, features, plan[part])
                total = total + part_total.to(total.device)
                terms = terms + part_terms.to(terms.device)
        return TermSums(total, terms, len(batch))

    def _plan(self, frames: int) -> list[PlannedWindow]:
        """The windows of a clip of that many frames."""
        config = self.teacher.config
        _, starts = window_starts(frames, config.frames)
        windows = plan_windows(frames, starts, config.frames, config.patch[0])
        counts = {}
        for term in self.weights:
            if term == "latent":
                shape = (len(self.hooks), *config.grid[1:], config.dim)
            else:
                channels, _, height, width = config.map_shape(TERM_TASKS[term])
                shape = (channels, height, width)
            owned = (_owned(window, term) for window in windows)
            counts[term] = max(1, math.prod(shape) * sum(part.stop - part.start for part in owned))
        return [PlannedWindow(window, counts) for window in windows]

    def term(
        self, term: str, latents: torch.Tensor, features: dict[int, torch.Tensor], plan: Iterable[PlannedWindow]
    ) -> torch.Tensor:
        """One unweighted term over some windows: the sum of their shares in their clips' means.

        Args:
            term: name of an active term.
            latents: (W, N, K, C) float32.
            features: the teacher's, hook -> (W, N, C).
            plan: the W windows.
        """
        if term == "latent":
            grid = self.teacher.config.grid
            prediction = latents.unflatten(1, grid)  # (W, t, h, w, K, C)
            target = torch.stack([features[hook] for hook in self.hooks], dim=2).unflatten(1, grid)
            dim = 0
        else:
            task = TERM_TASKS[term]
            with torch.no_grad():
                target = self.teacher.decode(features, (task,), raw=True)[task]
            student = dict(zip(self.hooks, latents.to(self.teacher.dtype).unbind(2)))
            prediction = self.teacher.decode(student, (task,), raw=True)[task]
            if term == "depth":
                prediction, target = log_depth(prediction), log_depth(target)
            dim = 1  # (channels, T, H', W') of each window
        shares = []
        for index, planned in enumerate(plan):
            value, _ = masked_sum(prediction[index], target[index], _owned(planned.window, term), dim, self.kind)
            shares.append(value / planned.counts[term])
        return torch.stack(shares).sum()


class _TermsWithGradient(torch.autograd.Function):
    """The terms of some windows, with their gradient for the latents taken at once, term by term.

    What a term needs for its gradient (a head's activations are gigabytes per window at the released size) is freed
    after that term, instead of being kept for the backward pass of the whole step: peak memory is one head on one
    chunk of windows, at no extra computation.
    """

    @staticmethod
    def forward(ctx, latents, distiller, features, plan):
        """latents (W, N, K, C) float32 -> weighted total (), and unweighted terms, which carry no gradient."""
        gradient = torch.zeros_like(latents) if ctx.needs_input_grad[0] else None
        values = []
        for term, weight in distiller.weights.items():
            with torch.set_grad_enabled(gradient is not None):
                leaf = latents.detach().requires_grad_(gradient is not None)
                value = distiller.term(term, leaf, features, plan)
            if gradient is not None:
                gradient.add_(torch.autograd.grad(value, leaf)[0], alpha=weight)
            values.append(value.detach())
        if gradient is not None:
            ctx.save_for_backward(gradient)
        terms = torch.stack(values)
        ctx.mark_non_differentiable(terms)
        total = sum(weight * value for weight, value in zip(distiller.weights.values(), values))
        return total, terms

    @staticmethod
    def backward(ctx, grad_total, grad_terms):
        (gradient,) = ctx.saved_tensors
        return grad_total * gradient, None, None, None


def _owned(window: Window, term: str) -> slice:
    """Steps (latent term) or frames (maps) of a window that count."""
    if term == "latent":
        return window.steps
    return window.flow_frames if term == "flow" else window.frames
