# SPDX-License-Identifier: Apache-2.0
"""Random scenes of the benchmark, drawn so that the first frame, and the time between frames, say nothing of a motion.

From where an object starts, every heading, speed and change of distance that can be drawn keeps it in the room and in
view, so all remain as likely as they were before one saw where it is. The time between frames does not matter either:
ways are drawn for a whole clip, however long it takes.
"""

from dataclasses import dataclass

import numpy as np

from rgpt4d_plugin.synth4d.scene import Body, Camera, Room, Scene, Shape, rotations, wall


CAMERAS = ("static", "pan", "dolly", "orbit", "hand-held")
PROFILES = ("even", "faster", "slower", "back")
"""How the way is covered: evenly, ever faster, ever slower, or there and back again. All but the last end alike."""

LEVELS = np.array([0.09, 0.16, 0.28, 0.5])
"""How far objects move across the view, as a share of its half: four speeds."""

_NEAR, _FAR = 3.5, 5.5  # metres at which objects start
_STRETCH = np.log([1.2, 1.45])  # ratio of the distances at the end and the beginning, or its inverse
NAMED = ("red", "green", "blue", "yellow", "purple", "cyan")
"""Colours that a small picture keeps apart too."""

_TRIES = 300  # of a place for an object before all are drawn again


@dataclass(frozen=True)
class World:
    """What the scenes of a preset may hold.

    Attributes:
        objects: Numbers of objects, of which one is drawn.
        shapes: Of which one is drawn for each object.
        radii: Metres from the middle to the farthest point, least and greatest.
        cameras: Of `CAMERAS`, of which one is drawn.
        walls: Whether there are a floor, a ceiling and walls at the sides.
        reach: What `LEVELS` are multiplied with.
        levels: Indices of the `LEVELS` that are drawn.
        profiles: The `PROFILES` that are drawn.
    """

    objects: tuple[int, ...] = (2, 3, 4, 5, 6)
    shapes: tuple[Shape, ...] = ("ball", "box", "disc")
    radii: tuple[float, float] = (0.25, 0.5)
    cameras: tuple[str, ...] = CAMERAS
    walls: bool = True
    reach: float = 1.0
    levels: tuple[int, ...] = tuple(range(len(LEVELS)))
    profiles: tuple[str, ...] = PROFILES


@dataclass(frozen=True)
class Way:
    """The way of an object from `start`, metres; what was drawn of it, and so what else could have been drawn."""

    start: np.ndarray
    moves: bool
    heading: int  # quarter turns from the right, downwards
    level: int  # of `LEVELS`
    along: int  # -1 comes closer, 1 goes away
    profile: str
    reach: float  # what a level is multiplied with
    tilt: float  # radians that the heading is off
    stretch: float  # logarithm of the ratio of distances

    def shift(
        self,
        heading: int | np.ndarray | None = None,
        level: int | np.ndarray | None = None,
        along: int | np.ndarray | None = None,
    ) -> np.ndarray:
        """(..., 3) from the start to the farthest point, metres; if another heading, level or `along` were drawn."""
        angle = np.pi / 2 * np.asarray(self.heading if heading is None else heading) + self.tilt
        across = LEVELS[self.level if level is None else level] * self.reach
        depth = self.start[2] * np.exp(self.stretch * np.asarray(self.along if along is None else along))
        x, y = self.start[:2] / self.start[2]
        ends = np.broadcast_arrays((x + across * np.cos(angle)) * depth, (y + across * np.sin(angle)) * depth, depth)
        return np.stack(ends, axis=-1) - self.start

    def motion(self, seconds: float) -> tuple[np.ndarray, np.ndarray]:
        """Velocity at the start (3,) and acceleration (3,), m/s and m/s^2."""
        if not self.moves:
            return np.zeros(3), np.zeros(3)
        begin, change = {"even": (1, 0), "faster": (0, 2), "slower": (2, -2), "back": (4, -8)}[self.profile]
        return self.shift() * begin / seconds, self.shift() * change / seconds**2


def draw_scene(
    rng: np.random.Generator, image: tuple[int, int], seconds: float, world: World
) -> tuple[Scene, list[Way], str]:
    """A scene whose objects have colours of their own and never touch, their ways, and the kind of its camera."""
    half = np.array([image[1], image[0]]) / (2 * max(image))  # tangents of half the angle of view
    kind = str(rng.choice(world.cameras))
    camera = _draw_camera(rng, kind, seconds, half.min())
    waves = np.concatenate(
        [rng.uniform(-0.9, 0.9, (8, 2)), rng.uniform(-0.25, 0.25, (8, 1)), rng.uniform(0, 1, (8, 1))]
        + [rng.uniform(-0.05, 0.05, (8, 3))],
        axis=1,
    )
    depth = rng.uniform(9.5, 11)
    room = wall(depth, waves)
    if world.walls:
        side, above, below = rng.uniform(3.5, 4.5), rng.uniform(2.5, 3.2), rng.uniform(2.5, 3.2)
        room = Room(np.array([-side, -above, -2.0]), np.array([side, below, depth]), waves)
    count = int(rng.choice(world.objects))
    while True:
        bodies, ways = _draw_bodies(rng, world, count, (camera, room), half, seconds)
        if len(bodies) == count:
            return Scene(tuple(bodies), room, camera), ways, kind


