# SPDX-License-Identifier: Apache-2.0
"""Averages of the loss terms over a logging window and over ranks, gathered on the device without a sync per step."""

import torch
import torch.distributed as dist


class TermMeter:
    """Running sums of one logging window.

    Args:
        keys: logged names of the terms, in the order of the vectors given to `update`.
        scales: factor per key that is applied when it is logged.
        device: where the sums live.
    """

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
