# SPDX-License-Identifier: Apache-2.0
"""Averages of the loss terms over a logging window, and a check that all are finite, without a sync per step."""

from collections import deque

import torch
import torch.distributed as dist

from rgpt4d_plugin.distill import TermSums
from rgpt4d_plugin.trainers.setup import GRADIENT_KEYS, LOG_KEYS


class TermMeter:
    """Running sums of one logging window; each term is logged under its key, times its scale."""

    def __init__(self, terms: list[str], scales: list[float], device: torch.device) -> None:
        self.terms = terms
        self.scales = scales
        self.device = device
        self._reset()

    def _reset(self) -> None:
        self._sft = torch.zeros((), device=self.device)
        self._sums = torch.zeros(len(self.terms), device=self.device)
        self._gradients = torch.zeros(len(self.terms), device=self.device)
        self._batches = 0
        self._clips = 0
        self._clips_of = dict.fromkeys(self.terms, 0)

    def update(self, sft_loss: torch.Tensor, sums: TermSums) -> None:
        """Adds one micro-batch: its SFT loss () and what the distiller made of it."""
        self._sft += sft_loss.detach()
        self._sums += sums.terms
        if sums.gradients is not None:
            self._gradients += sums.gradients
        self._batches += 1
        self._clips += sums.clips
        for term in self.terms:
            self._clips_of[term] += 0 if term in sums.left_out else sums.clips

    def drain(self) -> dict[str, float]:
        """The averages since the last call: over micro-batches for `loss_sft` and `p4d_videos`, over the clips for
        which it was computed for a term, the root of the mean square over these for the length of its gradient.

        Collective: every rank must call it. A term that no clip had is not reported. Waits for the device.
        """
        counts = [self._batches, self._clips, *self._clips_of.values()]
        counts = torch.tensor(counts, dtype=torch.float32, device=self.device)
        sums = torch.cat([counts, self._sft[None], self._sums, self._gradients])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(sums)
        batches, clips, *rest = sums.tolist()
        self._reset()
        if not batches:
            return {}
        count = len(self.terms)
        clips_of, (sft, *rest) = rest[:count], rest[count:]
        logs = {"loss_sft": sft / batches}
        for term, scale, value, seen in zip(self.terms, self.scales, rest, clips_of):
            if seen:
                logs[LOG_KEYS[term]] = scale * value / seen
        for term, value, seen in zip(self.terms, rest[count:], clips_of):
            if seen and value:
                logs[GRADIENT_KEYS[term]] = (value / seen) ** 0.5
        return logs | {"p4d_videos": clips / batches}


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite."""


class FiniteCheck:
    """Looks at every micro-batch's losses as soon as the device has them, a step later on a GPU.

    `distill.distiller` gives such a micro-batch no gradient, so the weights are unharmed until then.
    """

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys
        self._pending: deque[tuple[torch.Tensor, torch.cuda.Event | None, str]] = deque()

    def submit(self, values: torch.Tensor, where: str) -> None:
        """Takes one micro-batch's detached values (K,) and raises for an earlier one, or on a CPU for this one.

        The message says `where`: step and clips.
        """
        values = values.to("cpu", non_blocking=True)
        event = None
        if torch.cuda.is_available():
            event = torch.cuda.Event()
            event.record()
        self._pending.append((values, event, where))
        self.raise_if_any()

    def raise_if_any(self, wait: bool = False) -> None:
        """Raises NonFiniteLossError if a submitted value is not finite, among those that have arrived.

        With `wait` it waits for the device, as before a checkpoint is written.
        """
        while self._pending:
            values, event, where = self._pending[0]
            if event is not None and not event.query():
                if not wait:
                    return
                event.synchronize()
            self._pending.popleft()
            bad = [f"{key} is {value}" for key, value in zip(self.keys, values.tolist()) if value - value != 0]
            if bad:
                raise NonFiniteLossError(
                    f"{', '.join(bad)} {where}; the run stops here. If loss_sft is among them the student has "
                    "diverged: lower the learning rate. Otherwise nothing of it is in the weights: look at the clips, "
                    "try p4d.teacher.dtype: float32, or set the term's weight to 0."
                )
