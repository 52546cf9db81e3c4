# SPDX-License-Identifier: Apache-2.0
"""Cameras and rigid flow out of rays, against clips whose cameras, depth, flow and motion are exact."""

import pytest
import torch

from rgpt4d_plugin.teachers.composite.motion import cameras_of_rays, motion_logit, rigid_backward_flow
from rgpt4d_plugin.teachers.geometry import pinhole_directions
from tests.teachers.ground_truth.clips import clip_4d


@pytest.fixture(scope="module")
def clip():
    return clip_4d()


@pytest.fixture(scope="module")
def rays(clip):
    """(1, 6, T, H, W): directions of depth 1 and origins in the first camera."""
    poses = torch.from_numpy(clip.poses)
    height, width = clip.depth.shape[1:]
    intrinsics = torch.from_numpy(clip.intrinsics).expand(len(poses), 3, 3)
    local = pinhole_directions(intrinsics, (0, 0, width, height), (height, width))
    direction = torch.einsum("tij,tjhw->tihw", poses[:, :3, :3], local)
    origin = poses[:, :3, 3, None, None].expand_as(direction)
    return torch.cat([direction, origin], dim=1).transpose(0, 1)[None].float()


def test_cameras_are_those_that_the_rays_were_made_with(clip, rays):
    matrices, poses = cameras_of_rays(rays)
    torch.testing.assert_close(poses[0], torch.from_numpy(clip.poses).float(), atol=1e-4, rtol=0)
    expected = torch.from_numpy(clip.poses[:, :3, :3] @ torch.linalg.inv(torch.from_numpy(clip.intrinsics)).numpy())
    torch.testing.assert_close(matrices[0], expected.float(), atol=1e-5, rtol=0)


def test_a_camera_survives_rays_with_noise(clip, rays):
    noisy = rays + 0.01 * torch.randn(rays.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cameras_of_rays(noisy)[1][0], torch.from_numpy(clip.poses).float(), atol=5e-3, rtol=0)


def test_rigid_flow_is_the_flow_of_what_stands_still(clip, rays):
    rigid = rigid_backward_flow(rays, torch.from_numpy(clip.depth)[None], *cameras_of_rays(rays))
    flow = torch.from_numpy(clip.flow_2d_backward).transpose(0, 1)[None]
    still = ~torch.from_numpy(clip.motion)[None, None].expand_as(flow)
    torch.testing.assert_close(rigid[still], flow[still], atol=2e-3, rtol=0)
    assert not rigid[:, :, 0].any()
    # What differs is what moves by itself, as far as it moves by more than the threshold.
    logit = motion_logit(flow, rigid, threshold=0.25)[0, 0]
    moves = torch.from_numpy(clip.motion)
    assert (logit[~moves] < -3.8).all()
    assert (logit[1:][moves[1:]] > 0).float().mean() > 0.9


def test_the_logit_is_even_at_the_threshold_and_bounded():
    flow = torch.tensor([0.0, 1.0, 2.0, 4.0, 100.0]).view(1, 1, 1, 1, 5).expand(1, 2, 1, 1, 5) * torch.tensor(
        [1.0, 0.0]
    ).view(1, 2, 1, 1, 1)
    assert motion_logit(flow, torch.zeros_like(flow), 2.0).flatten().tolist() == [-4, -2, 0, 4, 4]
