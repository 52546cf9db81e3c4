# SPDX-License-Identifier: Apache-2.0
"""Ray-traced clips whose depth, flow, motion, rays and tracks are known exactly.

Legend: T frames, H W pixels, h w coarse ray grid, N points. Integer pixel coordinates are pixel centres. Nothing here
is estimated: every map follows from the scene's closed form, so a metric that is not perfect measures the network and
not the labels. A ray is scaled to 1 along the optical axis: the distance along it IS the depth.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rgpt4d_plugin.synth4d.scene import COLOURS, Body, Scene, camera_rays, intrinsics_for


_LIGHT = np.array([-0.4, -0.65, -0.65]) / np.linalg.norm([-0.4, -0.65, -0.65])
_ROOM = 0.3  # brightness of the wall ahead
_FACES = np.array([0.9, 0.75, 1.0, 0.85, 1.2, 1.0], dtype=np.float32)  # of the room, relative: left right, ...
_SAMPLES = ((-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25))  # of a pixel where an outline may cross it

_Shown = list[tuple[int, np.ndarray, np.ndarray]]
"""Bodies, each with the rows and columns of the pixels that show it."""


@dataclass(frozen=True)
class Clip4D:
    """A rendered clip and its ground truth.

    Attributes:
        frames: uint8 (T, H, W, 3), RGB.
        depth: float32 (T, H, W), metres along the optical axis of each frame's own camera.
        flow_2d_backward: float32 (T, 2, H, W), pixels; lives on frame t's grid and points to frame t-1, channel 0 is
            u (right) and 1 is v (down). Frame 0 has no predecessor: it is zero and must not be used.
        flow_2d_forward: The same to frame t+1; the last frame is zero and must not be used.
        motion: bool (T, H, W), the pixel shows a body that moves or turns by itself.
        camray: float32 (T, 6, h, w), unit ray direction d then moment m = origin x d (metres), world frame.
        instance: int8 (T, H, W), index of the visible body, -1 for the room.
        timestamps: float64 (T,), seconds from the first frame.
        intrinsics: float64 (3, 3), pixels.
        poses: float64 (T, 4, 4), camera to world.
        scene: The scene the clip was rendered from.
    """

    frames: np.ndarray
    depth: np.ndarray
    flow_2d_backward: np.ndarray
    flow_2d_forward: np.ndarray
    motion: np.ndarray
    camray: np.ndarray
    instance: np.ndarray
    timestamps: np.ndarray
    intrinsics: np.ndarray
    poses: np.ndarray
    scene: Scene


def render(
    scene: Scene,
    frames: int = 16,
    height: int = 64,
    width: int = 64,
    fps: float = 2.0,
    ray_grid: tuple[int, int] = (8, 8),
) -> Clip4D:
    """Renders a scene. Ground truth is that of the ray through a pixel's centre; a colour at an outline averages four."""
    times = np.arange(frames) / fps
    poses, intrinsics = scene.camera.poses(times), intrinsics_for(height, width)
    views = _Views(scene, times, poses, intrinsics, (height, width))
    shape = (frames, height, width)
    colour = np.empty((*shape, 3), dtype=np.uint8)
    depth, instance = np.empty(shape, dtype=np.float32), np.full(shape, -1, dtype=np.int8)
    flow = np.zeros((2, frames, 2, height, width), dtype=np.float32)
    still = not scene.camera.moves
    room: tuple[np.ndarray, np.ndarray] | None = None
    for time in range(frames):
        if room is None or not still:  # a camera at rest sees one room in all frames
            room = views.room(time)
        near = 1 / room[0]
        shown = views.trace(time, near, instance[time])
        depth[time] = near
        colour[time] = views.shade(time, near, instance[time], shown, room[1])
        for to, way in ((time - 1, 0), (time + 1, 1)):
            if 0 <= to < frames:
                views.flow(time, to, near, shown, still, flow[way, time])
    moving = np.array([body.moves or body.turns for body in scene.bodies] + [False])
    return Clip4D(
        frames=colour,
        depth=depth,
        flow_2d_backward=flow[0],
        flow_2d_forward=flow[1],
        motion=moving[instance],
        camray=camera_rays(poses, intrinsics, (height, width), ray_grid),
        instance=instance,
        timestamps=times,
        intrinsics=intrinsics,
        poses=poses,
        scene=scene,
    )


