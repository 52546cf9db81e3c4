# SPDX-License-Identifier: Apache-2.0
"""Scenes of the benchmark: objects stay apart, in the room and in view, whichever way they had been drawn to take.

python -m pytest tests/synth4d/test_worlds.py
"""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from rgpt4d_plugin.synth4d.worlds import CAMERAS, LEVELS, NAMED, PROFILES, World, draw_scene


SIZES = ((48, 48), (80, 144), (128, 96))


@pytest.fixture(scope="module")
def drawn():
    return [draw_scene(np.random.default_rng(seed), SIZES[seed % 3], 4.0, World()) for seed in range(60)]


def in_camera(scene, times, places):
    """(T, N, 3) of places (T, N, 3) in the world."""
    poses = scene.camera.poses(times)
    return np.einsum("tij,tni->tnj", poses[:, :3, :3], places - poses[:, None, :3, 3])


@pytest.mark.slow
def test_every_kind_occurs_and_colours_are_distinct(drawn):
    assert {kind for *_, kind in drawn} == set(CAMERAS)
    assert {len(scene.bodies) for scene, *_ in drawn} == {2, 3, 4, 5, 6}
    assert {body.shape for scene, *_ in drawn for body in scene.bodies} == {"ball", "box", "disc"}
    assert {way.profile for _, ways, _ in drawn for way in ways} == set(PROFILES)
    for scene, ways, kind in drawn:
        colours = [body.colour for body in scene.bodies]
        assert len(set(colours)) == len(colours) and set(colours) <= set(NAMED)
        assert [body.moves for body in scene.bodies] == [way.moves for way in ways]
        assert scene.camera.moves == (kind != "static")


def test_bodies_never_touch_and_stay_in_the_room_and_in_view(drawn):
    times = np.linspace(0, 4, 33)
    for seed, (scene, *_) in enumerate(drawn):
        places = np.stack([body.poses(times)[:, :3, 3] for body in scene.bodies], axis=1)
        for (i, one), (j, other) in combinations(enumerate(scene.bodies), 2):
            # Drawn at every second of these times, so between them a little less than apart is possible.
            assert np.linalg.norm(places[:, i] - places[:, j], axis=1).min() > 0.97 * (one.radius + other.radius)
        radii = np.array([body.radius for body in scene.bodies])[:, None]
        assert (places - radii > scene.room.low).all() and (places + radii < scene.room.high).all()
        local = in_camera(scene, times, places)
        half = np.array(SIZES[seed % 3])[::-1] / (2 * max(SIZES[seed % 3]))
        assert (np.abs(local[..., :2]) < half * local[..., 2:]).all() and local[..., 2].min() > 1


def test_every_way_that_could_have_been_drawn_stays_in_view_too(drawn):
    """Or else where an object starts would tell where it goes."""
    for seed, (scene, ways, _) in enumerate(drawn):
        half = np.array(SIZES[seed % 3])[::-1] / (2 * max(SIZES[seed % 3]))
        for way in ways:
            ends = [way.shift(h, level, a) for h in range(4) for level in range(len(LEVELS)) for a in (-1, 0, 1)]
            local = in_camera(scene, np.array([4.0]), way.start + np.array(ends)[None])
            assert (np.abs(local[..., :2]) < half * local[..., 2:]).all()


def test_profiles_end_alike_and_differ_on_the_way(drawn):
    way = replace(next(way for _, ways, _ in drawn for way in ways if way.moves), profile="even")
    times = np.array([0, 1, 2, 3, 4.0])[:, None]
    shares = {}
    for profile in PROFILES:
        velocity, acceleration = replace(way, profile=profile).motion(4.0)
        path = times * velocity + times**2 / 2 * acceleration
        shares[profile] = path @ way.shift() / (way.shift() @ way.shift())
    np.testing.assert_allclose(shares["even"], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(shares["faster"], [0, 1 / 16, 1 / 4, 9 / 16, 1])
    np.testing.assert_allclose(shares["slower"], 1 - shares["faster"][::-1])
    np.testing.assert_allclose(shares["back"], [0, 0.75, 1, 0.75, 0], atol=1e-12)


def test_a_way_is_as_long_however_long_the_clip_is():
    for camera in CAMERAS:
        short, long = (
            draw_scene(np.random.default_rng(3), (48, 48), seconds, World(cameras=(camera,)))[0]
            for seconds in (2.0, 8.0)
        )
        np.testing.assert_allclose(short.camera.poses(np.array([2.0])), long.camera.poses(np.array([8.0])))
        for a, b in zip(short.bodies, long.bodies):
            np.testing.assert_allclose(a.poses(np.array([2.0])), b.poses(np.array([8.0])))
