# SPDX-License-Identifier: Apache-2.0
"""What the camera of each frame sees of the world and of a body: rays into them, and where their points are seen.

Legend: T frames, N points. Pixels that are numbered are counted through a clip, (T, H, W), row by row.
"""

from itertools import pairwise

import numpy as np

from rgpt4d_plugin.synth4d.scene import COLOURS, Body


_LIGHT = np.array([-0.4, -0.65, -0.65]) / np.linalg.norm([-0.4, -0.65, -0.65])


class View:
    """A frame of reference as the camera of each frame sees it.

    Attributes:
        origin: (T, 3) the camera's place in it.
        rays: (T, 3, 3) from pixels (x, y, 1) to directions in it.
        projection: (T, 3, 4) from it to pixels, homogeneous.
    """

    origin: np.ndarray
    rays: np.ndarray
    projection: np.ndarray

    def points(self, time: np.ndarray, x: np.ndarray, y: np.ndarray, near: np.ndarray) -> np.ndarray:
        """The points (N, 3) that pixels see at a depth; `time` ascends."""
        return _per_frame(time, np.stack([near * x, near * y, near], axis=-1), self.rays, self.origin)

    def projected(self, time: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Pixels (x, y) and depths (N, 3) of points at times, which ascend."""
        moved = _per_frame(time, points, self.projection[..., :3], self.projection[..., 3])
        moved[:, :2] /= moved[:, 2:]
        return moved


class Cameras(View):
    """The camera of each frame, and the world as it sees it.

    Attributes:
        poses: (T, 4, 4) to the world.
        image: (height, width).
        grid: (3, H * W) its pixels, (x, y, 1).
    """

    def __init__(self, poses: np.ndarray, intrinsics: np.ndarray, image: tuple[int, int]) -> None:
        self.poses, self.image, self.intrinsics = poses, image, intrinsics
        self.origin, self.rays = poses[:, :3, 3], poses[:, :3, :3] @ np.linalg.inv(intrinsics)
        self.projection = intrinsics @ np.linalg.inv(poses)[:, :3]
        y, x = np.divmod(np.arange(image[0] * image[1], dtype=float), image[1])
        self.grid = np.stack([x, y, np.ones_like(x)])


class BodyView(View):
    """A body as the cameras see it, in its own frame and in shares of its size: there a ball's radius is 1."""

    def __init__(self, body: Body, cameras: Cameras, times: np.ndarray) -> None:
        self.body = body
        poses = body.poses(times)
        size = body.size if body.shape != "disc" else body.size[[0, 1, 0]]
        turned = poses[:, :3, :3].swapaxes(-1, -2)
        self.rays = turned / size[:, None] @ cameras.rays
        self.origin = np.einsum("tij,tj->ti", turned / size[:, None], cameras.origin - poses[:, :3, 3])
        self.projection = cameras.projection @ poses * np.append(size, 1)
        self.lamp = turned @ _LIGHT
        self._frame(cameras, poses[:, :3, 3])

    def _frame(self, cameras: Cameras, centres: np.ndarray) -> None:
        """Finds the part of each frame outside of which the body cannot be, as large in all of them.

        Sets its rows (T, h) and columns (T, w), and `window`, the numbers of its pixels (T, h, w).
        """
        local = np.einsum("tij,ti->tj", cameras.poses[:, :3, :3], centres - cameras.origin)
        radius, k, parts = self.body.radius, cameras.intrinsics, []
        with np.errstate(divide="ignore"):
            widest = 1 / (local[:, 2] + radius * np.array([[-1], [1]]))
        for axis, size in ((1, cameras.image[0]), (0, cameras.image[1])):
            sides = (local[:, axis] + radius * np.array([[[-1]], [[1]]])) * widest * k[axis, axis] + k[axis, 2]
            beside = local[:, 2] <= radius  # or behind the camera
            first = np.where(beside, 0, np.floor(sides.min(axis=(0, 1)))).clip(0, size)
            last = np.where(beside, size, np.ceil(sides.max(axis=(0, 1))) + 1).clip(0, size)
            extent = int((last - first).max())
            parts.append(np.minimum(first, size - extent).astype(int)[:, None] + np.arange(extent))
        self.rows, self.columns = parts
        height, width = cameras.image
        starts = np.arange(len(centres))[:, None] * height + self.rows
        self.window = starts[:, :, None] * width + self.columns[:, None]

    def trace(self, index: int, near: np.ndarray, instance: np.ndarray) -> None:
        """Puts the body where nothing nearer is: its depth and its index, into both (T, H, W)."""
        time, row, column = (np.arange(len(self.rows))[:, None, None], self.rows[:, :, None], self.columns[:, None])
        hit = self.hits(time, column, row)
        seen = hit < near.ravel()[self.window]
        place = self.window[seen]
        near.ravel()[place], instance.ravel()[place] = hit[seen], index

    def may_show(self, time: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Which pixels (N,) are among those that it may be seen at."""
        rows, columns = row - self.rows[time, 0], column - self.columns[time, 0]
        return (rows >= 0) & (rows < self.rows.shape[1]) & (columns >= 0) & (columns < self.columns.shape[1])

    def pixels(self, index: int, instance: np.ndarray) -> np.ndarray:
        """Numbers (N,), ascending by frame, of the pixels that show the body, whose index is given."""
        return self.window[instance.ravel()[self.window] == index]

    def hits(self, time: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Depth at which the rays through pixels x, y first meet the body, infinite where they do not."""
        return _HITS[self.body.shape](np.moveaxis(self.origin[time], -1, 0), self._directions(time, x, y))

    def _directions(self, time: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        rays = self.rays[time]
        return [_linear(rays[..., axis, :], x, y) for axis in range(3)]

    def lit(self, time: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Colours (N, 3) of points: a texture fixed to the surface, and a lamp above."""
        lamp = self.lamp.astype(np.float32)[time]
        points = points.astype(np.float32)
        if self.body.shape == "ball":
            light = np.einsum("ni,ni->n", points, lamp)
        elif self.body.shape == "box":
            sides, (x, y, z) = (np.sign(points) * lamp).T, np.abs(points).T
            light = np.where(x > np.maximum(y, z), sides[0], np.where(y > z, sides[1], sides[2]))
        else:
            light = np.sign(self.origin[time, 2]) * lamp[:, 2]
        texture = self.body.texture.astype(np.float32)
        wave, other = np.sin(texture[:, :3] @ points.T + texture[:, 3:])
        brightness = (0.5 + 0.5 * np.maximum(light, 0)) * (0.78 + 0.22 * wave * other)
        return brightness[:, None] * np.array(COLOURS[self.body.colour], dtype=np.float32)


def _linear(coefficients: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """a x + b y + c for coefficients (..., 3)."""
    return coefficients[..., 0] * x + (coefficients[..., 1] * y + coefficients[..., 2])


def _per_frame(time: np.ndarray, points: np.ndarray, matrices: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Matrix @ point + offset (N, 3), of frames that ascend."""
    out = np.empty_like(points)
    for frame, (start, stop) in enumerate(pairwise(np.searchsorted(time, np.arange(len(matrices) + 1)))):
        out[start:stop] = points[start:stop] @ matrices[frame].T + offsets[frame]
    return out


def _hit_ball(o: np.ndarray, d: list[np.ndarray]) -> np.ndarray:
    """Along o + t d, where the unit ball begins."""
    squared = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    half_b = d[0] * o[0] + d[1] * o[1] + d[2] * o[2]
    discriminant = half_b * half_b - squared * (o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - 1)
    hit = (-half_b - np.sqrt(np.maximum(discriminant, 0))) / squared
    return np.where((discriminant > 0) & (hit > 0), hit, np.inf)


def _hit_box(o: np.ndarray, d: list[np.ndarray]) -> np.ndarray:
    """Along o + t d, where the cube from -1 to 1 begins: after it has come between all three pairs of sides."""
    enter, leave = np.zeros(1), np.full(1, np.inf)
    for start, way in zip(o, d):
        with np.errstate(divide="ignore"):  # a ray along the sides is between them always or never
            slope = 1 / way
        one, other = (-1 - start) * slope, (1 - start) * slope
        enter, leave = np.maximum(enter, np.minimum(one, other)), np.minimum(leave, np.maximum(one, other))
    return np.where((enter < leave) & (enter > 0), enter, np.inf)


def _hit_disc(o: np.ndarray, d: list[np.ndarray]) -> np.ndarray:
    """Along o + t d, the unit disc at z = 0."""
    with np.errstate(divide="ignore", invalid="ignore"):  # seen edge-on, it is not seen
        hit = -o[2] / d[2]
        x, y = o[0] + hit * d[0], o[1] + hit * d[1]
    return np.where((x * x + y * y < 1) & (hit > 0), hit, np.inf)


_HITS = {"ball": _hit_ball, "box": _hit_box, "disc": _hit_disc}
