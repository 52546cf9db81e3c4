# SPDX-License-Identifier: Apache-2.0
"""Element losses between a student's and the teacher's latents or maps: pure functions, float32, no configuration.

Every function returns the SUM over the valid elements and their number; the caller divides, so that a clip that is
seen through several windows, or in several processes, is averaged over all of its elements at once. The number comes
from shapes alone: nothing here waits for the device.
"""

import torch
import torch.nn.functional as F


ELEMENT_LOSSES = {
    "mse": F.mse_loss,
    "smooth_l1": F.smooth_l1_loss,
    "l1": F.l1_loss,
}


def masked_sum(
    prediction: torch.Tensor,
    target: torch.Tensor,
    valid: slice,
    dim: int,
    kind: str,
    known: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
) -> tuple[torch.Tensor, int]:
    """Sum of the element loss over the valid part of one axis.

    Args:
        prediction: any shape, any float dtype; gradients flow into it.
        target: the same shape.
        valid: which entries of axis `dim` (frames or steps) count.
        kind: a key of `ELEMENT_LOSSES`.
        known: bool, of a shape that broadcasts to theirs; elements that are False are left out of the sum.
        weight: of a shape that broadcasts to theirs, how often each element counts in the sum; None for once.

    Returns:
        The sum, float32, connected to `prediction` even when nothing is valid (then 0), and the number of elements,
        those that are not `known` included.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction has shape {tuple(prediction.shape)}, target {tuple(target.shape)}")
    length = max(0, min(valid.stop, prediction.shape[dim]) - valid.start)
    prediction = prediction.narrow(dim, valid.start, length).float()
    target = target.narrow(dim, valid.start, length).float()
    if length == 0:
        return prediction.sum(), 0
    if known is None and weight is None:
        return ELEMENT_LOSSES[kind](prediction, target, reduction="sum"), prediction.numel()
    losses = ELEMENT_LOSSES[kind](prediction, target, reduction="none")
    if weight is not None:
        losses = losses * weight.narrow(dim, valid.start, length)
    if known is not None:
        losses = torch.where(known.narrow(dim, valid.start, length), losses, 0.0)
    return losses.sum(), prediction.numel()
