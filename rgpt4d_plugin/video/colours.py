# SPDX-License-Identifier: Apache-2.0
"""The colors of optical flow in pictures: hue is the direction, saturation the length, white is still."""

import numpy as np
from matplotlib.colors import hsv_to_rgb


def flow_colours(flow: np.ndarray, longest: float) -> np.ndarray:
    """Flow (2, ..., H, W) in pixels, u to the right and v down, to RGB (..., H, W, 3) in [0, 1].

    Args:
        flow: the map.
        longest: length in pixels that is shown fully saturated.
    """
    u, v = flow
    hue = (np.arctan2(v, u) / (2 * np.pi)) % 1.0
    return hsv_to_rgb(np.stack([hue, np.clip(np.hypot(u, v) / longest, 0, 1), np.ones_like(u)], axis=-1))
