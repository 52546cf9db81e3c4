# SPDX-License-Identifier: Apache-2.0
"""Geometry between the student's token grid and the teacher's: windows over a clip, and area-correct resizing.

Legend: T frames of a clip, t h w tokens of a grid (time, height, width), C channels. Both models see the same T
frames, so frames are the common time axis: a student token covers `frames_per_step` frames, a teacher token
`tubelet` frames. In space both grids cover the whole frame, whatever its shape, so fractions of height and width are
the common axes.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch

from rgpt4d_plugin.students.tokens import ClipTokens
from rgpt4d_plugin.teachers.base import TeacherSpec


@dataclass(frozen=True)
class Window:
    """One teacher window on a clip, and what of it counts. Slices are relative to the window's first frame or step.

    Neighboring windows may overlap; each frame belongs to the last window that covers it, so every frame is compared
    exactly once. Frames and steps beyond the clip's end are padding and belong to nobody.
    """

    start: int
    frames: slice
    """Frames whose maps are compared."""
    flow_frames: slice
    """Frames whose backward flow is compared: a window's first frame has no predecessor in it."""
    steps: slice
    """Teacher steps whose features are compared."""


def plan_windows(frames: int, spec: TeacherSpec) -> list[Window]:
    """The windows of a clip, with the frames and steps that each owns.

    Args:
        frames: T, real frames of the clip.
        spec: The teacher's windows.
    """
    _, starts = spec.window_starts(frames)
    windows = []
    for index, start in enumerate(starts):
        last = index + 1 == len(starts)
        own_end = min(frames, start + spec.window)
        end = own_end if last else min(own_end, starts[index + 1])
        # A later window's first frame has no flow of its own, so the earlier window keeps that frame if it sees it.
        flow_end = own_end if last else min(own_end, starts[index + 1] + 1)
        windows.append(
            Window(
                start=start,
                frames=slice(0, end - start),
                flow_frames=slice(1, max(1, flow_end - start)),
                steps=slice(0, -(-(end - start) // spec.tubelet)),
            )
        )
    return windows


# Both matrices are cached per device: one copy per shape, so that no step waits for a transfer.
@lru_cache(maxsize=512)
def overlap_matrix(source: int, target: int, device: torch.device) -> torch.Tensor | None:
    """Weights (target, source) that average the source cells under each target cell by covered length.

    Both rows of cells span the same interval. Rows sum to 1, and means over the interval are kept. None when
    source == target: nothing to do.
    """
    if source == target:
        return None
    edges_in = torch.arange(source + 1, dtype=torch.float64) / source
    edges_out = torch.arange(target + 1, dtype=torch.float64) / target
    return _normalised_overlap(edges_out[:-1], edges_out[1:], edges_in[:-1], edges_in[1:]).float().to(device)


@lru_cache(maxsize=512)
def time_matrix(
    frames: int,
    student_steps: int,
    frames_per_step: int,
    starts: tuple[int, ...],
    length: int,
    tubelet: int,
    device: torch.device,
) -> torch.Tensor | None:
    """Weights (windows * steps, student steps) from student steps to the steps of every teacher window.

    Student step j covers frames [j, j + 1) * frames_per_step, cut off at the clip's end: the frame that a video
    processor repeats to fill the last step is not counted twice. A teacher step that lies wholly in the padding gets
    the last student step, as the teacher's padding repeats the last frame. None when it is the identity.
    """
    step_in = torch.arange(student_steps, dtype=torch.float64) * frames_per_step
    end_in = (step_in + frames_per_step).clamp(max=frames)
    step_out = torch.cat([start + torch.arange(0, length, tubelet, dtype=torch.float64) for start in starts])
    padded = step_out >= frames
    end_out = (step_out + tubelet).clamp(max=frames)
    weights = _normalised_overlap(
        step_out.masked_fill(padded, frames - 1), end_out.masked_fill(padded, frames), step_in, end_in
    ).float()
    if weights.shape[0] == weights.shape[1] and torch.equal(weights, torch.eye(student_steps)):
        return None
    return weights.to(device)


def resample(
    hidden: torch.Tensor, tokens: ClipTokens, frames: int, frames_per_step: int, spec: TeacherSpec
) -> torch.Tensor:
    """One clip's hidden states on the teacher's grid.

    Args:
        hidden: (B, L, C) last hidden states of the batch.
        tokens: Where the clip stands.
        frames: T, real frames of the clip.
        frames_per_step: Frames that one student step covers.
        spec: The teacher's windows and grid.

    Returns:
        (windows * N, C), windows in order, N tokens of the teacher in row-major t, h, w order.
    """
    _, starts = spec.window_starts(frames)
    steps, height, width = tokens.grid
    _, grid_h, grid_w = spec.grid
    device = hidden.device
    clip = hidden.flatten(0, 1).index_select(0, tokens.index).view(steps, height, width, -1)
    return resize_tokens(
        clip,
        time_matrix(frames, steps, frames_per_step, starts, spec.window, spec.tubelet, device),
        overlap_matrix(height, grid_h, device),
        overlap_matrix(width, grid_w, device),
    ).flatten(0, 2)


def resize_tokens(
    tokens: torch.Tensor, time: torch.Tensor | None, height: torch.Tensor | None, width: torch.Tensor | None
) -> torch.Tensor:
    """Applies the three separable matrices to tokens (t, h, w, C); returns (t', h', w', C)."""
    for dim, matrix in enumerate((time, height, width)):
        if matrix is not None:
            matrix = matrix.to(tokens.dtype)
            tokens = torch.tensordot(matrix, tokens, dims=([1], [dim])).movedim(0, dim)
    return tokens


def _normalised_overlap(
    start_out: torch.Tensor, end_out: torch.Tensor, start_in: torch.Tensor, end_in: torch.Tensor
) -> torch.Tensor:
    """Length of the intersection of every output interval with every input interval; rows scaled to sum 1."""
    lower = torch.maximum(start_out[:, None], start_in[None, :])
    upper = torch.minimum(end_out[:, None], end_in[None, :])
    overlap = (upper - lower).clamp(min=0)
    return overlap / overlap.sum(dim=1, keepdim=True)
