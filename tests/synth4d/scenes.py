# SPDX-License-Identifier: Apache-2.0
"""Scenes whose geometry is easily worked out by hand."""

import numpy as np

from rgpt4d_plugin.synth4d.scene import Body, Camera, Scene, wall


def ball(centre, velocity=(0, 0, 0), colour="red", radius=0.5) -> Body:
    """A ball of constant velocity."""
    size, texture = np.full(3, radius), np.ones((2, 4))
    return Body(colour, "ball", size, np.array(centre, float), np.array(velocity, float), texture)


def scene(*bodies, velocity=(0, 0, 0), depth=8.0) -> Scene:
    """Bodies before a wall, and a camera of constant velocity."""
    waves = np.array([[0.5, 0.2, 0, 0.1, 0.05, 0.03, -0.04], [-0.3, 0.6, 0, 0.4, -0.04, 0.05, 0.02]])
    return Scene(bodies, wall(depth, waves), Camera(np.array(velocity, float)))
