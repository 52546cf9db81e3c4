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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from rgpt4d_plugin.distill.batch import DistillBatch
from rgpt4d_plugin.distill.grid import Window, plan_windows
from rgpt4d_plugin.distill.losses import masked_sum
from rgpt4d_plugin.teachers.base import WHOLE_MAP, MapSize, MapView, StoredMap, Teacher, TeacherWindows, cut_windows
from rgpt4d_plugin.terms import TERMS


if TYPE_CHECKING:
    from rgpt4d_plugin.distill.ahead import FeaturesAhead
    from rgpt4d_plugin.distill.draw import Draw


@dataclass(frozen=True)
class TermSums:
    """Result of a batch: sums over its clips, each clip's term being a mean over its valid elements."""

    total: torch.Tensor
    """Scalar float32 with gradient: sum over clips of the weighted terms."""
    terms: torch.Tensor
    """(number of active terms,) float32, detached: sum over clips of each unweighted term, in the order of weights;
    0 for a term that the step left out. Of a tile, an estimate of the whole map's term."""
    clips: int
    left_out: frozenset[str] = frozenset()
    """Terms that were not computed."""
    gradients: torch.Tensor | None = None
    """(number of active terms,) float32: sum over clips of the squared length of the weighted term's gradient for the
    clip's latents; None where it was not asked for, or nothing has a gradient."""


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
    draw: "Draw | None" = None
    """What is compared; None for everything."""
    kept: dict[str, torch.Tensor] = field(default_factory=dict)
    """Targets that a later term needs again, by term."""


class Distiller:
    """Computes the active terms.

    Args:
        teacher: The frozen teacher.
        weights: Weight of each active term, all > 0; a term that is not in it is never computed, nor its head run.
        kind: Element loss, see `losses.ELEMENT_LOSSES`.
        hooks: Indices into the teacher's feature list that the student's latents stand for.
        map_size: Size that maps are compared at; a map without it is compared at its own.
        measure_gradients: Whether results tell the length of each term's gradient.
        flow_moving: How many more times pixels that move, by the teacher's motion map, count in the flow term.
    """

    def __init__(
        self,
        teacher: Teacher,
        weights: dict[str, float],
        kind: str,
        hooks: tuple[int, ...],
        map_size: MapSize = "native",
        measure_gradients: bool = False,
        flow_moving: float = 0.0,
    ) -> None:
        self.teacher = teacher
        self.weights = weights
        self.kind = kind
        self.hooks = hooks
        self.map_size: MapSize = map_size
        self.measure_gradients = measure_gradients
        self.flow_moving = flow_moving
        # Trainable heads read the student's latents alone, and their targets need no features.
        compared = any(TERMS[term].compares == "features" for term in weights)
        self.reads_features = compared or not teacher.spec.trainable_heads
        # One window fills a GPU, and memory counts there. On a CPU, torch takes its fast 3D convolution for batches
        # only: two windows at once take less time than one.
        self.windows_at_once = 8 if teacher.device.type == "cpu" else 1

    def start(self, batch: DistillBatch) -> "FeaturesAhead | None":
        """Starts the teacher's encoder on a batch, beside what the device is given next, for `__call__`.

        Returns:
            What `__call__` takes; None where nothing is to be encoded, and where the teacher is on a CPU, which would
            have to wait for it here.
        """
        if self.teacher.device.type != "cuda" or not len(batch) or not self.reads_features:
            return None
        from rgpt4d_plugin.distill.ahead import FeaturesAhead  # read only by runs on a GPU

        with torch.autocast("cuda", enabled=False):
            return FeaturesAhead(self.teacher, self._windows(batch), self.hooks)

    def __call__(
        self,
        latents: torch.Tensor,
        batch: DistillBatch,
        draw: "Draw | None" = None,
        ahead: "FeaturesAhead | None" = None,
        maps: Mapping[str, torch.Tensor] | None = None,
    ) -> TermSums:
        """The terms of a batch.

        Args:
            latents: (windows * N of all clips, K, C) decoded latents, clips and windows in order.
            batch: The clips, on the device of the latents.
            draw: What is compared; None for everything.
            ahead: What `start` returned for the batch.
            maps: What trainable heads made of the latents, term -> (windows of all clips, C, T, H', W').
        """
        maps = maps or {}
        # Zero, yet connected: a batch without clips needs a gradient.
        total = torch.stack([source[:0].sum(dtype=torch.float32) for source in (latents, *maps.values())]).sum()
        terms = torch.zeros(len(self.weights), device=latents.device)
        gradients = None
        left_out = draw.left_out if draw else frozenset[str]()
        if not len(batch):
            return TermSums(total, terms, 0, left_out)

        stored = batch.stored or [{}] * len(batch)
        plan = [planned for key, found in zip(batch.keys, stored) for planned in self._plan(len(key), found)]
        windows = self._windows(batch) if ahead is None else ahead.windows
        early = None if ahead is None else ahead.features()
        # The teacher may live on a device of its own (p4d.teacher.device).
        latents = latents.to(self.teacher.device).unflatten(0, (len(plan), -1))
        own = {term: source.to(self.teacher.device) for term, source in maps.items()}
        with torch.autocast(latents.device.type, enabled=False):
            for first in range(0, len(plan), self.windows_at_once):
                part = slice(first, first + self.windows_at_once)
                given = windows[part]
                if early is not None:
                    features = {hook: feature[part] for hook, feature in early.items()}
                else:
                    with torch.inference_mode():
                        features = self.teacher.features(given, self.hooks) if self.reads_features else {}
                side = TeacherSide(given, features, plan[part], draw)
                sources = [latents[part].float(), *(source[part].float() for source in own.values())]
                part_total, part_terms, part_gradients = _TermsWithGradient.apply(self, side, tuple(own), *sources)
                total = total + part_total.to(total.device)
                terms = terms + part_terms.to(terms.device)
                if part_gradients is not None:
                    part_gradients = part_gradients.to(terms.device)
                    gradients = part_gradients if gradients is None else gradients + part_gradients
        return TermSums(total, terms, len(batch), left_out, gradients)

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
                shape = (spec.maps[term].shape[0], *spec.maps[term].plane(self.map_size))
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
        weight: torch.Tensor | None = None
        tiles = 1
        if TERMS[term].compares == "features":
            grid = self.teacher.spec.grid
            prediction = source.unflatten(1, grid)  # (W, t, h, w, K, C)
            target = torch.stack([side.features[hook] for hook in self.hooks], dim=2).unflatten(1, grid)
            dim = 0
        else:
            tile = side.draw.tile if side.draw else None
            view = self.teacher.spec.maps[term].view(self.map_size, tile)
            tiles = view.tile.count if view.tile else 1
            whole = view == WHOLE_MAP
            with torch.no_grad():
                target = self._target(term, side, view)
                # Autograd keeps nothing that inference mode made, as a map that came with the features would be.
                target = target.clone() if target.is_inference() else target
                if term == "flow" and self.flow_moving:
                    # Logits; what is not known to move has 0.
                    shown = self.teacher.spec.maps["motion"].view(self.map_size, tile)
                    weight = 1 + self.flow_moving * (self._target("motion", side, shown) > 0)
            prediction = source
            if not self.teacher.spec.trainable_heads:
                student = dict(zip(self.hooks, source.to(self.teacher.dtype).unbind(2)))
                prediction = (
                    self.teacher.predict(student, term) if whole else self.teacher.predict_part(student, term, view)
                )
            if term in side.windows.stored:
                known = side.windows.stored[term].valid
            dim = 1  # (channels, T, H', W') of each window
        shares = []
        for index, planned in enumerate(side.plan):
            owned, mask = _owned(planned.window, term), None if known is None else known[index]
            counts = None if weight is None else weight[index]
            value, _ = masked_sum(prediction[index], target[index], owned, dim, self.kind, mask, counts)
            shares.append(value / (planned.counts[term] / tiles))
        return torch.stack(shares).sum()

    def _target(self, term: str, side: TeacherSide, view: MapView) -> torch.Tensor:
        """The teacher's map of some windows, or the part of it that `view` shows."""
        if term in side.kept:
            return side.kept[term]
        given = side.windows, side.features, term
        target = self.teacher.targets(*given) if view == WHOLE_MAP else self.teacher.target_part(*given, view)
        if term == "motion" and self.flow_moving:  # two terms read it, and a head is the larger part of a step
            side.kept[term] = target
        return target


