# SPDX-License-Identifier: Apache-2.0
"""Ray-traced clips whose depth, flow, motion, rays and tracks are known exactly.

Legend: T frames, H W pixels, h w coarse ray grid, N points. Integer pixel coordinates are pixel centres. Nothing here
is estimated: every map follows from the scene's closed form, so a metric that is not perfect measures the network and
not the labels. A ray is scaled to 1 along the optical axis: the distance along it IS the depth.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rgpt4d_plugin.synth4d.scene import COLOURS, Body, Scene, camera_rays, intrinsics_for


_LIGHT = np.array([-0.4, -0.65, -0.65]) / np.linalg.norm([-0.4, -0.65, -0.65])
_ROOM = 0.3  # brightness of the wall ahead
_FACES = np.array([0.9, 0.75, 1.0, 0.85, 1.2, 1.0], dtype=np.float32)  # of the room, relative: left right, ...
_SAMPLES = ((-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25))  # of a pixel where an outline may cross it


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
    """Renders a scene. Ground truth is that of the ray through a pixel's centre; colours at outlines average four."""
    times = np.arange(frames) / fps
    intrinsics = intrinsics_for(height, width)
    cameras = _Cameras(scene.camera.poses(times), intrinsics, (height, width))
    near, colour = _room(scene, cameras)
    flow = np.zeros((2, frames, 2, height, width), dtype=np.float32)
    if scene.camera.moves:
        _room_flow(cameras, near, flow)
    instance = np.full((frames, height, width), -1, dtype=np.int8)
    bodies = [_Seen(body, cameras, times) for body in scene.bodies]
    for index, body in enumerate(bodies):
        body.trace(index, near, instance)
    outlines, blended = _outlines(bodies, instance, colour)
    for index, body in enumerate(bodies):
        time, pixel = body.pixels(index, instance)
        y, x = np.divmod(pixel, width)
        place = time * height * width + pixel
        points = body.points(time, x, y, near.ravel()[place])
        for way, offset in ((0, -1), (1, 1)):
            start, stop = np.searchsorted(time, (1, frames) if offset < 0 else (0, frames - 1))
            kept = slice(start, stop)
            there = body.projected(time[kept] + offset, points[kept])
            first = place[kept] + time[kept] * height * width
            values = flow[way].ravel()
            values[first], values[first + height * width] = there[:, 0] - x[kept], there[:, 1] - y[kept]
        colour.reshape(-1, 3)[place] = body.lit(time, points)
    colour[outlines] = blended
    moving = np.array([body.moves or body.turns for body in scene.bodies] + [False])
    colour *= 255
    return Clip4D(
        frames=np.rint(colour, out=colour).clip(0, 255, out=colour).astype(np.uint8),
        depth=near.astype(np.float32),
        flow_2d_backward=flow[0],
        flow_2d_forward=flow[1],
        motion=moving[instance],
        camray=camera_rays(cameras.poses, intrinsics, (height, width), ray_grid),
        instance=instance,
        timestamps=times,
        intrinsics=intrinsics,
        poses=cameras.poses,
        scene=scene,
    )


