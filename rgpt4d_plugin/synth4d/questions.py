# SPDX-License-Identifier: Apache-2.0
"""Questions about a clip, answered from its ground truth; one without a clear answer is not asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from rgpt4d_plugin.regions.bounds import box_around
from rgpt4d_plugin.synth4d.render import Clip4D
from rgpt4d_plugin.synth4d.scene import Body


KINDS = ("direction", "approach", "moving", "nearer", "faster", "count", "camera")

_CLEAR_AXIS = 1.5  # the main axis of a direction must be this many times the other
_CLEAR_SHIFT = 2.0  # pixels in the image
_CLEAR_DEPTH = 0.4  # metres
_CLEAR_SPEED = 1.5  # ratio of two speeds
_VISIBLE = 20  # pixels of a ball in the first and in the last frame


@dataclass(frozen=True)
class Question:
    """One question; `kind` is one of `KINDS` and groups scores."""

    kind: str
    text: str
    answer: str


def ask(clip: Clip4D, rng: np.random.Generator) -> list[Question]:
    """Returns all questions with a clear answer; `rng` only decides which of two balls is named first."""
    balls = clip.scene.bodies
    questions = [
        Question("count", "How many balls are there?", str(len(balls))),
        Question("camera", "Is the camera moving?", _yes(clip.scene.camera.moves)),
    ]
    visible = [index for index in range(len(balls)) if _is_visible(clip, index)]
    for index in visible:
        name = f"the {balls[index].colour} ball"
        questions.append(Question("moving", f"Is {name} moving by itself?", _yes(balls[index].moves)))
        if balls[index].moves:
            if direction := _direction(clip, balls[index]):
                questions.append(Question("direction", f"Which way does {name} move?", direction))
            change = np.diff(_distances(clip, balls[index]))[0]
            if abs(change) > _CLEAR_DEPTH:
                answer = "closer" if change < 0 else "away"
                questions.append(Question("approach", f"Does {name} come closer or go away?", answer))
    for pair in combinations(visible, 2):
        first, second = (balls[i] for i in rng.permutation(pair))
        names = f"the {first.colour} ball or the {second.colour} ball"
        near = [_distances(clip, ball)[0] for ball in (first, second)]
        if abs(near[0] - near[1]) > _CLEAR_DEPTH:
            answer = first.colour if near[0] < near[1] else second.colour
            questions.append(Question("nearer", f"Which is nearer at the start, {names}?", answer))
        speeds = [float(np.linalg.norm(ball.velocity)) for ball in (first, second)]
        if min(speeds) > 0 and max(speeds) > _CLEAR_SPEED * min(speeds):
            answer = first.colour if speeds[0] > speeds[1] else second.colour
            questions.append(Question("faster", f"Which is faster, {names}?", answer))
    return questions


def ask_regions(clip: Clip4D, rng: np.random.Generator) -> tuple[list[Question], list[dict]]:
    """Questions about <obj_1> and <obj_2>, two balls in random order, and their regions: boxes on the first frame.

    Every kind is asked of both balls or of none, so that the words alone never give an answer away. None for a clip
    without two visible balls.
    """
    visible = [index for index in range(len(clip.scene.bodies)) if _is_visible(clip, index)]
    if len(visible) < 2:
        return [], []
    pair = [int(index) for index in rng.permutation(visible)[:2]]
    answers = {
        "region colour": ("What colour is {}?", [clip.scene.bodies[index].colour for index in pair]),
        "region moving": ("Is {} moving by itself?", [_yes(clip.scene.bodies[index].moves) for index in pair]),
        "region direction": (
            "Which way does {} move?",
            [_direction(clip, ball) if (ball := clip.scene.bodies[index]).moves else None for index in pair],
        ),
    }
    questions = [
        Question(kind, "<obj_1> and <obj_2> are marked. " + text.format(f"<obj_{number}>"), answer)
        for kind, (text, both) in answers.items()
        if None not in both
        for number, answer in enumerate(both, start=1)
    ]
    return questions, first_frame_regions(clip, pair)


def first_frame_regions(clip: Clip4D, bodies: Sequence[int]) -> list[dict]:
    """Regions obj_1, obj_2, ... of bodies, whose indices are given: boxes on the first frame."""
    return [
        {"id": f"obj_{number}", "video": 0, "frame": 0, "box": box_around(clip.instance[0] == index)}
        for number, index in enumerate(bodies, start=1)
    ]


def _is_visible(clip: Clip4D, index: int) -> bool:
    return bool(((clip.instance[[0, -1]] == index).sum(axis=(1, 2)) >= _VISIBLE).all())


def _camera_points(clip: Clip4D, ball: Body) -> np.ndarray:
    """Centre in the camera frames of the first and the last frame, (2, 3) in metres."""
    poses = clip.poses[[0, -1]]
    centres = ball.centre + clip.timestamps[[0, -1], None] * ball.velocity
    return np.einsum("tij,ti->tj", poses[:, :3, :3], centres - poses[:, :3, 3])


def _distances(clip: Clip4D, ball: Body) -> np.ndarray:
    """Depth of the centre in the first and the last frame, (2,) in metres."""
    return _camera_points(clip, ball)[:, 2]


def _direction(clip: Clip4D, ball: Body) -> str | None:
    """Main direction in the image, or None unless the ball's own velocity says the same.

    A turning camera can carry a ball to the left that flies to the right; such a clip has no fair answer.
    """
    points = _camera_points(clip, ball)
    pixels = points[:, :2] / points[:, 2:] * clip.intrinsics[[0, 1], [0, 1]]
    shift = pixels[1] - pixels[0]
    in_image, in_world = _main_axis(shift), _main_axis(ball.velocity[:2])
    return in_image if in_image == in_world and np.abs(shift).max() > _CLEAR_SHIFT else None


def _main_axis(vector: np.ndarray) -> str | None:
    """Name of the dominant axis and sign of a vector (x right, y down), or None if there is none."""
    x, y = vector
    if max(abs(x), abs(y)) < _CLEAR_AXIS * min(abs(x), abs(y)):
        return None
    if abs(x) > abs(y):
        return "right" if x > 0 else "left"
    return "down" if y > 0 else "up"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
