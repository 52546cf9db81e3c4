# SPDX-License-Identifier: Apache-2.0
"""The renderer against naive geometry: closed forms, point-by-point reprojection, tracks, a picture of twice the size.

python -m pytest tests/synth4d/test_render.py
"""

from dataclasses import replace

import numpy as np
import pytest

from rgpt4d_plugin.synth4d.balls import sample_scene
from rgpt4d_plugin.synth4d.render import follow, render
from rgpt4d_plugin.synth4d.scene import COLOURS, Body, Camera, Room, Scene, intrinsics_for, rotations
from tests.synth4d.scenes import ball, scene


WAVES = np.random.default_rng(7).uniform(-0.5, 0.5, (6, 7)) * [1, 1, 0.3, 1, 0.1, 0.1, 0.1]
CAMERAS = {
    "static": Camera(),
    "pan": Camera(turn=np.array([0.02, -0.06, 0.01])),
    "dolly": Camera(np.array([0.1, -0.05, 0.3])),
    "orbit": Camera(turn=np.array([0, 0.1, 0]), pivot=4.0),
    "hand-held": Camera(sway=np.array([[0.7, 0.1, 0.02, 0.01, 0.02, 0.03, 0.01, 0.02], [1.3, 0.6, *[0.01] * 6]])),
}
SHAPES = ("ball", "box", "disc")


def room_of_all(camera: Camera) -> Scene:
    """One moving and turning body of each shape, one of which passes before another, in a room with all its walls."""
    bodies = tuple(
        Body(
            colour,
            shape,
            np.array([0.5, 0.5, 0.5]) if shape == "ball" else np.array([0.5, 0.4, 0.3]),
            np.array([x, 0.1 * x, z]),
            np.array(velocity),
            np.random.default_rng(index).normal(size=(2, 4)),
            acceleration=np.array([0.02, -0.03, 0.01]),
            attitude=rotations(np.array([[0.4, 0.3, 0.2]]))[0],
            turn=np.array(turn),
        )
        for index, (shape, colour, x, z, velocity, turn) in enumerate(
            (
                ("ball", "red", -0.6, 3.5, (0.2, 0.02, 0.1), (0.1, 0.2, 0.3)),
                ("box", "green", 0.5, 4.5, (-0.1, 0.05, 0.0), (0.0, 0.1, 0.25)),
                ("disc", "blue", 0.4, 3.0, (0.0, 0.1, -0.02), (0.0, 0.0, -0.3)),
            )
        )
    )
    return Scene(bodies, Room(np.array([-3.0, -1.6, -1.0]), np.array([2.5, 1.5, 7.0]), WAVES), camera)


@pytest.fixture(scope="module", params=CAMERAS)
def clip(request):
    return render(room_of_all(CAMERAS[request.param]), 6, 48, 80, fps=2.0, ray_grid=(6, 10))


def world_points(clip, time):
    """(H, W, 3) points that the pixels of a frame see."""
    y, x = np.mgrid[:48, :80]
    local = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(clip.intrinsics).T
    return clip.depth[time][..., None] * local @ clip.poses[time, :3, :3].T + clip.poses[time, :3, 3]


def in_body(clip, index, time, points):
    pose = clip.scene.bodies[index].poses(clip.timestamps[[time]])[0]
    return (points - pose[:3, 3]) @ pose[:3, :3]


def test_shapes_and_types_of_a_non_square_clip(clip):
    assert clip.frames.shape == (6, 48, 80, 3) and clip.frames.dtype == np.uint8
    assert clip.depth.shape == (6, 48, 80) and clip.depth.dtype == np.float32
    for flow in (clip.flow_2d_backward, clip.flow_2d_forward):
        assert flow.shape == (6, 2, 48, 80) and flow.dtype == np.float32
    assert clip.motion.shape == (6, 48, 80) and clip.motion.dtype == bool
    assert clip.camray.shape == (6, 6, 6, 10) and clip.camray.dtype == np.float32
    np.testing.assert_allclose(clip.timestamps, np.arange(6) / 2)
    np.testing.assert_allclose(clip.poses[0], np.eye(4), atol=1e-15)
    assert set(np.unique(clip.instance)) == {-1, 0, 1, 2}