def follow(clip: Clip4D, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tracks of the points that pixels show.

    Args:
        clip: A rendered clip.
        queries: (N, 3) frame, row and column of each.

    Returns:
        float32 (N, T, 2), where each is in each frame, in pixels (x, y); and bool (N, T), whether it is seen there.
    """
    frames, *image = clip.depth.shape
    cameras = _Cameras(clip.poses, clip.intrinsics, (image[0], image[1]))
    bodies = [_Seen(body, cameras, clip.timestamps) for body in clip.scene.bodies]
    queries = queries[order := np.argsort(queries[:, 0], kind="stable")]
    time, row, column = queries.T
    whose, near = clip.instance[time, row, column], clip.depth[time, row, column].astype(float)
    places = np.empty((len(queries), frames, 3))
    for index, view in enumerate([*bodies, cameras]):
        mine = whose == (index if view is not cameras else -1)
        points = view.points(time[mine], column[mine], row[mine], near[mine])
        at = np.repeat(np.arange(frames), len(points))
        places[mine] = view.projected(at, np.tile(points, (frames, 1))).reshape(frames, -1, 3).swapaxes(0, 1)
    x, y, depth = np.moveaxis(places, -1, 0)
    first = np.full(depth.shape, np.inf)
    for body in bodies:
        first = np.minimum(first, body.hits(np.arange(frames), x, y))
    inside = (np.abs(x - (image[1] - 1) / 2) < image[1] / 2) & (np.abs(y - (image[0] - 1) / 2) < image[0] / 2)
    seen = inside & (depth > 0) & (first > depth * (1 - 1e-5))  # the depth that a point was found at is float32
    positions, visible = np.empty(places.shape[:2] + (2,), dtype=np.float32), np.empty_like(seen)
    positions[order], visible[order] = places[..., :2], seen
    return positions, visible


class _View:
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


class _Cameras(_View):
    """The camera of each frame, and the world as it sees it.

    Attributes:
        poses: (T, 4, 4) to the world.
        image: (height, width).
    """

    def __init__(self, poses: np.ndarray, intrinsics: np.ndarray, image: tuple[int, int]) -> None:
        self.poses, self.image, self.intrinsics = poses, image, intrinsics
        self.origin, self.rays = poses[:, :3, 3], poses[:, :3, :3] @ np.linalg.inv(intrinsics)
        self.projection = intrinsics @ np.linalg.inv(poses)[:, :3]
        self.x, self.y = np.arange(image[1], dtype=float)[None], np.arange(image[0], dtype=float)[:, None]


def _room(scene: Scene, cameras: _Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Depth (T, H, W) and colour, float32 (T, H, W, 3), of the room without its bodies."""
    frames = len(cameras.poses)
    near, colour = np.empty((frames, *cameras.image)), np.empty((frames, *cameras.image, 3), dtype=np.float32)
    bounds = np.stack([scene.room.low, scene.room.high], axis=1)
    for time in range(frames):
        if time and not scene.camera.moves:
            near[time], colour[time] = near[0], colour[0]
            continue
        # The wall with the normal n at the distance s is s / n.d away along d, and the nearest counts: the inverse of
        # the depth is the greatest of six functions that are linear in x and y.
        inverse, face = np.zeros(cameras.image), np.zeros(cameras.image, dtype=np.int8)
        for axis, side in zip(*np.nonzero(np.isfinite(bounds))):
            ray = cameras.rays[time, axis] / (bounds[axis, side] - cameras.origin[time, axis])
            found = _linear(ray, cameras.x, cameras.y)
            np.copyto(face, 2 * axis + side, where=found > inverse)
            np.maximum(inverse, found, out=inverse)
        np.divide(1, inverse, out=near[time])
        colour[time] = _room_colour(scene.room.waves, cameras, time, near[time]) * _FACES[face][..., None]
    return near, colour


def _room_colour(waves: np.ndarray, cameras: _Cameras, time: int, near: np.ndarray) -> np.ndarray:
    # The phase of a wave is linear in the point, which is the camera's place + depth * ray.
    rays = 2 * np.pi * waves[:, :3] @ cameras.rays[time]
    start = 2 * np.pi * (waves[:, :3] @ cameras.origin[time] + waves[:, 3])
    x, y, near, rays, start = (array.astype(np.float32) for array in (cameras.x, cameras.y, near, rays, start))
    phase = _linear(rays[:, None, None], x, y)
    phase *= near
    phase += start[:, None, None]
    swing = np.sin(phase, out=phase).reshape(len(waves), -1)
    return (swing.T @ waves[:, 4:].astype(np.float32) + np.float32(_ROOM)).reshape(*cameras.image, 3)


def _room_flow(cameras: _Cameras, near: np.ndarray, out: np.ndarray) -> None:
    """Writes where the room's points are one frame before and after, (2, T, 2, H, W), relative to where they are."""
    x, y = cameras.x, cameras.y
    for time in range(len(near)):
        for way, to in ((0, time - 1), (1, time + 1)):
            if 0 <= to < len(near):
                matrix = cameras.projection[to, :, :3]
                rays, start = matrix @ cameras.rays[time], matrix @ cameras.origin[time] + cameras.projection[to, :, 3]
                u, v, w = (_linear(ray, x, y) * near[time] + by for ray, by in zip(rays, start))
                out[way, time, 0], out[way, time, 1] = u / w - x, v / w - y


class _Seen(_View):
    """A body as the cameras see it, in its own frame and in shares of its size: there a ball's radius is 1."""

    def __init__(self, body: Body, cameras: _Cameras, times: np.ndarray) -> None:
        self.body = body
        poses = body.poses(times)
        size = body.size if body.shape != "disc" else body.size[[0, 1, 0]]
        turned = poses[:, :3, :3].swapaxes(-1, -2)
        self.rays = turned / size[:, None] @ cameras.rays
        self.origin = np.einsum("tij,tj->ti", turned / size[:, None], cameras.origin - poses[:, :3, 3])
        self.projection = cameras.projection @ poses * np.append(size, 1)
        self.lamp = turned @ _LIGHT
        self._frame(cameras, poses[:, :3, 3])

    def _frame(self, cameras: _Cameras, centres: np.ndarray) -> None:
        """Sets the part of each frame outside of which the body cannot be: corners (T,), and a size for all."""
        local = np.einsum("tij,ti->tj", cameras.poses[:, :3, :3], centres - cameras.origin)
        radius, k = self.body.radius, cameras.intrinsics
        self.corner, self.extent = [], []
        for axis, size in ((1, cameras.image[0]), (0, cameras.image[1])):
            with np.errstate(divide="ignore"):
                sides = np.array(
                    [(local[:, axis] + a * radius) / (local[:, 2] + b * radius) for a in (-1, 1) for b in (-1, 1)]
                )
            sides = sides * k[axis, axis] + k[axis, 2]
            beside = local[:, 2] <= radius  # or behind the camera
            first = np.where(beside, 0, np.floor(sides.min(axis=0))).clip(0, size)
            last = np.where(beside, size, np.ceil(sides.max(axis=0)) + 1).clip(0, size)
            extent = int((last - first).max())
            self.extent.append(extent)
            self.corner.append(np.minimum(first, size - extent).astype(int))

    def _window(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Frames, rows and columns of all pixels in these parts, to be broadcast to (T, h, w)."""
        rows, columns = (corner[:, None] + np.arange(size) for corner, size in zip(self.corner, self.extent))
        return np.arange(len(rows))[:, None, None], rows[:, :, None], columns[:, None]

    def trace(self, index: int, near: np.ndarray, instance: np.ndarray) -> None:
        """Puts the body where nothing nearer is: its depth and its index, into both (T, H, W)."""
        time, row, column = window = self._window()
        hit = self.hits(time, column, row)
        seen = hit < near[window]
        place = tuple(np.broadcast_to(part, seen.shape)[seen] for part in window)
        near[place], instance[place] = hit[seen], index

    def near(self, time: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Which pixels (N,) are in these parts."""
        rows, columns = (at - corner[time] for at, corner in zip((row, column), self.corner))
        return (rows >= 0) & (rows < self.extent[0]) & (columns >= 0) & (columns < self.extent[1])

    def pixels(self, index: int, instance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames, ascending, and numbers within the frame (N,) of the pixels that show the body."""
        window = time, row, column = self._window()
        mine = np.nonzero(instance[window] == index)
        return mine[0], row[mine[0], mine[1], 0] * instance.shape[-1] + column[mine[0], 0, mine[2]]

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
            face = np.abs(points).argmax(axis=-1)[:, None]
            light = np.take_along_axis(np.sign(points) * lamp, face, axis=-1)[:, 0]
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


def _outlines(
    bodies: list[_Seen], instance: np.ndarray, room: np.ndarray
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Pixels of which a neighbour shows something else, and their colours (N, 3), averaged over four points of each.

    Args:
        bodies: All of them.
        instance: (T, H, W) what pixels' centres show.
        room: (T, H, W, 3) colours without bodies.
    """
    edges = np.zeros(instance.shape, dtype=bool)
    for before, after in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:, :, :-1], np.s_[:, :, 1:])):
        change = instance[before] != instance[after]
        edges[before] |= change
        edges[after] |= change
    place = time, row, column = np.nonzero(edges)
    x, y = (np.add.outer(centre, shift) for centre, shift in zip((column, row), np.transpose(_SAMPLES)))
    closest, whose = np.full(x.shape, np.inf), np.full(x.shape, -1, dtype=np.int8)
    for index, body in enumerate(bodies):
        here = np.nonzero(body.near(time, row, column))[0]
        hit = body.hits(time[here, None], x[here], y[here])
        closer = hit < closest[here]
        closest[here], whose[here] = np.where(closer, hit, closest[here]), np.where(closer, index, whose[here])
    colours = np.repeat(room[place][:, None], len(_SAMPLES), axis=1)
    for index, body in enumerate(bodies):
        mine = np.nonzero(whose == index)
        when = time[mine[0]]
        colours[mine] = body.lit(when, body.points(when, x[mine], y[mine], closest[mine]))
    return place, colours.mean(axis=1)


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
