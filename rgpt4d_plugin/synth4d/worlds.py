# SPDX-License-Identifier: Apache-2.0
"""Random scenes of the benchmark, drawn so that the first frame, and the time between frames, say nothing of a motion.

From where an object starts, each heading and each speed keeps it in view, so all remain as likely as they were before
one saw where it is. Lengths of time do not matter either: paths are drawn for a whole clip, however long it takes.
"""

from collections.abc import Sequence

import numpy as np

from rgpt4d_plugin.synth4d.scene import COLOURS, Body, Scene, wall


_NEAR, _FAR = 3.0, 5.0  # metres at which objects start
_START = 0.3  # share of the view's half in which objects start: the rest is room for their ways
_SHIFT = (0.12, 0.4)  # length of a way across the view, as a share of its half
_TOWARD, _AWAY = (0.62, 0.8), (1.25, 1.5)  # distance at the end, as a share of that at the start


def draw_scene(rng: np.random.Generator, image: tuple[int, int], seconds: float, counts: Sequence[int]) -> Scene:
    """Objects of distinct colours which never touch; a third stands still."""
    height, width = image
    half = np.array([width, height]) / (2 * max(height, width))
    times = np.linspace(0, seconds, 17)[:, None]
    count = int(rng.choice(list(counts)))
    balls: list[Body] = []
    for colour in rng.permutation(list(COLOURS)[:6])[:count]:
        moves = rng.random() < 2 / 3
        heading, along = int(rng.integers(4)), int(rng.integers(-1, 2))
        while True:
            depth = rng.uniform(_NEAR, _FAR)
            start = np.array([*(rng.uniform(-_START, _START, 2) * 2 * half), 1]) * depth
            angle = heading * np.pi / 2 + rng.uniform(-0.4, 0.4)
            shift = rng.uniform(*_SHIFT) * half.min()
            ratio = {0: 1.0, -1: rng.uniform(*_TOWARD), 1: rng.uniform(*_AWAY)}[along]
            end = np.array([*(start[:2] / depth + shift * np.array([np.cos(angle), np.sin(angle)])), 1])
            radius = 0.5 * rng.uniform(0.85, 1.15)
            velocity = (end * depth * ratio - start) / seconds * moves
            path = start + times * velocity
            if all(
                (np.linalg.norm(path - other.centre - times * other.velocity, axis=1) > radius + other.radius).all()
                for other in balls
            ):
                break
        texture = np.concatenate([rng.normal(0, 3.0, (2, 3)), rng.uniform(0, 2 * np.pi, (2, 1))], axis=1)
        balls.append(Body(str(colour), "ball", np.full(3, radius), start, velocity, texture))
    waves = np.concatenate(
        [rng.uniform(-0.9, 0.9, (8, 2)), np.zeros((8, 1)), rng.uniform(0, 1, (8, 1)), rng.uniform(-0.05, 0.05, (8, 3))], axis=1
    )
    return Scene(tuple(balls), wall(float(rng.uniform(8.0, 9.5)), waves))