def test_depth_of_a_wall_and_of_a_ball_in_closed_form():
    wall = render(scene(), 2, 32, 32)
    # Depth is along the optical axis, so a fronto-parallel wall has one depth, also in the corners.
    np.testing.assert_allclose(wall.depth, 8.0, rtol=1e-6)

    # An odd size has a pixel exactly on the axis, which sees the point of the ball nearest to the camera.
    centred = render(scene(ball((0, 0, 4), (0, 0, 1))), 3, 33, 33, fps=2.0)
    np.testing.assert_allclose(centred.depth[:, 16, 16], [3.5, 4.0, 4.5], rtol=1e-6)


def test_camera_coming_closer_to_the_wall():
    clip = render(scene(velocity=(0, 0, 1)), 2, 33, 33, fps=1.0)
    np.testing.assert_allclose(clip.depth[1], 7.0, rtol=1e-6)
    # A pixel x away from the centre was x * 7 / 8 away before: everything flows outwards, so back inwards.
    x = np.arange(33) - 16
    np.testing.assert_allclose(clip.flow_2d_backward[1, 0, 16], x * 7 / 8 - x, atol=1e-5)
    np.testing.assert_allclose(clip.flow_2d_forward[0, 0, 16], x * 8 / 7 - x, atol=1e-5)


def test_flow_points_to_where_the_ball_was():
    clip = render(scene(ball((0, 0, 4), (1, -0.5, 0))), 2, 33, 33, fps=1.0)
    at_ball = clip.instance[1] == 0
    # Velocity without a change of depth moves each visible point by focal * velocity / its depth.
    expected = -33 * np.array([1, -0.5])[:, None] / clip.depth[1][at_ball]
    np.testing.assert_allclose(clip.flow_2d_backward[1][:, at_ball], expected, rtol=1e-5)
    np.testing.assert_allclose(clip.flow_2d_backward[1][:, ~at_ball], 0, atol=1e-6)
    np.testing.assert_array_equal(clip.flow_2d_backward[0], 0)
    np.testing.assert_array_equal(clip.flow_2d_forward[1], 0)


def test_points_lie_on_the_surface_of_what_is_seen_and_on_the_side_that_faces_the_camera(clip):
    for time in range(6):
        points = world_points(clip, time)
        rays = points - clip.poses[time, :3, 3]
        for index, body in enumerate(clip.scene.bodies):
            mine = clip.instance[time] == index
            local = in_body(clip, index, time, points[mine])
            way = rays[mine] @ body.poses(clip.timestamps[[time]])[0, :3, :3]
            if body.shape == "ball":
                normal = local / 0.5
                np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-5)
            elif body.shape == "box":
                share = local / body.size
                normal = np.where(np.abs(share) > 1 - 1e-5, np.sign(share), 0)
                np.testing.assert_allclose(np.abs(share).max(axis=1), 1, atol=1e-5)
            else:
                normal = np.array([0, 0, 1]) * -np.sign(way[:, 2:])
                np.testing.assert_allclose(local[:, 2], 0, atol=1e-5)
                assert np.linalg.norm(local, axis=1).max() <= 0.5
            if body.shape != "box":  # at an edge of a box one of two sides may face away
                assert ((normal * way).sum(axis=1) < 1e-3).all()
            else:
                assert ((normal * way).min(axis=1) < 0).all()
        share = points[clip.instance[time] < 0]
        low, high = clip.scene.room.low, clip.scene.room.high
        outside = np.maximum(low - share, share - high)
        np.testing.assert_allclose(outside.max(axis=1), 0, atol=1e-5)


def test_no_ray_passes_through_a_body_unseen(clip):
    """Nothing of a ball or box is before what a pixel shows: none of many points on the way there is inside of it."""
    for time in (0, 3, 5):
        points = world_points(clip, time)[::2, ::2].reshape(-1, 3)
        start = clip.poses[time, :3, 3]
        way = start + np.linspace(0.2, 0.998, 150)[:, None, None] * (points - start)
        for index, body in enumerate(clip.scene.bodies):
            local = in_body(clip, index, time, way)
            if body.shape == "ball":
                assert np.linalg.norm(local, axis=-1).min() > 0.499
            elif body.shape == "box":
                assert np.abs(local / body.size).max(axis=-1).min() > 0.99
            else:
                crossed = np.sign(local[:-1, :, 2]) != np.sign(local[1:, :, 2])
                before, after = local[:-1][crossed], local[1:][crossed]
                there = before + (before[:, 2] / (before[:, 2] - after[:, 2]))[:, None] * (after - before)
                assert (np.linalg.norm(there[:, :2] / body.size[:2], axis=-1) > 0.999).all()


