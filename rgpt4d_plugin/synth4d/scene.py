# SPDX-License-Identifier: Apache-2.0
"""Ray-traced clips of flying balls whose depth, flow, motion and rays are known exactly.

Legend: T frames, H W pixels, h w coarse ray grid, N balls. World frame = frame of the first camera: x right, y down,
z forward, metres. Integer pixel coordinates are pixel centres. Nothing here is estimated: every map is computed from
the scene's closed-form geometry, so a metric that is not perfect measures the network and not the labels.
"""

from dataclasses import dataclass

import numpy as np


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
_LIGHT = np.array([-0.4, -0.65, -0.65])
_NEAREST, _FARTHEST = 1.6, 6.5  # metres a ball's centre may reach
_REFERENCE = 2.0  # seconds for which the speeds below are drawn


@dataclass(frozen=True)
class Ball:
    """One rigid ball which translates without turning; `centre` holds at time 0 (metres), `velocity` is in m/s."""

    colour: str
    centre: np.ndarray
    radius: float
    velocity: np.ndarray
    texture: np.ndarray  # (2, 4): for two waves over the surface, a wave vector and a phase

    @property
    def moving(self) -> bool:
        """True if the ball moves by itself; camera motion does not count."""
        return bool(np.any(self.velocity != 0))


@dataclass(frozen=True)
class Scene:
    """Balls before a textured wall at z = `wall_depth` metres, seen by a camera of constant velocity and turn rate."""

    balls: tuple[Ball, ...]
    wall_depth: float
    wall_waves: np.ndarray  # (n, 6): wave vector (cycles per metre, x and y), phase, RGB amplitude
    camera_velocity: np.ndarray  # (3,) m/s
    camera_turn: np.ndarray  # (3,) rotation vector per second, rad/s

    @property
    def camera_moving(self) -> bool:
        """True if the camera translates or turns."""
        return bool(np.any(self.camera_velocity != 0) or np.any(self.camera_turn != 0))


@dataclass(frozen=True)
class Clip4D:
    """A rendered clip and its ground truth.

    Attributes:
        frames: uint8 (T, H, W, 3), RGB.
        depth: float32 (T, H, W), metres along the optical axis of each frame's own camera.
        flow_2d_backward: float32 (T, 2, H, W), pixels; lives on frame t's grid and points to frame t-1, channel 0 is
            u (right) and 1 is v (down). Frame 0 has no predecessor: it is zero and must not be used.
        motion: bool (T, H, W), the pixel shows a ball that moves by itself.
        camray: float32 (T, 6, h, w), unit ray direction d then moment m = origin x d (metres), world frame.
        instance: int8 (T, H, W), index of the visible ball, -1 for the wall.
        timestamps: float64 (T,), seconds from the first frame.
        intrinsics: float64 (3, 3), pixels.
        poses: float64 (T, 4, 4), camera to world.
        scene: The scene the clip was rendered from.
    """

    frames: np.ndarray
    depth: np.ndarray
    flow_2d_backward: np.ndarray
    motion: np.ndarray
    camray: np.ndarray
    instance: np.ndarray
    timestamps: np.ndarray
    intrinsics: np.ndarray
    poses: np.ndarray
    scene: Scene


