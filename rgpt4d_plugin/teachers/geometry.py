# SPDX-License-Identifier: Apache-2.0
"""Cameras as maps: poses relative to a window's first frame as quaternion and position, and rays.

Cameras are camera-to-world matrices (..., 4, 4), x right, y down, z forward. In pixel coordinates, integers are pixel
centers. Legend: T frames, h w cells of a grid over the image.
"""

import torch
from torch import Tensor


POSE_CHANNELS = 7
"""Of a map of poses: quaternion (w, x, y, z) with w >= 0, then position (x, y, z)."""


def relative_to_first(poses: Tensor) -> Tensor:
    """Camera-to-world matrices (..., T, 4, 4) with the first camera of each T as the world."""
    return torch.linalg.inv(poses[..., :1, :, :]) @ poses


def pose_map(poses: Tensor) -> Tensor:
    """Poses (..., T, 4, 4) to their map (..., 7, T, 1, 1)."""
    values = torch.cat([quaternions(poses[..., :3, :3]), poses[..., :3, 3]], dim=-1)
    return values.movedim(-1, -2)[..., None, None]


def quaternions(rotations: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) to unit quaternions (..., 4), (w, x, y, z), of the two the one with w >= 0.

    The eigenvector of the largest eigenvalue of Bar-Itzhack's matrix (2000): for a matrix that is no exact rotation,
    the one of the nearest.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in rotations.unbind(-2))
    matrix = torch.stack(
        [
            torch.stack([xx + yy + zz, zy - yz, xz - zx, yx - xy], dim=-1),
            torch.stack([zy - yz, xx - yy - zz, yx + xy, zx + xz], dim=-1),
            torch.stack([xz - zx, yx + xy, yy - xx - zz, zy + yz], dim=-1),
            torch.stack([yx - xy, zx + xz, zy + yz, zz - xx - yy], dim=-1),
        ],
        dim=-2,
    )
    found = torch.linalg.eigh(matrix).eigenvectors[..., -1]
    return torch.where(found[..., :1] < 0, -found, found)


def pinhole_directions(intrinsics: Tensor, box: tuple[float, float, float, float], grid: tuple[int, int]) -> Tensor:
    """Directions (T, 3, h, w), of depth 1, through the centers of the cells of a grid, in each camera's own frame.

    Args:
        intrinsics: (T, 3, 3) in pixels.
        box: (left, top, right, bottom) of the part of the image that the grid covers, in pixels from its corner.
        grid: (h, w).
    """
    left, top, right, bottom = box
    rows, columns = (torch.arange(count, dtype=intrinsics.dtype) + 0.5 for count in grid)
    y = top + rows * (bottom - top) / grid[0] - 0.5
    x = left + columns * (right - left) / grid[1] - 0.5
    y, x = torch.meshgrid(y, x, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)]).to(intrinsics.device)
    return torch.einsum("tij,jhw->tihw", torch.linalg.inv(intrinsics), pixels)


def plucker_rays(poses: Tensor, directions: Tensor) -> Tensor:
    """Rays (..., 6, T, h, w) of cameras: unit direction, then moment = position x direction.

    Args:
        poses: (..., T, 4, 4).
        directions: (..., T, 3, h, w) in each camera's own frame, of any length.
    """
    turned = torch.einsum("...ij,...jhw->...ihw", poses[..., :3, :3], directions)
    turned = turned / turned.norm(dim=-3, keepdim=True)
    moment = torch.cross(poses[..., :3, 3, None, None].expand_as(turned), turned, dim=-3)
    return torch.cat([turned, moment], dim=-3).movedim(-4, -3)