def test_a_body_hides_what_is_behind_it(clip):
    """The ray to each body's middle ends there, or before it at another's surface."""
    for index, body in enumerate(clip.scene.bodies):
        centres = body.poses(clip.timestamps)[:, :3, 3]
        for time, centre in enumerate(centres):
            x, y, z = clip.poses[time, :3, :3].T @ (centre - clip.poses[time, :3, 3])
            column, row = (clip.intrinsics @ [x / z, y / z, 1])[:2].round().astype(int)
            if clip.instance[time, row, column] == index:
                assert clip.depth[time, row, column] < z + 0.05  # a disc's middle is its surface
            else:
                assert clip.depth[time, row, column] < z

    nearer = render(scene(ball((0, 0, 5), radius=1.0), ball((0, 0, 2.5), colour="blue", radius=0.3)), 2, 33, 33)
    assert nearer.instance[0, 16, 16] == 1 and nearer.depth[0, 16, 16] == pytest.approx(2.2, rel=1e-6)
    red, _, blue = nearer.frames[0, 16, 16]
    assert blue > red


@pytest.mark.parametrize("step", [-1, 1])
def test_flow_by_reprojection(clip, step):
    k, flow = clip.intrinsics, clip.flow_2d_backward if step < 0 else clip.flow_2d_forward
    y, x = np.mgrid[:48, :80]
    for time in range(max(0, -step), 6 - max(0, step)):
        points = world_points(clip, time)
        for index, body in enumerate(clip.scene.bodies):
            mine = clip.instance[time] == index
            pose = body.poses(clip.timestamps)[time + step]
            points[mine] = in_body(clip, index, time, points[mine]) @ pose[:3, :3].T + pose[:3, 3]
        local = (points - clip.poses[time + step, :3, 3]) @ clip.poses[time + step, :3, :3]
        there = local @ k.T
        expected = there[..., :2] / there[..., 2:] - np.stack([x, y], axis=-1)
        # float32 depth of a few metres through a focal length of 80 pixels.
        np.testing.assert_allclose(flow[time].transpose(1, 2, 0), expected, atol=1e-4)


def test_tracks_begin_at_their_pixels_and_go_with_the_flow(clip):
    queries = np.argwhere(np.ones((6, 48, 80), bool))[::37]
    places, seen = follow(clip, queries)
    each, (time, row, column) = np.arange(len(queries)), queries.T
    np.testing.assert_allclose(places[each, time], queries[:, :0:-1], atol=1e-4)
    assert seen[each, time].all()
    for step, flow in ((-1, clip.flow_2d_backward), (1, clip.flow_2d_forward)):
        inside = (time + step >= 0) & (time + step < 6)
        found = places[each[inside], time[inside] + step]
        expected = queries[inside, :0:-1] + flow[time[inside], :, row[inside], column[inside]]
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_track_is_seen_where_its_own_depth_is(clip):
    """Where all pixels around a track show the same thing, what they show decides."""
    queries = np.argwhere(np.ones((6, 48, 80), bool))[::53]
    places, seen = follow(clip, queries)
    own = clip.instance[tuple(queries.T)]
    hidden = 0
    for number, time in np.ndindex(seen.shape):
        column, row = places[number, time].round().astype(int)
        if not (1 <= column < 79 and 1 <= row < 47):
            continue
        around = clip.instance[time, row - 1 : row + 2, column - 1 : column + 2]
        if (around == around[0, 0]).all() and around[0, 0] != own[number]:
            assert not seen[number, time]
            hidden += 1
        elif (around == own[number]).all() and own[number] < 0:
            assert seen[number, time]
    assert hidden > 20 and not seen[(places[..., 0] > 80) | (places[..., 0] < -1)].any()


def test_flow_explains_the_picture():
    clip = render(sample_scene(np.random.default_rng(11), 48, 80), 8, 48, 80, fps=1.0)
    assert clip.scene.camera.moves and clip.motion.any()
    frames = clip.frames.astype(float)
    t, (y, x) = 4, np.mgrid[0:48, 0:80]
    u, v = clip.flow_2d_backward[t]
    column, row = np.rint(x + u).astype(int), np.rint(y + v).astype(int)
    inside = (column >= 0) & (column < 80) & (row >= 0) & (row < 48)
    same = inside.copy()
    same[inside] = clip.instance[t - 1][row[inside], column[inside]] == clip.instance[t][inside]
    warped = np.abs(frames[t - 1][row[same], column[same]] - frames[t][same]).mean()
    unwarped = np.abs(frames[t - 1][same] - frames[t][same]).mean()
    assert warped < 0.75 * unwarped