def intrinsics_for(height: int, width: int) -> np.ndarray:
    """Pinhole matrix (3, 3) in pixels: the focal length is the longer side (53 degrees), the centre is the middle."""
    focal = float(max(height, width))
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def camera_poses(velocity: np.ndarray, turn: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    """Camera-to-world matrices (T, 4, 4) at the given seconds for velocity (m/s) and turn (rad/s); identity at 0."""
    poses = np.tile(np.eye(4), (len(timestamps), 1, 1))
    rate = float(np.linalg.norm(turn))
    if rate > 0:
        x, y, z = turn / rate
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        angle = (rate * timestamps)[:, None, None]
        # Rodrigues' formula; the axis is fixed, so the rotation vector at time t is simply rate * t * axis.
        poses[:, :3, :3] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    poses[:, :3, 3] = timestamps[:, None] * velocity
    return poses


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


def render(
    scene: Scene,
    frames: int = 16,
    height: int = 64,
    width: int = 64,
    fps: float = 2.0,
    ray_grid: tuple[int, int] = (8, 8),
    supersample: int = 2,
) -> Clip4D:
    """Render a scene; colours average `supersample`^2 rays a pixel, ground truth is that of the centre ray."""
    timestamps = np.arange(frames) / fps
    poses = camera_poses(scene.camera_velocity, scene.camera_turn, timestamps)
    intrinsics = intrinsics_for(height, width)

    directions = _pixel_directions(poses, intrinsics, height, width, 1)
    depth, instance = _trace(scene, timestamps, poses, directions)
    points = poses[:, None, None, :3, 3] + depth[..., None] * directions
    # Index -1 picks the last row, the wall, which neither moves nor counts as moving.
    velocities = np.array([ball.velocity for ball in scene.balls] + [np.zeros(3)])
    moving = np.array([ball.moving for ball in scene.balls] + [False])
    flow = np.zeros((frames, 2, height, width))
    before = points[1:] - velocities[instance[1:]] / fps
    flow[1:] = (_project(before, poses[:-1], intrinsics) - _pixel_grid(height, width)).transpose(0, 3, 1, 2)

    return Clip4D(
        frames=_shade(scene, timestamps, poses, intrinsics, height, width, supersample),
        depth=depth.astype(np.float32),
        flow_2d_backward=flow.astype(np.float32),
        motion=moving[instance],
        camray=camera_rays(poses, intrinsics, (height, width), ray_grid),
        instance=instance.astype(np.int8),
        timestamps=timestamps,
        intrinsics=intrinsics,
        poses=poses,
        scene=scene,
    )


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
    camera_velocity, camera_turn = np.zeros(3), np.zeros(3)
    if rng.random() < 0.5:
        camera_velocity = _random_direction(rng) * rng.uniform(0.12, 0.35) * pace
        camera_turn = _random_direction(rng) * [1, 1, 0.3] * rng.uniform(0.06, 0.24) * half.min() * pace

    times = np.linspace(0, seconds, 9)[:, None]
    poses = camera_poses(camera_velocity, camera_turn, times[:, 0])
    count = int(rng.integers(2, max_balls + 1))
    balls: list[Ball] = []
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
        balls.append(Ball(str(colour), centre, radius, velocity, texture))

    waves = np.concatenate(
        [rng.uniform(-0.9, 0.9, (8, 2)), rng.uniform(0, 1, (8, 1)), rng.uniform(-0.05, 0.05, (8, 3))], axis=1
    )
    return Scene(tuple(balls), float(rng.uniform(7.5, 9.5)), waves, camera_velocity, camera_turn)


def _random_direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def _pixel_grid(height: int, width: int, supersample: int = 1) -> np.ndarray:
    """Pixel coordinates (x, y) of the samples, (H * s, W * s, 2); integers are pixel centres."""
    x = (np.arange(width * supersample) + 0.5) / supersample - 0.5
    y = (np.arange(height * supersample) + 0.5) / supersample - 0.5
    return np.stack(np.meshgrid(x, y), axis=-1)


def _pixel_directions(poses: np.ndarray, k: np.ndarray, height: int, width: int, supersample: int) -> np.ndarray:
    """World directions (T, H * s, W * s, 3) scaled to 1 along the optical axis: distance along one IS its depth."""
    grid = _pixel_grid(height, width, supersample)
    local = np.concatenate([(grid - k[:2, 2]) / k[[0, 1], [0, 1]], np.ones_like(grid[..., :1])], axis=-1)
    return local @ poses[:, None, :3, :3].swapaxes(-1, -2)


def _project(points: np.ndarray, poses: np.ndarray, k: np.ndarray) -> np.ndarray:
    """World points (T, H, W, 3) to pixels (T, H, W, 2) of the cameras `poses` (T, 4, 4)."""
    # A row vector times the camera-to-world rotation is the world-to-camera rotation of it.
    local = (points - poses[:, None, None, :3, 3]) @ poses[:, None, :3, :3]
    return local[..., :2] / local[..., 2:] * k[[0, 1], [0, 1]] + k[:2, 2]


def _trace(
    scene: Scene, timestamps: np.ndarray, poses: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Depth and index of the nearest surface along each ray, both (T, H, W)."""
    origin = poses[:, :3, 3]
    depth = (scene.wall_depth - origin[:, 2, None, None]) / directions[..., 2]
    instance = np.full(depth.shape, -1)
    squared = np.einsum("thwi,thwi->thw", directions, directions)
    for index, ball in enumerate(scene.balls):
        offset = (origin - ball.centre - timestamps[:, None] * ball.velocity).astype(directions.dtype)
        half_b = np.einsum("thwi,ti->thw", directions, offset)
        c = (offset**2).sum(-1)[:, None, None] - ball.radius**2
        discriminant = half_b**2 - squared * c
        hit = (-half_b - np.sqrt(np.maximum(discriminant, 0))) / squared
        nearer = (discriminant > 0) & (hit > 0) & (hit < depth)
        depth[nearer] = hit[nearer]
        instance[nearer] = index
    return depth, instance


def _shade(
    scene: Scene,
    timestamps: np.ndarray,
    poses: np.ndarray,
    k: np.ndarray,
    height: int,
    width: int,
    supersample: int,
) -> np.ndarray:
    """Colours uint8 (T, H, W, 3): textures fixed to the surfaces, a lamp above, ball edges averaged over samples."""
    # The wall's waves are far below the pixel frequency, so one sample a pixel suffices; it halves the time.
    rays = _pixel_directions(poses, k, height, width, 1)
    origin = poses[:, None, None, :3, 3]
    wall = (origin + rays * ((scene.wall_depth - origin[..., 2:]) / rays[..., 2:]))[..., :2]
    waves = scene.wall_waves
    wall_colour = 0.3 + np.sin(2 * np.pi * (wall @ waves[:, :2].T + waves[:, 2])) @ waves[:, 3:]

    directions = _pixel_directions(poses, k, height, width, supersample).astype(np.float32)
    depth, instance = _trace(scene, timestamps, poses, directions)
    light = _LIGHT / np.linalg.norm(_LIGHT)
    colour = np.zeros(directions.shape, dtype=np.float32)
    for index, ball in enumerate(scene.balls):
        seen = instance == index
        frame = np.nonzero(seen)[0]
        point = poses[frame, :3, 3] + depth[seen][:, None] * directions[seen]
        normal = (point - ball.centre - timestamps[frame, None] * ball.velocity) / ball.radius
        pattern = np.sin(normal @ ball.texture[:, :3].T + ball.texture[:, 3]).prod(axis=1)
        brightness = (0.5 + 0.5 * np.maximum(normal @ light, 0)) * (0.78 + 0.22 * pattern)
        colour[seen] = brightness[:, None] * np.array(COLOURS[ball.colour])
    samples = (len(timestamps), height, supersample, width, supersample)
    wall_share = (instance < 0).reshape(samples).mean(axis=(2, 4))[..., None]
    colour = colour.reshape(*samples, 3).mean(axis=(2, 4)) + wall_share * wall_colour
    return np.round(np.clip(colour, 0, 1) * 255).astype(np.uint8)
