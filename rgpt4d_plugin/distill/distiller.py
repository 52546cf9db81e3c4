# SPDX-License-Identifier: Apache-2.0
"""The distiller: latent and explicit distillation terms of a batch of clips, against a frozen teacher.

L_LD compares the student's decoded latents with the teacher's features at the hooks; L_ED sends those latents through
the teacher's own frozen heads and compares the maps with the teacher's (paper, section "Perceptual 4D Distillation").
Knows torch and a teacher, and no trainer or host.
"""

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

    def window_count(self, frames: int) -> int:
        """Teacher windows over a clip of that many frames."""
        return len(window_starts(frames, self.teacher.config.frames)[1])

    def __call__(self, latents: torch.Tensor, batch: DistillBatch) -> TermSums:
        """The terms of a batch.

        Args:
            latents: (windows * N of all clips, K, C) decoded latents, clips and windows in order.
            batch: the clips, on the device of the latents.
        """
        device = latents.device
        total = latents.sum(dtype=torch.float32) * 0.0  # connected even if no clip has anything valid
        terms = torch.zeros(len(self.weights), device=device)
        tokens = self.teacher.config.tokens
        offset = 0
        with torch.autocast(device.type, enabled=False):
            for frames in batch.frames:
                count = self.window_count(len(frames)) * tokens
                clip_latents = latents[offset : offset + count].float().unflatten(0, (-1, tokens))
                offset += count
                clip_total, clip_terms = self._clip(clip_latents, frames)
                total = total + clip_total
                terms = terms + clip_terms
        return TermSums(total, terms, len(batch))

    @torch.no_grad()
    def _features(self, frames: torch.Tensor, starts: tuple[int, ...], padded: int) -> dict[int, torch.Tensor]:
        """Teacher features of every window of a clip: hook -> (windows, N, C)."""
        if padded > len(frames):
            frames = torch.cat([frames, frames[-1:].expand(padded - len(frames), -1, -1, -1)])
        windows = torch.stack([frames[start : start + self.teacher.config.frames] for start in starts])
        return self.teacher.encode(self.teacher.normalise(windows), only=self.hooks)

    def _clip(self, latents: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighted total and unweighted terms of one clip, its latents being (windows, N, K, C)."""
        config = self.teacher.config
        padded, starts = window_starts(len(frames), config.frames)
        windows = plan_windows(len(frames), starts, config.frames, config.patch[0])
        features = self._features(frames, starts, padded)

        terms: dict[str, torch.Tensor] = {}
        total = latents.new_zeros(())
        if "latent" in self.weights:
            terms["latent"] = self._latent_term(latents, features, windows)
            total = total + self.weights["latent"] * terms["latent"]

        map_weights = {term: weight for term, weight in self.weights.items() if term != "latent"}
        if map_weights:
            counts = self._map_counts(windows, list(map_weights))
            scales = {term: map_weights[term] / max(1, counts[term]) for term in map_weights}
            sums = {term: latents.new_zeros(()) for term in map_weights}
            for index, window in enumerate(windows):
                targets = {hook: feature[index : index + 1] for hook, feature in features.items()}
                window_total, *window_sums = _FrozenHeadsLoss.apply(latents[index], self, targets, window, scales)
                total = total + window_total
                for term, value in zip(map_weights, window_sums, strict=True):
                    sums[term] = sums[term] + value
            terms |= {term: sums[term] / max(1, counts[term]) for term in map_weights}

        return total, torch.stack([terms[term].detach() for term in self.weights])

    def _latent_term(
        self, latents: torch.Tensor, features: dict[int, torch.Tensor], windows: list[Window]
    ) -> torch.Tensor:
        """L_LD of a clip: mean over hooks, owned steps, positions and channels."""
        grid = self.teacher.config.grid
        total, count = latents.new_zeros(()), 0
        for position, hook in enumerate(self.hooks):
            for index, window in enumerate(windows):
                value, number = masked_sum(
                    latents[index, :, position].unflatten(0, grid),
                    features[hook][index].unflatten(0, grid),
                    window.steps,
                    0,
                    self.kind,
                )
                total, count = total + value, count + number
        return total / max(1, count)

    def _map_counts(self, windows: list[Window], terms: list[str]) -> dict[str, int]:
        """Elements that each map term compares over a whole clip."""
        counts = {}
        for term in terms:
            channels, _, height, width = self.teacher.config.map_shape(TERM_TASKS[term])
            owned = [_owned(window, term) for window in windows]
            counts[term] = sum(part.stop - part.start for part in owned) * channels * height * width
        return counts

    def map_sum(
        self, term: str, latents: list[torch.Tensor], features: dict[int, torch.Tensor], window: Window
    ) -> torch.Tensor:
        """One map term of one window, summed over its owned elements; latents K x (1, N, C)."""
        task = TERM_TASKS[term]
        with torch.no_grad():
            target = self.teacher.decode(features, (task,), raw=True)[task]
        dtype = self.teacher.dtype
        student = {hook: latent.to(dtype) for hook, latent in zip(self.hooks, latents, strict=True)}
        prediction = self.teacher.decode(student, (task,), raw=True)[task]
        if term == "depth":
            prediction, target = log_depth(prediction), log_depth(target)
        return masked_sum(prediction, target, _owned(window, term), 2, self.kind)[0]


class _FrozenHeadsLoss(torch.autograd.Function):
    """Explicit terms of one window, with their gradient for the latents taken at once, head by head.

    The heads' activations (gigabytes per clip at the released size) are freed after each head instead of being kept
    for the backward pass of the whole step: peak memory is one head on one window, at no extra computation.
    """

    @staticmethod
    def forward(ctx, latents, distiller, features, window, scales):
        """latents (N, K, C) float32 -> the weighted total, then each term's plain sum (no gradient)."""
        gradient = torch.zeros_like(latents) if ctx.needs_input_grad[0] else None
        total = latents.new_zeros(())
        sums = []
        for term, scale in scales.items():
            with torch.set_grad_enabled(gradient is not None):
                leaf = latents.detach().requires_grad_(gradient is not None)
                value = distiller.map_sum(term, list(leaf.unsqueeze(0).unbind(2)), features, window)
            if gradient is not None:
                gradient += scale * torch.autograd.grad(value, leaf)[0]
            sums.append(value.detach())
            total = total + scale * sums[-1]
        if gradient is not None:
            ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(*sums)
        return total, *sums

    @staticmethod
    def backward(ctx, grad_total, *grad_sums):
        (gradient,) = ctx.saved_tensors
        return grad_total * gradient, None, None, None, None


def _owned(window: Window, term: str) -> slice:
    return window.flow_frames if term == "flow" else window.frames

