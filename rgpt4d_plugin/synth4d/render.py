# SPDX-License-Identifier: Apache-2.0
"""Ray-traced clips whose depth, flow, motion, rays and tracks are known exactly.

Legend: T frames, H W pixels, h w coarse ray grid, N points. Integer pixel coordinates are pixel centres. Nothing here
is estimated: every map follows from the scene's closed form, so a metric that is not perfect measures the network and
not the labels. A ray is scaled to 1 along the optical axis: the distance along it IS the depth.
"""

from dataclasses import dataclass

import numpy as np

from rgpt4d_plugin.synth4d.scene import Scene, camera_rays, intrinsics_for
from rgpt4d_plugin.synth4d.views import BodyView, Cameras


_ROOM = 0.3  # brightness of the wall ahead
# Relative to it, of the walls at the low and the high end of x, y and z.
_FACES = np.array([0.9, 0.75, 1.0, 0.85, 1.2, 1.0], dtype=np.float32)
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
    cameras = Cameras(scene.camera.poses(times), intrinsics, (height, width))
    near, colour = _room(scene, cameras)
    flow = np.zeros((2, frames, 2, height, width), dtype=np.float32)
    if scene.camera.moves:
        _room_flow(cameras, near, flow)
    instance = np.full((frames, height, width), -1, dtype=np.int8)
    bodies = [BodyView(body, cameras, times) for body in scene.bodies]
    for index, body in enumerate(bodies):
        body.trace(index, near, instance)
    outlines, blended = _outlines(bodies, instance, colour)
    motion = np.zeros((frames, height, width), dtype=bool)
    for index, (body, view) in enumerate(zip(scene.bodies, bodies)):
        place = view.pixels(index, instance)
        time, y, x = np.unravel_index(place, instance.shape)
        points = view.points(time, x, y, near.ravel()[place])
        for way, offset in ((0, -1), (1, 1)):
            kept = slice(*np.searchsorted(time, (1, frames) if offset < 0 else (0, frames - 1)))
            there = view.projected(time[kept] + offset, points[kept])
            first = place[kept] + time[kept] * height * width  # of two maps a frame
            values = flow[way].ravel()
            values[first], values[first + height * width] = there[:, 0] - x[kept], there[:, 1] - y[kept]
        colour.reshape(-1, 3)[place] = view.lit(time, points)
        motion.ravel()[place] = body.moves or body.turns
    colour.reshape(-1, 3)[outlines] = blended
    colour *= 255
    pixels = np.empty(colour.shape, dtype=np.uint8)
    np.rint(colour.clip(0, 255, out=colour), out=pixels, casting="unsafe")
    return Clip4D(
        frames=pixels,
        depth=near.astype(np.float32),
        flow_2d_backward=flow[0],
        flow_2d_forward=flow[1],
        motion=motion,
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
    cameras = Cameras(clip.poses, clip.intrinsics, (image[0], image[1]))
    bodies = [BodyView(body, cameras, clip.timestamps) for body in clip.scene.bodies]
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


def _room(scene: Scene, cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Depth (T, H, W) and colour, float32 (T, H, W, 3), of the room without its bodies."""
    frames = len(cameras.poses)
    near, colour = np.empty((frames, *cameras.image)), np.empty((frames, *cameras.image, 3), dtype=np.float32)
    bounds = np.stack([scene.room.low, scene.room.high], axis=1)
    axes, sides = np.nonzero(np.isfinite(bounds))
    for time in range(frames):
        if time and not scene.camera.moves:
            near[time], colour[time] = near[0], colour[0]
            continue
        # The wall with the normal n at the distance s is s / n.d away along d, and the nearest counts: the inverse of
        # the depth is the greatest of six functions that are linear in x and y.
        walls = cameras.rays[time, axes] / (bounds[axes, sides] - cameras.origin[time, axes])[:, None]
        inverse, face = np.zeros(cameras.grid.shape[1]), np.zeros(cameras.grid.shape[1], dtype=np.int8)
        for number, found in zip((2 * axes + sides).astype(np.int8), walls @ cameras.grid):
            # The numbers of the walls rise: of those that each exceed all before them, the last is the nearest.
            np.maximum(face, (found > inverse).view(np.int8) * number, out=face)
            np.maximum(inverse, found, out=inverse)
        near[time] = (1 / inverse).reshape(cameras.image)
        lit = _room_colour(scene.room.waves, cameras, time, near[time].ravel()) * _FACES.take(face)
        for channel in range(3):
            colour[time, ..., channel] = lit[channel].reshape(cameras.image)
    return near, colour


def _room_colour(waves: np.ndarray, cameras: Cameras, time: int, near: np.ndarray) -> np.ndarray:
    """(3, N) before it is lit, at a depth (N,)."""
    # The phase of a wave is linear in the point, which is the camera's place + depth * ray.
    rays = 2 * np.pi * waves[:, :3] @ cameras.rays[time]
    start = 2 * np.pi * (waves[:, :3] @ cameras.origin[time] + waves[:, 3])
    phase = rays.astype(np.float32) @ cameras.grid.astype(np.float32)
    phase *= near.astype(np.float32)
    phase += start.astype(np.float32)[:, None]
    return waves[:, 4:].T.astype(np.float32) @ np.sin(phase, out=phase) + np.float32(_ROOM)


def _room_flow(cameras: Cameras, near: np.ndarray, out: np.ndarray) -> None:
    """Writes where the room's points are one frame before and after, (2, T, 2, H, W), relative to where they are."""
    for time in range(len(near)):
        for way, to in ((0, time - 1), (1, time + 1)):
            if 0 <= to < len(near):
                matrix = cameras.projection[to, :, :3]
                there = matrix @ cameras.rays[time] @ cameras.grid
                there *= near[time].ravel()
                there += (matrix @ cameras.origin[time] + cameras.projection[to, :, 3])[:, None]
                out[way, time] = (there[:2] / there[2] - cameras.grid[:2]).reshape(2, *cameras.image)


def _outlines(bodies: list[BodyView], instance: np.ndarray, room: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (N,) of the pixels of which a neighbour shows something else, and their colours (N, 3), averaged over
    four points of each.

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
    place = np.flatnonzero(edges)
    time, row, column = np.unravel_index(place, edges.shape)
    x, y = (np.add.outer(centre, shift) for centre, shift in zip((column, row), np.transpose(_SAMPLES)))
    closest, whose = np.full(x.shape, np.inf), np.full(x.shape, -1, dtype=np.int8)
    for index, body in enumerate(bodies):
        here = np.flatnonzero(body.may_show(time, row, column))
        hit = body.hits(time[here, None], x[here], y[here])
        closer = hit < closest[here]
        closest[here], whose[here] = np.where(closer, hit, closest[here]), np.where(closer, index, whose[here])
    colours = np.repeat(room.reshape(-1, 3)[place], len(_SAMPLES), axis=0)
    for index, body in enumerate(bodies):
        mine = np.flatnonzero(whose == index)
        when = time[mine // len(_SAMPLES)]
        points = body.points(when, x.ravel()[mine], y.ravel()[mine], closest.ravel()[mine])
        colours[mine] = body.lit(when, points)
    return place, sum(colours[number :: len(_SAMPLES)] for number in range(len(_SAMPLES))) / len(_SAMPLES)
