# SPDX-License-Identifier: Apache-2.0
"""The distiller: latent and explicit distillation terms of a batch of clips, against a frozen teacher.

L_LD compares the student's decoded latents with the teacher's features at the hooks; L_ED sends those latents through
the teacher's own frozen heads and compares the maps with the teacher's (paper, section "Perceptual 4D Distillation").
Where a teacher has no heads of its own, such as one that reads ground truth, the student's maps come from heads that
train with the decoder (`heads`).
Knows torch and the teacher interface, and no trainer or host.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from rgpt4d_plugin.distill.batch import DistillBatch
from rgpt4d_plugin.distill.grid import Window, plan_windows
from rgpt4d_plugin.distill.losses import masked_sum
from rgpt4d_plugin.teachers.base import StoredMap, Teacher, TeacherWindows, cut_windows
from rgpt4d_plugin.terms import TERMS


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
    counts: dict[str, int | torch.Tensor]
    """Per term, valid elements of the whole clip, at least 1; on the device where only that knows them."""


@dataclass(frozen=True)
class TeacherSide:
    """The teacher's targets of some windows."""

    windows: TeacherWindows
    features: dict[int, torch.Tensor]
    """Features at the hooks, hook -> (W, N, C)."""
    plan: Sequence[PlannedWindow]


class Distiller:
    """Computes the active terms.

    Args:
        teacher: The frozen teacher.
        weights: Weight of each active term, all > 0; a term that is not in it is never computed, nor its head run.
        kind: Element loss, see `losses.ELEMENT_LOSSES`.
        hooks: Indices into the teacher's feature list that the student's latents stand for.
    """

    def __init__(self, teacher: Teacher, weights: dict[str, float], kind: str, hooks: tuple[int, ...]) -> None:
        self.teacher = teacher
        self.weights = weights
        self.kind = kind
        self.hooks = hooks
        # Trainable heads read the student's latents alone, and their targets need no features.
        compared = any(TERMS[term].compares == "features" for term in weights)
        self.reads_features = compared or not teacher.spec.trainable_heads
        # One window fills a GPU, and memory counts there. On a CPU, torch takes its fast 3D convolution for batches
        # only: two windows at once take less time than one.
        self.windows_at_once = 8 if teacher.device.type == "cpu" else 1

    def __call__(
        self, latents: torch.Tensor, batch: DistillBatch, maps: Mapping[str, torch.Tensor] | None = None
    ) -> TermSums:
        """The terms of a batch.

        Args:
            latents: (windows * N of all clips, K, C) decoded latents, clips and windows in order.
            batch: The clips, on the device of the latents.
            maps: What trainable heads made of the latents, term -> (windows of all clips, C, T, H', W').
        """
        maps = maps or {}
        # Zero, yet connected: a batch without clips needs a gradient.
        total = torch.stack([source[:0].sum(dtype=torch.float32) for source in (latents, *maps.values())]).sum()
        terms = torch.zeros(len(self.weights), device=latents.device)
        if not len(batch):
            return TermSums(total, terms, 0)

        stored = batch.stored or [{}] * len(batch)
        plan = [planned for key, found in zip(batch.keys, stored) for planned in self._plan(len(key), found)]
        windows = self._windows(batch)
        # The teacher may live on a device of its own (p4d.teacher.device).
        latents = latents.to(self.teacher.device).unflatten(0, (len(plan), -1))
        own = {term: source.to(self.teacher.device) for term, source in maps.items()}
        with torch.autocast(latents.device.type, enabled=False):
            for first in range(0, len(plan), self.windows_at_once):
                part = slice(first, first + self.windows_at_once)
                given = windows[part]
                with torch.no_grad():
                    features = self.teacher.features(given, self.hooks) if self.reads_features else {}
                side = TeacherSide(given, features, plan[part])
                sources = [latents[part].float(), *(source[part].float() for source in own.values())]
                part_total, part_terms = _TermsWithGradient.apply(self, side, tuple(own), *sources)
                total = total + part_total.to(total.device)
                terms = terms + part_terms.to(terms.device)
        return TermSums(total, terms, len(batch))

    def _windows(self, batch: DistillBatch) -> TeacherWindows:
        """The teacher's windows over all clips of a batch."""
        spec = self.teacher.spec
        starts = [spec.window_starts(len(key))[1] for key in batch.keys]
        keys = tuple((key, start) for key, firsts in zip(batch.keys, starts) for start in firsts)
        frames, stored = None, {}
        if batch.frames is not None:
            clips = [cut_windows(clip, spec, firsts) for clip, firsts in zip(batch.frames, starts, strict=True)]
            frames = torch.cat(clips)
        for term in batch.stored[0] if batch.stored else ():
            found = [maps[term] for maps in batch.stored]
            stored[term] = StoredMap(*(torch.cat(parts) for parts in zip(*((m.values, m.valid) for m in found)))).map(
                lambda tensor: tensor.to(self.teacher.device)
            )
        return TeacherWindows(keys, frames, stored)

    def _plan(self, frames: int, stored: Mapping[str, StoredMap]) -> list[PlannedWindow]:
        """The windows of a clip of that many frames, with what is stored of them."""
        spec = self.teacher.spec
        windows = plan_windows(frames, spec)
        counts: dict[str, int | torch.Tensor] = {}
        for term in self.weights:
            if term in stored:
                valid = [known[:, _owned(window, term)].sum() for window, known in zip(windows, stored[term].valid)]
                counts[term] = spec.maps[term].shape[0] * torch.stack(valid).sum().clamp(min=1).to(self.teacher.device)
                continue
            if TERMS[term].compares == "features":
                shape: tuple[int, ...] = (len(self.hooks), *spec.grid[1:], spec.width)
            else:
                channels, _, height, width = spec.maps[term].shape
                shape = (channels, height, width)
            owned = (_owned(window, term) for window in windows)
            counts[term] = max(1, math.prod(shape) * sum(part.stop - part.start for part in owned))
        return [PlannedWindow(window, counts) for window in windows]

    def term(self, term: str, source: torch.Tensor, side: TeacherSide) -> torch.Tensor:
        """One unweighted term over some windows: the sum of their shares in their clips' means.

        Args:
            term: Name of an active term.
            source: (W, N, K, C) float32 latents; where trainable heads made the term's map, that map.
            side: The teacher's part of the W windows.
        """
        known: torch.Tensor | None = None
        if TERMS[term].compares == "features":
            grid = self.teacher.spec.grid
            prediction = source.unflatten(1, grid)  # (W, t, h, w, K, C)
            target = torch.stack([side.features[hook] for hook in self.hooks], dim=2).unflatten(1, grid)
            dim = 0
        else:
            with torch.no_grad():
                target = self.teacher.targets(side.windows, side.features, term)
            prediction = source
            if not self.teacher.spec.trainable_heads:
                student = dict(zip(self.hooks, source.to(self.teacher.dtype).unbind(2)))
                prediction = self.teacher.predict(student, term)
            if term in side.windows.stored:
                known = side.windows.stored[term].valid
            dim = 1  # (channels, T, H', W') of each window
        shares = []
        for index, planned in enumerate(side.plan):
            owned, mask = _owned(planned.window, term), None if known is None else known[index]
            value, _ = masked_sum(prediction[index], target[index], owned, dim, self.kind, mask)
            shares.append(value / planned.counts[term])
        return torch.stack(shares).sum()


