# SPDX-License-Identifier: Apache-2.0
"""Cameras as maps, against rotations and rays made by hand."""

import math

import numpy as np
import pytest
import torch

from rgpt4d_plugin.synth4d.scene import Camera, camera_rays, intrinsics_for
from rgpt4d_plugin.teachers.geometry import (
    pinhole_directions,
    plucker_rays,
    pose_map,
    quaternions,
    relative_to_first,
)


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.5, 3.0, -2.0])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0.6, 0, -0.8)])
def test_quaternions_are_half_the_angle(angle, axis):
    turn = torch.from_numpy(Camera(turn=np.array(axis) * angle).poses(np.array([1.0])))[:, :3, :3]
    expected = torch.tensor([math.cos(angle / 2), *(math.sin(angle / 2) * part for part in axis)], dtype=torch.float64)
    expected = -expected if expected[0] < 0 else expected
    torch.testing.assert_close(quaternions(turn)[0], expected, atol=1e-12, rtol=0)


def test_poses_are_relative_to_the_first_camera_of_a_window():
    world = torch.from_numpy(Camera(np.array([0.1, 0.2, -0.3]), np.array([0.2, -0.1, 0.4])).poses(np.arange(5.0)))
    moved = world[3] @ world  # the same cameras in another world
    first, second = (pose_map(relative_to_first(poses)) for poses in (world, moved))
    torch.testing.assert_close(first, second)
    assert first.shape == (7, 5, 1, 1)
    assert first[:, 0].flatten().tolist() == pytest.approx([1, 0, 0, 0, 0, 0, 0])
    torch.testing.assert_close(first[4:, :, 0, 0].T, world[:, :3, 3])


def test_rays_are_those_of_the_synthetic_clips():
    poses = Camera(np.array([0.1, 0.2, -0.3]), np.array([0.2, -0.1, 0.4])).poses(np.arange(3.0))
    matrix = intrinsics_for(48, 80)
    directions = pinhole_directions(torch.from_numpy(matrix).expand(3, 3, 3), (0, 0, 80, 48), (6, 10))
    found = plucker_rays(torch.from_numpy(poses), directions)
    expected = torch.from_numpy(camera_rays(poses, matrix, (48, 80), (6, 10))).transpose(0, 1)
    torch.testing.assert_close(found.float(), expected)


def test_rays_of_a_part_of_the_image_are_those_of_its_pixels():
    matrix = torch.from_numpy(intrinsics_for(48, 80)).expand(1, 3, 3)
    whole = pinhole_directions(matrix, (0, 0, 80, 48), (48, 80))
    torch.testing.assert_close(pinhole_directions(matrix, (16, 8, 48, 40), (32, 32)), whole[..., 8:40, 16:48])