def _draw_camera(rng: np.random.Generator, kind: str, seconds: float, half: float) -> Camera:
    sign = rng.choice([-1, 1], 3)
    if kind == "pan":
        angles = rng.permutation([rng.uniform(0, 0.1), rng.uniform(0.1, 0.25)]) * half
        return Camera(turn=sign * [*angles, 0] / seconds)
    if kind == "dolly":
        return Camera(velocity=sign * [rng.uniform(0, 0.2), rng.uniform(0, 0.1), rng.uniform(0.3, 0.6)] / seconds)
    if kind == "orbit":
        angle = rng.uniform(0.08, 0.2) * sign[0] / seconds
        return Camera(turn=np.array([0, angle, 0]), pivot=rng.uniform(4, 5))
    if kind == "hand-held":
        sizes = np.array([0.012, 0.012, 0.006, 0.03, 0.03, 0.02])
        waves = [[rng.uniform(0.5, 3) / seconds, rng.uniform(), *(rng.uniform(-1, 1, 6) * sizes)] for _ in range(4)]
        return Camera(sway=np.array(waves))
    return Camera()


def _draw_bodies(
    rng: np.random.Generator,
    world: World,
    count: int,
    surroundings: tuple[Camera, Room],
    half: np.ndarray,
    seconds: float,
) -> tuple[list[Body], list[Way]]:
    """So many bodies, or fewer where no place was found for the next one."""
    times = np.linspace(0, seconds, 17)
    poses = surroundings[0].poses(times[[0, 4, 8, 12, 16]])
    bodies: list[Body] = []
    ways: list[Way] = []
    paths: list[np.ndarray] = []
    for colour in rng.permutation(NAMED)[:count]:
        shape: Shape = rng.choice(world.shapes)
        radius = rng.uniform(*world.radii)
        drawn = {
            "moves": bool(rng.random() < 2 / 3),
            "heading": int(rng.integers(4)),
            "level": int(rng.choice(world.levels)),
            "along": int(rng.integers(-1, 2)),
            "profile": str(rng.choice(world.profiles)),
            "reach": rng.uniform(0.9, 1.1) * world.reach * half.min(),
            "tilt": rng.uniform(-0.35, 0.35),
            "stretch": rng.uniform(*_STRETCH),
        }
        turn = np.array([0, 0, rng.choice([-1, 0, 0, 1]) * rng.uniform(1.0, 2.4) / seconds])
        texture = np.concatenate([rng.normal(0, 3.0, (2, 3)), rng.uniform(0, 2 * np.pi, (2, 1))], axis=1)
        size, attitude = _draw_form(rng, shape, radius)
        for _ in range(_TRIES):
            z = rng.uniform(_NEAR, _FAR)
            way = Way(np.append(rng.uniform(-0.6, 0.6, 2) * half * z, z), **drawn)
            if not _fits(way, radius, surroundings[1], poses, half):
                continue
            velocity, acceleration = way.motion(seconds)
            path = way.start + times[:, None] * velocity + times[:, None] ** 2 / 2 * acceleration
            if all((np.linalg.norm(path - p, axis=1) > radius + b.radius).all() for p, b in zip(paths, bodies)):
                break
        else:
            break
        bodies.append(Body(str(colour), shape, size, way.start, velocity, texture, acceleration, attitude, turn))
        ways.append(way)
        paths.append(path)
    return bodies, ways


def _draw_form(rng: np.random.Generator, shape: Shape, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Half extents (3,) and attitude (3, 3). A disc is seen from its front, at most 50 degrees from the side."""
    if shape == "box":
        sides = rng.uniform(0.55, 1, 3)
        return sides * radius / np.linalg.norm(sides), rotations(rng.normal(0, 0.6, (1, 3)))[0]
    if shape == "disc":
        axis = rng.uniform(0, 2 * np.pi)
        vector = rng.uniform(0, 0.9) * np.array([np.cos(axis), np.sin(axis), 0])
        return np.full(3, radius), rotations(vector[None])[0]
    return np.full(3, radius), np.eye(3)


def _fits(way: Way, radius: float, room: Room, poses: np.ndarray, half: np.ndarray) -> bool:
    """Whether all that could have been drawn for this start stays in the room, in view, and before the camera."""
    shifts = way.shift(np.arange(4)[:, None], -1, np.arange(-1, 2)).reshape(-1, 3)
    places = way.start + np.concatenate([np.zeros((1, 3)), shifts / 2, shifts])
    if ((places - radius < room.low) | (places + radius > room.high)).any():
        return False
    seen = np.einsum("tij,tni->tnj", poses[:, :3, :3], places - poses[:, None, :3, 3])
    return bool((np.abs(seen[..., :2]) < 0.95 * half * seen[..., 2:]).all() and (seen[..., 2] > 2 * radius).all())