class _Views:
    """A scene as the camera has it at each time."""

    def __init__(
        self, scene: Scene, times: np.ndarray, poses: np.ndarray, k: np.ndarray, image: tuple[int, int]
    ) -> None:
        self.scene, self.image = scene, image
        self.x, self.y = np.arange(image[1], dtype=float)[None], np.arange(image[0], dtype=float)[:, None]
        self.k, inverse = k, np.linalg.inv(k)
        self.origin, self.turned = poses[:, :3, 3], poses[:, :3, :3] @ inverse  # pixels (x, y, 1) to world directions
        self.to_camera = np.linalg.inv(poses)
        bodies = [body.poses(times) for body in scene.bodies]
        self.to_world = np.stack([*bodies, np.tile(np.eye(4), (len(times), 1, 1))])  # (bodies + 1, T, 4, 4)
        self.rays = [_local_rays(body, pose, self.origin, self.turned) for body, pose in zip(scene.bodies, bodies)]

    def room(self, time: int) -> tuple[np.ndarray, np.ndarray]:
        """Inverse depth (H, W) of the room, and its colour (H, W, 3)."""
        # The wall with the normal n at the distance s is s / n.d away along d, and the nearest counts: the inverse depth
        # is the greatest of six functions that are linear in x and y.
        inverse, face = np.zeros(self.image), np.zeros(self.image, dtype=np.int8)
        for axis in range(3):
            for side, bound in enumerate((self.scene.room.low[axis], self.scene.room.high[axis])):
                if np.isfinite(bound):
                    a, b, c = self.turned[time, axis] / (bound - self.origin[time, axis])
                    found = a * self.x + (b * self.y + c)
                    np.copyto(face, 2 * axis + side, where=found > inverse)
                    np.maximum(inverse, found, out=inverse)
        return inverse, self._room_colour(time, inverse, face)

    def _room_colour(self, time: int, inverse: np.ndarray, face: np.ndarray) -> np.ndarray:
        waves = self.scene.room.waves
        turned = (waves[:, :3] @ self.turned[time]).astype(np.float32)
        start = (waves[:, :3] @ self.origin[time] + waves[:, 3]).astype(np.float32)
        x, y, near = self.x.astype(np.float32), self.y.astype(np.float32), (1 / inverse).astype(np.float32)
        phase = turned[:, 0, None, None] * x + (turned[:, 1, None, None] * y + turned[:, 2, None, None])
        phase *= near
        phase += start[:, None, None]
        phase *= np.float32(2 * np.pi)
        np.sin(phase, out=phase)
        colour = phase.reshape(len(waves), -1).T @ waves[:, 4:].astype(np.float32)
        colour = colour.reshape(*self.image, 3) + np.float32(_ROOM)
        colour *= _FACES[face][..., None]
        return colour

    def trace(self, time: int, near: np.ndarray, instance: np.ndarray) -> _Shown:
        """Puts the bodies before the room: into the depth and the instances, both (H, W)."""
        places = list(self._in_view(time))
        for index, place in places:
            hit = self._hits(time, index, self.x[:, place[1]], self.y[place[0]])
            seen = hit < near[place]
            np.copyto(near[place], hit, where=seen)
            np.copyto(instance[place], index, where=seen)
        shown = []
        for index, place in places:
            rows, columns = np.nonzero(instance[place] == index)
            shown.append((index, rows + place[0].start, columns + place[1].start))
        return shown

    def _in_view(self, time: int) -> Iterator[tuple[int, tuple[slice, slice]]]:
        """The bodies, each with the part of the image outside of which it cannot be."""
        for index, body in enumerate(self.scene.bodies):
            x, y, z = (self.to_camera[time] @ self.to_world[index, time])[:3, 3]
            radius, slices = body.radius, []
            for middle, focal, centre, size in zip((y, x), self.k[[1, 0], [1, 0]], self.k[[1, 0], 2], self.image):
                if z <= radius:  # it reaches beside or behind the camera
                    slices.append(slice(0, size))
                    continue
                bounds = [(middle + way * radius) / (z + to * radius) for way in (-1, 1) for to in (-1, 1)]
                first, last = min(bounds) * focal + centre, max(bounds) * focal + centre
                slices.append(slice(max(0, int(np.floor(first))), max(0, min(size, int(np.ceil(last)) + 1))))
            if all(part.start < part.stop for part in slices):
                yield index, (slices[0], slices[1])

    def flow(self, time: int, to: int, near: np.ndarray, shown: _Shown, still: bool, out: np.ndarray) -> None:
        """Writes where each pixel's point is in another frame, (2, H, W), relative to where it is in this one."""
        if not still:
            out[:] = self._moved(-1, time, to, self.x, self.y, near)
        for index, rows, columns in shown:
            out[:, rows, columns] = self._moved(index, time, to, columns, rows, near[rows, columns])

    def _moved(
        self, index: int, time: int, to: int, x: np.ndarray, y: np.ndarray, near: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """How far the points of a body that are at pixels x, y in one frame are moved, in pixels, in another."""
        there = self.to_camera[to] @ self.to_world[index, to] @ np.linalg.inv(self.to_world[index, time])
        matrix = self.k @ (there[:3, :3] @ self.turned[time])
        shift = self.k @ (there[:3, :3] @ self.origin[time] + there[:3, 3])
        u, v, w = ((row[0] * x + (row[1] * y + row[2])) * near + by for row, by in zip(matrix, shift))
        return u / w - x, v / w - y

    def shade(
        self, time: int, near: np.ndarray, instance: np.ndarray, shown: _Shown, room: np.ndarray
    ) -> np.ndarray:
        """Colours uint8 (H, W, 3): textures fixed to the surfaces, a lamp above, outlines averaged over samples."""
        colour = room.copy()
        for index, rows, columns in shown:
            colour[rows, columns] = self._lit(time, index, columns, rows, near[rows, columns])
        rows, columns = _outlines(instance)
        x, y = (np.add.outer(centre, shift) for centre, shift in zip((columns, rows), np.transpose(_SAMPLES)))
        closest, whose = np.full(x.shape, np.inf), np.full(x.shape, -1)
        samples = np.repeat(room[rows, columns][:, None], len(_SAMPLES), axis=1)
        for index, place in self._in_view(time):
            (above, below), (left, right) = ((part.start, part.stop) for part in place)
            (here,) = np.nonzero((rows >= above) & (rows < below) & (columns >= left) & (columns < right))
            hit = self._hits(time, index, x[here], y[here])
            seen = hit < closest[here]
            closest[here], whose[here] = np.where(seen, hit, closest[here]), np.where(seen, index, whose[here])
        for index in np.unique(whose[whose >= 0]):
            mine = whose == index
            samples[mine] = self._lit(time, index, x[mine], y[mine], closest[mine])
        colour[rows, columns] = samples.mean(axis=1)
        return np.round(np.clip(colour, 0, 1) * 255).astype(np.uint8)

    def _lit(self, time: int, index: int, x: np.ndarray, y: np.ndarray, near: np.ndarray) -> np.ndarray:
        """Colours (N, 3) of a body's points at pixels x, y."""
        body = self.scene.bodies[index]
        rays, origin = self.rays[index]
        d = [rays[i, 0, time] * x + rays[i, 1, time] * y + rays[i, 2, time] for i in range(3)]
        point = np.stack([origin[i, time] + near * d[i] for i in range(3)], axis=-1)
        lamp = self.to_world[index, time, :3, :3].T @ _LIGHT
        if body.shape == "ball":
            light = point @ lamp
        elif body.shape == "box":
            face = np.abs(point).argmax(axis=-1)
            light = np.take_along_axis(np.sign(point), face[:, None], axis=-1)[:, 0] * lamp[face]
        else:
            light = -np.sign(d[2]) * lamp[2]
        pattern = np.sin(point @ body.texture[:, :3].T + body.texture[:, 3]).prod(axis=-1)
        brightness = (0.5 + 0.5 * np.maximum(light, 0)) * (0.78 + 0.22 * pattern)
        return brightness[:, None] * np.array(COLOURS[body.colour])

    def _hits(self, time: int | slice, index: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Depth at which the rays through pixels x, y first meet a body, infinite where they do not."""
        rays, o = self.rays[index][0][..., time], self.rays[index][1][..., time]
        d = [rays[i, 0] * x + (rays[i, 1] * y + rays[i, 2]) for i in range(3)]
        return _HITS[self.scene.bodies[index].shape](o, d)


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


def _local_rays(
    body: Body, poses: np.ndarray, origin: np.ndarray, turned: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rays and the camera's place in a body's own frame, in shares of its size: (3, 3, T), of pixels (x, y, 1), and
    (3, T)."""
    size = body.size if body.shape != "disc" else body.size[[0, 1, 0]]
    to_local = poses[:, :3, :3].swapaxes(-1, -2) / size[:, None]
    rays = to_local @ turned
    place = (to_local @ (origin - poses[:, :3, 3])[..., None])[..., 0]
    return np.ascontiguousarray(rays.transpose(1, 2, 0)), np.ascontiguousarray(place.T)


def _outlines(instance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels of which a neighbour shows something else."""
    edges = np.zeros(instance.shape, dtype=bool)
    for before, after in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        change = instance[before] != instance[after]
        edges[before] |= change
        edges[after] |= change
    return np.nonzero(edges)
