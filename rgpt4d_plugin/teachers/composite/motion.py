# SPDX-License-Identifier: Apache-2.0
"""Cameras out of rays, and what moves by itself: where the flow is not the one that depth and cameras explain.

Legend: W windows, T frames, h w cells of the rays. Coordinates of cells are integers at their centers.
"""

import torch
from torch import Tensor


LARGEST_LOGIT = 4.0


def cell_grid(height: int, width: int, device: torch.device) -> Tensor:
    """Homogeneous coordinates (3, h, w) of the cells: x, y, 1."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=device),
        torch.arange(width, dtype=torch.float32, device=device),
        indexing="ij",
    )
    return torch.stack([x, y, torch.ones_like(x)])


def cameras_of_rays(rays: Tensor) -> tuple[Tensor, Tensor]:
    """The pinhole cameras that fit rays best, in the sense of least squares.

    Args:
        rays: (W, 6, T, h, w): direction, of depth 1 along the optical axis, and origin, in the window's world.

    Returns:
        Matrices (W, T, 3, 3) from a cell's coordinates to its ray's direction: rotation times inverse intrinsics; and
        poses (W, T, 4, 4), camera to world.
    """
    _, _, _, height, width = rays.shape
    cells = cell_grid(height, width, rays.device).flatten(1)  # (3, h w)
    directions, origins = rays.transpose(1, 2).flatten(3).split(3, dim=2)  # each (W, T, 3, h w)
    inverse = torch.linalg.inv(cells @ cells.T)
    matrices = directions @ cells.T @ inverse
    # Inverse intrinsics are upper triangular with a positive diagonal, so this is a QR factorization.
    rotation, triangle = torch.linalg.qr(matrices)
    sign = torch.where(triangle.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)
    poses = torch.eye(4, device=rays.device).expand(*rotation.shape[:2], 4, 4).clone()
    poses[..., :3, :3] = rotation * sign[..., None, :]
    poses[..., :3, 3] = origins.mean(dim=-1)
    return matrices, poses


def rigid_backward_flow(rays: Tensor, depth: Tensor, matrices: Tensor, poses: Tensor) -> Tensor:
    """Flow (W, 2, T, h, w) that the cameras' motion alone gives, in cells, from each frame to the one before.

    The first frame's is zero.

    Args:
        rays: (W, 6, T, h, w) as above.
        depth: (W, T, h, w) in the unit of the origins.
        matrices: Of `cameras_of_rays`.
        poses: Of `cameras_of_rays`.
    """
    direction, origin = rays.split(3, dim=1)
    points = (origin + direction * depth[:, None])[:, :, 1:]  # (W, 3, T - 1, h, w)
    local = points - poses[:, :-1, :3, 3].transpose(1, 2)[..., None, None]
    seen = torch.einsum("wtij,wjthv->withv", torch.linalg.inv(matrices[:, :-1]), local)
    height, width = rays.shape[-2:]
    cells = cell_grid(height, width, rays.device)[:2, None]
    flow = seen[:, :2] / seen[:, 2:].clamp(min=1e-3) - cells
    return torch.cat([torch.zeros_like(flow[:, :, :1]), flow], dim=2)


def motion_logit(flow: Tensor, rigid: Tensor, threshold: float) -> Tensor:
    """Logit (W, 1, T, h, w) of "moves by itself": 0 where both flows differ by the threshold, and at most 4 or -4.

    Args:
        flow: (W, 2, T, h, w) in pixels.
        rigid: The same, of the cameras' motion alone.
        threshold: Pixels.
    """
    difference = (flow - rigid).norm(dim=1, keepdim=True)
    return ((difference / threshold - 1) * LARGEST_LOGIT).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
