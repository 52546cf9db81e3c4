# SPDX-License-Identifier: Apache-2.0
"""Scenes: rigid objects in a room, seen by a moving camera. Where everything is at any time follows in closed form.

World frame = frame of the first camera: x right, y down, z forward, metres; times in seconds from the first frame.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np


Shape = Literal["ball", "box", "disc"]
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.92, 0.16, 0.14),
    "green": (0.16, 0.78, 0.22),
    "blue": (0.18, 0.34, 0.95),
    "yellow": (0.95, 0.86, 0.16),
    "purple": (0.70, 0.22, 0.85),
    "orange": (0.98, 0.55, 0.10),
    "cyan": (0.15, 0.85, 0.88),
    "white": (0.95, 0.95, 0.95),
}


def _zeros() -> np.ndarray:
    return np.zeros(3)


@dataclass(frozen=True)
class Body:
    """A rigid object of one colour. Its own frame has the origin in its middle.

    Attributes:
        colour: One of `COLOURS`.
        shape: A disc is flat, and faces along the z axis of its own frame.
        size: (3,) half its extent along its own axes, metres; of a disc, the third counts for nothing.
        centre: (3,) at time 0.
        velocity: (3,) at time 0, m/s.
        texture: (2, 4) for two waves over the surface, a wave vector (of points as shares of `size`) and a phase.
        acceleration: (3,) m/s^2.
        attitude: (3, 3) rotation from its own frame to the world at time 0.
        turn: (3,) rotation vector per second, rad/s, in the world.
    """

    colour: str
    shape: Shape
    size: np.ndarray
    centre: np.ndarray
    velocity: np.ndarray
    texture: np.ndarray
    acceleration: np.ndarray = field(default_factory=_zeros)
    attitude: np.ndarray = field(default_factory=lambda: np.eye(3))
    turn: np.ndarray = field(default_factory=_zeros)

    @property
    def moves(self) -> bool:
        """Whether it changes its place by itself; camera motion does not count, nor does turning on the spot."""
        return bool(np.any(self.velocity != 0) or np.any(self.acceleration != 0))

    @property
    def turns(self) -> bool:
        """Whether it turns by itself."""
        return bool(np.any(self.turn != 0))

    @property
    def radius(self) -> float:
        """Of the ball around its middle that holds all of it."""
        return float({"ball": self.size.max(), "box": np.linalg.norm(self.size), "disc": self.size[0]}[self.shape])

    def poses(self, times: np.ndarray) -> np.ndarray:
        """Own frame to world, (T, 4, 4)."""
        poses = np.tile(np.eye(4), (len(times), 1, 1))
        poses[:, :3, :3] = rotations(times[:, None] * self.turn) @ self.attitude
        times = times[:, None]
        poses[:, :3, 3] = self.centre + times * self.velocity + times**2 / 2 * self.acceleration
        return poses


@dataclass(frozen=True)
class Camera:
    """A camera that is at the world's origin at time 0, and looks along z.

    Attributes:
        velocity: (3,) m/s: a dolly.
        turn: (3,) rotation vector per second, rad/s: a pan.
        pivot: Metres ahead of the point about which it turns, 0 for itself: an orbit.
        sway: (n, 8) for n waves: cycles per second and phase, then amplitudes of the rotation vector (rad) and of the
            position (m): a hand.
    """

    velocity: np.ndarray = field(default_factory=_zeros)
    turn: np.ndarray = field(default_factory=_zeros)
    pivot: float = 0.0
    sway: np.ndarray = field(default_factory=lambda: np.zeros((0, 8)))

    @property
    def moves(self) -> bool:
        """Whether it moves or turns."""
        return bool(np.any(self.velocity != 0) or np.any(self.turn != 0) or len(self.sway))

    def poses(self, times: np.ndarray) -> np.ndarray:
        """Camera to world, (T, 4, 4); the identity at time 0."""
        phase = 2 * np.pi * (times[:, None] * self.sway[:, 0] + self.sway[:, 1])
        swayed = (np.sin(phase) - np.sin(2 * np.pi * self.sway[:, 1])) @ self.sway[:, 2:]
        poses = np.tile(np.eye(4), (len(times), 1, 1))
        poses[:, :3, :3] = rotations(times[:, None] * self.turn + swayed[:, :3])
        around = np.array([0, 0, self.pivot])
        poses[:, :3, 3] = times[:, None] * self.velocity + around - poses[:, :3, :3] @ around + swayed[:, 3:]
        return poses


@dataclass(frozen=True)
class Room:
    """A box around everything, of which the inside is seen; sides may be infinitely far away.

    Attributes:
        low: (3,) its least coordinates.
        high: (3,) its greatest, so `high[2]` is the distance of the wall that the first camera faces.
        waves: (n, 7) of its texture: wave vector (cycles per metre), phase (cycles), amplitudes of red, green, blue.
    """

    low: np.ndarray
    high: np.ndarray
    waves: np.ndarray


@dataclass(frozen=True)
class Scene:
    """All that a clip shows."""

    bodies: tuple[Body, ...]
    room: Room
    camera: Camera = field(default_factory=Camera)


def wall(depth: float, waves: np.ndarray) -> Room:
    """A room of which only the wall ahead is near."""
    return Room(np.full(3, -np.inf), np.array([np.inf, np.inf, depth]), waves)


def rotations(vectors: np.ndarray) -> np.ndarray:
    """Matrices (T, 3, 3) of rotation vectors (T, 3) in radians, by Rodrigues' formula."""
    angles = np.linalg.norm(vectors, axis=-1)
    x, y, z = (vectors / np.where(angles > 0, angles, 1)[:, None]).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)
    angles = angles[:, None, None]
    return np.eye(3) + np.sin(angles) * cross + (1 - np.cos(angles)) * (cross @ cross)


def intrinsics_for(height: int, width: int) -> np.ndarray:
    """Pinhole matrix (3, 3) in pixels: the focal length is the longer side (53 degrees), the centre is the middle."""
    focal = float(max(height, width))
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def camera_rays(
    poses: np.ndarray, intrinsics: np.ndarray, image: tuple[int, int], grid: tuple[int, int]
) -> np.ndarray:
    """Direction and moment (T, 6, h, w) of the ray through each pixel centre of an image of the grid's size.

    The grid is treated as a smaller image of the same field of view, so c_grid = (c + 0.5) * n_grid / n - 0.5.
    """
    (height, width), (rows, columns) = image, grid
    scale_x, scale_y = columns / width, rows / height
    j, i = np.meshgrid(np.arange(columns), np.arange(rows))
    x = (j - ((intrinsics[0, 2] + 0.5) * scale_x - 0.5)) / (intrinsics[0, 0] * scale_x)
    y = (i - ((intrinsics[1, 2] + 0.5) * scale_y - 0.5)) / (intrinsics[1, 1] * scale_y)
    local = np.stack([x, y, np.ones_like(x)], axis=-1)
    direction = np.einsum("tij,hwj->thwi", poses[:, :3, :3], local)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    moment = np.cross(poses[:, None, None, :3, 3], direction)
    return np.concatenate([direction, moment], axis=-1).transpose(0, 3, 1, 2).astype(np.float32)
