# SPDX-License-Identifier: Apache-2.0
"""Writes masks as compressed COCO run lengths, which the product reads."""

from typing import Any

import numpy as np


_LONGEST = 12  # characters of a number


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """Encodes a mask bool (H, W) as compressed COCO run lengths, the very text that the COCO API writes.

    Raises:
        ValueError: the mask is not two-dimensional, or empty.
    """
    mask = np.asarray(mask, dtype=bool)
    if mask.ndim != 2:
        raise ValueError(f"a mask has two dimensions (height, width), found shape {mask.shape}")
    if not mask.any():
        raise ValueError(f"the mask is empty: no pixel of {mask.shape[1]} x {mask.shape[0]} is set")
    flat = mask.ravel(order="F")
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    # The first run is outside of the region, if need be of length zero.
    counts = np.diff(np.concatenate((np.zeros(1 + flat[0], dtype=np.int64), starts, [flat.size])))
    return {"size": [int(side) for side in mask.shape], "counts": _format_counts(counts)}


def _format_counts(counts: np.ndarray) -> str:
    """Returns the compressed text of run lengths (n,)."""
    numbers = counts.astype(np.int64)
    numbers[3:] -= counts[1:-2]
    # k characters hold numbers from -16 * 32^(k-1) up to, not including, 16 * 32^(k-1).
    limits = 16 << (5 * np.arange(_LONGEST - 1, dtype=np.int64))
    lengths = 1 + ((numbers[:, None] >= limits) | (numbers[:, None] < -limits)).sum(axis=1)
    places = np.arange(lengths.max())
    codes = (numbers[:, None] >> (5 * places)) & 0x1F
    codes += np.where(places < lengths[:, None] - 1, 0x20, 0) + ord("0")
    return codes[places < lengths[:, None]].astype(np.uint8).tobytes().decode("ascii")