class _TermsWithGradient(torch.autograd.Function):
    """The terms of some windows, with their gradient for what they read taken at once, term by term.

    What a term needs for its gradient (a head's activations are gigabytes per window at the released size) is freed
    after that term, instead of being kept for the backward pass of the whole step: peak memory is one head on one
    chunk of windows, at no extra computation.
    """

    @staticmethod
    def forward(ctx, distiller, side, names, *sources):
        """Weighted total (); unweighted terms, and squared lengths of the weighted terms' gradients if the distiller
        measures them, which carry no gradient.

        `sources`: latents (W, N, K, C), and for each term of `names` the map that it reads instead; all float32.
        """
        needed = any(ctx.needs_input_grad)
        gradients = [torch.zeros_like(source) for source in sources] if needed else []
        total, nothing = sources[0].new_zeros(()), sources[0].new_zeros(())
        values, lengths = [], []
        for term, weight in distiller.weights.items():
            if side.draw and term in side.draw.left_out:
                values.append(nothing)
                lengths.append(nothing)
                continue
            place = names.index(term) + 1 if term in names else 0
            with torch.set_grad_enabled(needed):
                leaf = sources[place].detach().requires_grad_(needed)
                value = distiller.term(term, leaf, side)
            factor = weight * side.draw.factor if side.draw and TERMS[term].compares == "map" else weight
            if needed:
                found = torch.autograd.grad(value, leaf)[0]
                gradients[place].add_(found, alpha=factor)
                if distiller.measure_gradients:
                    lengths.append((weight * found.norm()).square())
                del found
            value = value.detach()
            values.append(value)
            total = total + factor * value
        if needed:
            # A NaN would destroy the student within one update, and to look for it on the host would wait for the
            # device: windows whose gradient is not finite get none, and the trainer stops as soon as it sees the loss.
            finite = torch.stack([gradient.isfinite().all() for gradient in gradients]).all()
            ctx.save_for_backward(*(torch.where(finite, gradient, 0.0) for gradient in gradients))
        terms = torch.stack(values)
        measured = torch.stack(lengths) if distiller.measure_gradients and needed else None
        ctx.mark_non_differentiable(terms, *([] if measured is None else [measured]))
        return total, terms, measured

    @staticmethod
    def backward(ctx, grad_total, grad_terms, grad_measured):
        return None, None, None, *(grad_total * gradient for gradient in ctx.saved_tensors)


def _owned(window: Window, term: str) -> slice:
    """Steps (features) or frames (maps) of a window that count for a term."""
    return getattr(window, TERMS[term].owns)
