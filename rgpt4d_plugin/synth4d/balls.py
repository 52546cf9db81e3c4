# SPDX-License-Identifier: Apache-2.0
"""Random scenes of the demo: a few balls before a wall. The small teacher of the wheel was trained on them."""

import numpy as np

from rgpt4d_plugin.synth4d.scene import COLOURS, Body, Camera, Scene, wall


_NEAREST, _FARTHEST = 1.6, 6.5  # metres a ball's centre may reach
_REFERENCE = 2.0  # seconds for which the speeds below are drawn


def sample_scene(
    rng: np.random.Generator, height: int = 64, width: int = 64, seconds: float = 8.0, max_balls: int = 3
) -> Scene:
    """Draw two to `max_balls` balls of distinct colours which stay in view and never touch during `seconds`.

    A quarter of the balls stand still and half of the cameras do, so that motion is something to be found out. The
    paths are those of a clip of two seconds; a longer clip shows them more slowly.
    """
    if max(height, width) > 3 * min(height, width):
        raise ValueError(f"The longer side may be at most 3 times the shorter, found {height} x {width}.")
    pace = _REFERENCE / seconds
    half = np.array([width, height]) / (2 * max(height, width))  # tangent of the half field of view, x and y
    camera = Camera()
    if rng.random() < 0.5:
        velocity = _random_direction(rng) * rng.uniform(0.12, 0.35) * pace
        camera = Camera(velocity, _random_direction(rng) * [1, 1, 0.3] * rng.uniform(0.06, 0.24) * half.min() * pace)

    times = np.linspace(0, seconds, 9)[:, None]
    poses = camera.poses(times[:, 0])
    count = int(rng.integers(2, max_balls + 1))
    balls: list[Body] = []
    for colour in rng.permutation(list(COLOURS))[:count]:
        # The kind of motion is drawn once: redrawing it would favour balls that stand still or fly away, because
        # they are rejected least.
        moves = rng.random() < 0.75
        heading, along = rng.integers(4) * np.pi / 2, rng.choice([-1.0, 0.0, 1.0])
        while True:
            z = rng.uniform(_NEAREST, _FARTHEST)
            centre = np.array([*(rng.uniform(-0.85, 0.85, 2) * half * z), z])
            radius = float(rng.uniform(0.4, 0.62))
            # Mostly along an image axis, so that "left" or "up" is a fair answer; speed grows with distance, because
            # it is the displacement in pixels that a network at 64 pixels can see.
            angle = heading + rng.uniform(-0.45, 0.45)
            speed = z * rng.uniform(0.2, 0.8) * half.min()
            velocity = np.array([np.cos(angle) * speed, np.sin(angle) * speed, along * rng.uniform(0.4, 1.2)])
            velocity *= pace * moves
            path = centre + times * velocity
            seen = np.einsum("tij,ti->tj", poses[:, :3, :3], path - poses[:, :3, 3])  # in each frame's own camera
            in_view = np.all(np.abs(seen[:, :2]) < 0.85 * half * seen[:, 2:])
            in_range = np.all((seen[:, 2] > _NEAREST) & (seen[:, 2] < _FARTHEST))
            apart = all(
                np.all(np.linalg.norm(path - other.centre - times * other.velocity, axis=1) > radius + other.radius)
                for other in balls
            )
            if in_view and in_range and apart:
                break
        texture = np.concatenate([rng.normal(0, 3.0, (2, 3)), rng.uniform(0, 2 * np.pi, (2, 1))], axis=1)
        balls.append(Body(str(colour), "ball", np.full(3, radius), centre, velocity, texture))

    waves = np.concatenate(
        [
            rng.uniform(-0.9, 0.9, (8, 2)),
            np.zeros((8, 1)),
            rng.uniform(0, 1, (8, 1)),
            rng.uniform(-0.05, 0.05, (8, 3)),
        ],
        axis=1,
    )
    return Scene(tuple(balls), wall(float(rng.uniform(7.5, 9.5)), waves), camera)


def _random_direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)