def test_outlines_are_averages_of_a_picture_of_twice_the_size(clip):
    twice = render(clip.scene, 6, 96, 160, fps=2.0)
    averaged = twice.frames.reshape(6, 48, 2, 80, 2, 3).mean(axis=(2, 4))
    edges = np.zeros(clip.instance.shape, bool)
    edges[:, 1:] |= clip.instance[:, 1:] != clip.instance[:, :-1]
    edges[:, :, 1:] |= clip.instance[:, :, 1:] != clip.instance[:, :, :-1]
    nearest = twice.frames[:, ::2, ::2]
    error, unaveraged = (
        np.abs(found[edges] - averaged[edges]).mean() for found in (clip.frames, nearest.astype(float))
    )
    assert error < 8 and error < unaveraged / 2  # the larger picture's own outlines are averages too


def test_motion_is_that_of_the_object_and_not_of_the_camera():
    moving, still = ball((-1, 0, 4), (0.2, 0, 0)), ball((1, 0, 4), colour="blue")
    turning = replace(ball((0, 1, 4), colour="green", radius=0.3), turn=np.array([0, 0, 0.5]))
    clip = render(scene(moving, still, turning, velocity=(0.3, 0, 0)), 3, 32, 48)
    np.testing.assert_array_equal(clip.motion, (clip.instance == 0) | (clip.instance == 2))
    assert (clip.instance == 1).any() and np.abs(clip.flow_2d_backward[1:][:, :, ~clip.motion[1]]).max() > 0.1
    assert turning.turns and not turning.moves and moving.moves


def test_rays_are_pixel_centres_of_a_small_image(clip):
    k, (rows, columns) = intrinsics_for(48, 80), (6, 10)
    for t, i, j in ((0, 0, 0), (3, 5, 9), (5, 2, 4)):
        # Centre of grid cell (i, j) in the coordinates of the full image.
        x, y = (j + 0.5) * 80 / columns - 0.5, (i + 0.5) * 48 / rows - 0.5
        direction = clip.poses[t, :3, :3] @ np.linalg.inv(k) @ np.array([x, y, 1])
        direction /= np.linalg.norm(direction)
        moment = np.cross(clip.poses[t, :3, 3], direction)
        np.testing.assert_allclose(clip.camray[t, :, i, j], np.concatenate([direction, moment]), atol=1e-6)
    assert np.abs(clip.camray[0, 3:]).max() < 1e-15  # the first camera is the origin


def test_an_orbit_keeps_its_distance_to_the_pivot_and_a_turn_is_that_of_a_clock():
    poses = CAMERAS["orbit"].poses(np.arange(4.0))
    np.testing.assert_allclose(np.linalg.norm(poses[:, :3, 3] - [0, 0, 4], axis=1), 4)
    # As seen along z, with y down, a positive turn around z carries right (x) to down (y).
    np.testing.assert_allclose(rotations(np.array([[0, 0, np.pi / 2]]))[0] @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_same_seed_same_scene_and_balls_stay_apart_and_in_view():
    for seed in range(20):
        first, second = (render(sample_scene(np.random.default_rng(seed), 32, 48), 4, 32, 48) for _ in range(2))
        np.testing.assert_array_equal(first.frames, second.frames)
        np.testing.assert_array_equal(first.flow_2d_backward, second.flow_2d_backward)
        colours = [ball.colour for ball in first.scene.bodies]
        assert 2 <= len(colours) <= 3 and len(set(colours)) == len(colours) and set(colours) <= set(COLOURS)
        assert 0.5 < first.depth.min()
    with pytest.raises(ValueError, match="at most 3 times"):
        sample_scene(np.random.default_rng(0), 16, 64)


def test_a_longer_clip_shows_the_same_paths_more_slowly():
    short, long = (sample_scene(np.random.default_rng(3), seconds=seconds) for seconds in (2.0, 8.0))
    for a, b in zip(short.bodies, long.bodies):
        np.testing.assert_allclose(a.velocity * 2, b.velocity * 8)
    np.testing.assert_allclose(short.camera.turn * 2, long.camera.turn * 8)
