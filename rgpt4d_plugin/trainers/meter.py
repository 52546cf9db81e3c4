# SPDX-License-Identifier: Apache-2.0
"""Averages of the loss terms over a logging window, and a check that all are finite, without a sync per step."""

from collections import deque

import torch
import torch.distributed as dist


class TermMeter:
    """Running sums of one logging window; each term is logged under its key, times its scale."""

    def __init__(self, keys: list[str], scales: list[float], device: torch.device) -> None:
        self.keys = keys
        self.scales = scales
        self.device = device
        self._reset()

    def _reset(self) -> None:
        self._sft = torch.zeros((), device=self.device)
        self._terms = torch.zeros(len(self.keys), device=self.device)
        self._batches = 0
        self._clips = 0

    def update(self, sft_loss: torch.Tensor, terms: torch.Tensor, clips: int) -> None:
        """Adds one micro-batch: its SFT loss (), the sums of its terms over clips (K,), and its number of clips."""
        self._sft += sft_loss.detach()
        self._terms += terms
        self._batches += 1
        self._clips += clips

    def drain(self) -> dict[str, float]:
        """The averages since the last call: over micro-batches for `loss_sft` and `p4d_videos`, over clips for terms.

        Collective: every rank must call it. A window without any clip has no terms to report. Waits for the device.
        """
        counts = torch.tensor([self._batches, self._clips], dtype=torch.float32, device=self.device)
        sums = torch.cat([self._sft[None], self._terms, counts])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(sums)
        sft, *terms, batches, clips = sums.tolist()
        self._reset()
        if not batches:
            return {}
        logs = {"loss_sft": sft / batches}
        if clips:
            logs |= {
                key: scale * value / clips for key, scale, value in zip(self.keys, self.scales, terms, strict=True)
            }
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
