# SPDX-License-Identifier: Apache-2.0
"""Masks of data sets: COCO run lengths, compressed or not, and PNG files. Numpy only, no Python loop over pixels."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image


# The compressed form (rleToString of the COCO API) writes five bits per character from "0" on, low bits first; bit 5
# says that the number goes on, bit 4 of its last character is the sign.
_ZERO, _BITS, _MORE, _SIGN = ord("0"), 0x1F, 0x20, 0x10
_INTEGERS = (int, np.integer)
# 60 bits: more than any frame needs, and still an int64.
_LONGEST = 12
_MOST_PIXELS = 2**27
"""More than 16,000 x 8,000, so that a wrong size takes no more memory than a large picture."""


def decode_rle(rle: Mapping[str, Any], expected: tuple[int, int] | None = None) -> np.ndarray:
    """Decodes COCO run lengths.

    Args:
        rle: `{"size": [height, width], "counts": ...}`. Counts are the lengths of the runs in column-major order, the
            first one outside of the region: a list of integers, or the compressed text as str or bytes.
        expected: Height and width that the mask must have, if they are known.

    Returns:
        bool (H, W) in column-major memory, True on the region.

    Raises:
        ValueError: The run lengths are broken, do not fill the frame, or mark no pixel; or the mask has another size.
    """
    if not isinstance(rle, Mapping) or set(rle) != {"size", "counts"}:
        found = sorted(map(str, rle)) if isinstance(rle, Mapping) else type(rle).__name__
        raise ValueError(f"run lengths need exactly the keys size and counts, found {found}")
    height, width = _checked_size(rle["size"])
    if expected is not None and (height, width) != expected:
        frame = f"the frame {expected[1]} x {expected[0]}"
        raise ValueError(f"the mask is {width} x {height} pixels, {frame}; they must be the same")
    if height * width > _MOST_PIXELS:
        raise ValueError(f"size {width} x {height} has more than {_MOST_PIXELS:,} pixels")
    counts = rle["counts"]
    if isinstance(counts, str | bytes):
        counts = _parse_counts(counts, height * width)
    elif isinstance(counts, list | tuple):
        counts = _as_integers(counts)
    else:
        raise ValueError(f"counts must be a list of integers or compressed text, found {type(counts).__name__}")
    if counts.size and counts.min() < 0:
        raise ValueError(f"run lengths must not be negative, found {counts.min()}")
    # Python's integers: broken counts could sum to the right number modulo 2^64.
    if (total := sum(counts.tolist())) != height * width:
        raise ValueError(f"run lengths sum to {total}, expected {height * width} for {width} x {height} pixels")
    if not counts[1::2].any():
        raise ValueError(f"the mask is empty: no pixel of {width} x {height} is set")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


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
    return {"size": [int(side) for side in mask.shape], "counts": _format_counts(run_lengths(mask))}


def run_lengths(mask: np.ndarray) -> np.ndarray:
    """Returns the plain COCO run lengths int64 (n,) of a mask bool (H, W), in column-major order; see `decode_rle`."""
    flat = mask.ravel(order="F")
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    # The first run is outside of the region, if need be of length zero.
    return np.diff(np.concatenate((np.zeros(1 + flat[0], dtype=np.int64), starts, [flat.size])))


def read_mask_png(path: str | os.PathLike) -> np.ndarray:
    """Reads a mask bool (H, W) from a PNG file: every pixel that is not zero belongs to the region.

    Grey and bilevel images are taken by value, palette images by index (so all objects of a label map together), and
    colour images by any channel. An alpha channel decides alone if it varies; if it is constant it says nothing, and
    grey or colour decide. Other formats are refused: lossy ones have no reliable zeros.

    Raises:
        ValueError: the file is not a readable PNG, or its mask is empty.
    """
    path = os.fspath(path)
    if os.path.exists(path) and not os.path.isfile(path):  # opening a pipe would wait for ever
        raise ValueError(f"{path} is not a readable PNG: it is no regular file")
    try:
        with Image.open(path, formats=["PNG"]) as image:
            values = np.asarray(image)
            has_alpha = image.mode in ("LA", "RGBA")
    # Pillow reports a broken chunk as SyntaxError.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as err:
        raise ValueError(f"{path} is not a readable PNG: {err}") from err
    if has_alpha:
        alpha = values[..., -1]
        values = alpha if alpha.min() != alpha.max() else values[..., :-1]
    mask = values != 0
    if mask.ndim == 3:
        mask = mask.any(axis=2)
    if not mask.any():
        raise ValueError(f"the mask in {path} is empty: no pixel of {mask.shape[1]} x {mask.shape[0]} is set")
    return mask


def _checked_size(size: Any) -> tuple[int, int]:
    if (
        not isinstance(size, list | tuple)
        or len(size) != 2
        or not all(isinstance(side, _INTEGERS) and not isinstance(side, bool) and side > 0 for side in size)
    ):
        raise ValueError(f"size must be [height, width], two positive integers, found {size!r}")
    return int(size[0]), int(size[1])


def _as_integers(counts: list | tuple) -> np.ndarray:
    odd = {kind.__name__ for kind in set(map(type, counts)) if kind is bool or not issubclass(kind, _INTEGERS)}
    if odd:
        raise ValueError(f"run lengths must be integers, found {', '.join(sorted(odd))}")
    try:
        return np.array(counts, dtype=np.int64)
    except OverflowError as err:
        raise ValueError(f"run lengths must fit 64 bits, found {max(counts, key=abs)}") from err


def _parse_counts(text: str | bytes, pixels: int) -> np.ndarray:
    """Run lengths int64 from their compressed text; their sum and signs are left to the caller to check."""
    raw = text.encode("utf-8") if isinstance(text, str) else text
    codes = np.frombuffer(raw, dtype=np.uint8).astype(np.int64) - _ZERO
    outside = np.flatnonzero((codes < 0) | (codes > _BITS + _MORE))
    if outside.size:
        character = raw[outside[0] : outside[0] + 1]
        raise ValueError(f"compressed run lengths use the characters '0' to 'o', found {character!r} at {outside[0]}")
    if not codes.size:
        return codes
    if codes[-1] & _MORE:
        raise ValueError(f"compressed run lengths are truncated: the last number of {len(codes)} characters goes on")
    last = np.flatnonzero((codes & _MORE) == 0)
    first = np.concatenate(([0], last[:-1] + 1))
    lengths = last - first + 1
    if lengths.max() > _LONGEST:
        raise ValueError(f"compressed run lengths hold a number of {lengths.max()} characters, at most {_LONGEST}")
    places = np.arange(len(codes)) - np.repeat(first, lengths)
    numbers = np.add.reduceat((codes & _BITS) << (5 * places), first)
    numbers -= np.where(codes[last] & _SIGN, 1 << (5 * lengths), 0)
    if np.abs(numbers).max() > pixels:
        raise ValueError(f"run lengths differ by {np.abs(numbers).max()}, in a frame of {pixels} pixels")
    # From the fourth on a number is the difference to the run before the last, of the same side of the outline.
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


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