class _TermsWithGradient(torch.autograd.Function):
    """The terms of some windows, with their gradient for what they read taken at once, term by term.

    What a term needs for its gradient (a head's activations are gigabytes per window at the released size) is freed
    after that term, instead of being kept for the backward pass of the whole step: peak memory is one head on one
    chunk of windows, at no extra computation.
    """

    @staticmethod
    def forward(ctx, distiller, side, names, *sources):
        """Weighted total (), and unweighted terms, which carry no gradient.

        `sources`: latents (W, N, K, C), and for each term of `names` the map that it reads instead; all float32.
        """
        needed = any(ctx.needs_input_grad)
        gradients = [torch.zeros_like(source) for source in sources] if needed else []
        values = []
        for term, weight in distiller.weights.items():
            place = names.index(term) + 1 if term in names else 0
            with torch.set_grad_enabled(needed):
                leaf = sources[place].detach().requires_grad_(needed)
                value = distiller.term(term, leaf, side)
            if needed:
                gradients[place].add_(torch.autograd.grad(value, leaf)[0], alpha=weight)
            values.append(value.detach())
        if needed:
            # A NaN would destroy the student within one update, and to look for it on the host would wait for the
            # device: windows whose gradient is not finite get none, and the trainer stops as soon as it sees the loss.
            finite = torch.stack([gradient.isfinite().all() for gradient in gradients]).all()
            ctx.save_for_backward(*(torch.where(finite, gradient, 0.0) for gradient in gradients))
        terms = torch.stack(values)
        ctx.mark_non_differentiable(terms)
        total = sum(weight * value for weight, value in zip(distiller.weights.values(), values))
        return total, terms

    @staticmethod
    def backward(ctx, grad_total, grad_terms):
        return None, None, None, *(grad_total * gradient for gradient in ctx.saved_tensors)


def _owned(window: Window, term: str) -> slice:
    """Steps (features) or frames (maps) of a window that count for a term."""
    return getattr(window, TERMS[term].owns)
