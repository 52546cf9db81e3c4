# SPDX-License-Identifier: Apache-2.0
"""Videos longer than one window: how the maps of its windows become one.

The window is W frames and the stride W/2. A later window overwrites the overlap; nothing is blended. Source: L4P,
NVlabs/L4P commit 8701a4b. Its joint alignment of depth and cameras (random, RANSAC) is not part of this.
"""

import torch
from torch import Tensor


def append_window(task: str, maps: Tensor, new: Tensor) -> Tensor:
    """Extend a task's map over the video by the next window.

    Args:
        task: Task name; decides what happens in the overlap.
        maps: Result so far (B, C, T, H, W).
        new: The next window's own map (B, C, W, H, W), of which the first half overlaps the end of `maps`.

    Returns:
        The result so far, (B, C, T + W/2, H, W).
    """
    overlap = new.shape[2] // 2
    start = maps.shape[2] - overlap
    if task == "depth":
        new = _align_inverse_depth(new, maps[:, :, start:])
    if task == "flow_2d_backward":
        # The first frame of a window has no predecessor in it, so its backward flow is not valid.
        return torch.cat((maps[:, :, : start + 1], new[:, :, 1:]), dim=2)
    return torch.cat((maps[:, :, :start], new), dim=2)


def _align_inverse_depth(new: Tensor, reference: Tensor) -> Tensor:
    """Bring a window's relative depth to the scale and shift of the frames before it.

    Fits a * inverse(new) + b to inverse(reference) by unweighted least squares, one a and one b per batch item over
    all overlapping pixels and frames, in float32. The fit refers to the already aligned frames, so errors chain.

    Args:
        new: Depth of the whole new window (B, 1, W, H, W).
        reference: Depth of its leading overlap in the result so far (B, 1, W/2, H, W).

    Returns:
        The aligned depth, (B, 1, W, H, W); 0 where the aligned inverse is not positive.
    """
    inverse = _inverse(new)
    x = inverse[:, :, : reference.shape[2]]
    y = _inverse(reference)
    axes = (1, 2, 3, 4)
    x_mean, y_mean = x.mean(axes, keepdim=True), y.mean(axes, keepdim=True)
    variance = (x - x_mean).square().mean(axes, keepdim=True)
    covariance = ((x - x_mean) * (y - y_mean)).mean(axes, keepdim=True)
    # A constant depth leaves the scale open: keep it and fit the shift alone.
    fitted = variance > 0
    scale = torch.where(fitted, covariance / torch.where(fitted, variance, 1), 1)
    return _inverse(scale * inverse + (y_mean - scale * x_mean))


def _inverse(x: Tensor) -> Tensor:
    """1/x where x is positive, else 0."""
    positive = x > 0
    # Two selections, because the gradient of 1/0 would be NaN even where it is not selected.
    return torch.where(positive, 1 / torch.where(positive, x, 1), 0)
