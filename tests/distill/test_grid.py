# SPDX-License-Identifier: Apache-2.0
"""Windows and area-correct resizing between token grids, against closed forms and brute force."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rgpt4d_plugin.distill.grid import overlap_matrix, plan_windows, resize_tokens, time_matrix
from rgpt4d_plugin.teachers.base import window_starts
from rgpt4d_plugin.teachers.l4p.config import RELEASED
from rgpt4d_plugin.teachers.l4p.teacher import l4p_spec


CPU = torch.device("cpu")


def test_overlap_matrix_by_hand():
    # Three cells into two: the middle one is shared in halves.
    assert torch.allclose(overlap_matrix(3, 2, CPU), torch.tensor([[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]]))
    assert torch.allclose(overlap_matrix(2, 3, CPU), torch.tensor([[1.0, 0], [0.5, 0.5], [0, 1]]))
    assert overlap_matrix(7, 7, CPU) is None


@given(source=st.integers(1, 40), target=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_resizing_keeps_constants_and_means(source, target):
    if source == target:
        return
    matrix = overlap_matrix(source, target, CPU).double()
    values = torch.randn(source, dtype=torch.float64, generator=torch.Generator().manual_seed(source))
    assert torch.allclose(matrix.sum(1), torch.ones(target, dtype=torch.float64), atol=1e-6)
    assert torch.allclose((matrix @ values).mean(), values.mean(), atol=1e-6)


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("frames", [1, 2, 3, 5, 15, 16, 17, 20, 24, 31, 40])
def test_every_frame_is_owned_once(frames, stride):
    windows = plan_windows(frames, dataclasses.replace(l4p_spec(RELEASED, "L4P"), stride=stride))

    owners = [window.start + f for window in windows for f in range(window.frames.start, window.frames.stop)]
    assert sorted(owners) == list(range(frames))
    # Backward flow exists for every frame that some window sees behind another.
    flow = [w.start + f for w in windows for f in range(w.flow_frames.start, w.flow_frames.stop)]
    assert sorted(flow) == [frame for frame in range(1, frames) if stride == 8 or frame % stride]
    steps = [w.start // 2 + s for w in windows for s in range(w.steps.start, w.steps.stop)]
    assert sorted(steps) == list(range((frames + 1) // 2))


def _brute_force_time(frames, student_steps, per_step, starts, length, tubelet):
    """Each teacher step averages, over its real frames, the student step that each frame belongs to."""
    rows = []
    for start in starts:
        for first in range(start, start + length, tubelet):
            covered = [f for f in range(first, first + tubelet) if f < frames] or [frames - 1]
            row = torch.zeros(student_steps)
            for frame in covered:
                row[frame // per_step] += 1 / len(covered)
            rows.append(row)
    return torch.stack(rows)


@pytest.mark.parametrize("per_step", [1, 2, 4])
@pytest.mark.parametrize("frames", [1, 4, 5, 16, 17, 21, 32])
def test_time_matrix_against_counting_frames(frames, per_step):
    steps = -(-frames // per_step)
    _, starts = window_starts(frames, 16, 8)
    expected = _brute_force_time(frames, steps, per_step, starts, 16, 2)
    found = time_matrix(frames, steps, per_step, starts, 16, 2, CPU)
    if found is None:
        found = torch.eye(steps)
    assert torch.allclose(found, expected)


def test_time_matrix_is_skipped_for_the_released_case():
    # 16 frames, two per step on both sides: the grids agree in time.
    assert time_matrix(16, 8, 2, (0,), 16, 2, CPU) is None


def test_resize_tokens_moves_a_mark_to_the_right_cell():
    # A student grid of 4 x 6 x 10 tokens, marked at (2, 3, 7), lands at a teacher grid of 4 x 3 x 5 in (2, 1, 3).
    tokens = torch.zeros(4, 6, 10, 2)
    tokens[2, 3, 7] = 1
    resized = resize_tokens(tokens, None, overlap_matrix(6, 3, CPU), overlap_matrix(10, 5, CPU))
    assert resized.shape == (4, 3, 5, 2)
    assert (resized[..., 0] > 0).nonzero().tolist() == [[2, 1, 3]]
    assert resized[2, 1, 3, 0] == pytest.approx(1 / 4)
