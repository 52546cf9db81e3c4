# SPDX-License-Identifier: Apache-2.0
"""The benchmark's questions: nine categories, answered from the states of a scene.

A question that has no clear answer is not asked. Each names the answers that it could have had, and what the first
frame alone would suggest; `balanced` then keeps as many of each answer, whatever the first frame suggests and whatever
the time between two frames is, so that none of it is worth anything.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np


CATEGORIES = {
    "3D Video Grounding": "VG",
    "Dimensional Measurement": "DM",
    "Spatial Relation": "SR",
    "Rotational": "R",
    "Counting": "C",
    "Translational": "T",
    "False Positives": "FP",
    "Speed & Acceleration": "SA",
    "Displacement & Path Length": "DP",
}
"""R4D-Bench's tasks and their columns."""

_CLEAR = 1.3  # ratio of two quantities whose order is asked for
_CLEAR_AXIS = 1.5  # the main axis of a heading must be this many times the other
_CLEAR_SHIFT = 0.04  # of the focal length, in the image
_LARGE = 1.15  # ratio of two distances of one object that counts as a change


@dataclass(frozen=True)
class Question:
    """A question with its answers; `{0}` and `{1}` in texts stand for the objects.

    Attributes:
        kind: "category/name".
        text: What is asked.
        objects: Indices of the objects that it names.
        answers: All answers that a question of this kind can have.
        answer: The right one.
        hint: What the first frame alone suggests, "" for nothing.
    """

    kind: str
    text: str
    objects: tuple[int, ...]
    answers: tuple[str, ...]
    answer: str
    hint: str = ""


@dataclass(frozen=True)
class Track:
    """The states of one object: `centres` (T, 3) in each frame's camera, `ways` (T, 3) in the world, in metres;
    `moves` by itself; `seen`: it is visible in the first and the last frame."""

    centres: np.ndarray
    ways: np.ndarray
    moves: bool
    seen: bool

    @property
    def pixels(self) -> np.ndarray:
        """(T, 2) in focal lengths from the middle of the image."""
        return self.centres[:, :2] / self.centres[:, 2:]

    @property
    def path(self) -> float:
        """Length of its way in metres."""
        return float(np.linalg.norm(np.diff(self.ways, axis=0), axis=1).sum())


def ask(tracks: Sequence[Track], rng: np.random.Generator) -> Iterator[Question]:
    """All questions about a clip with a clear answer; `rng` decides which of two objects is named first."""
    moving = sum(track.moves for track in tracks)
    yield Question("C/moving", "How many objects move?", (), ("0", "1", "2", "3"), str(moving))
    for index, track in enumerate(tracks):
        if track.seen:
            yield from _ask_one(index, track)
    seen = [index for index, track in enumerate(tracks) if track.seen]
    for pair in combinations(seen, 2):
        pair = tuple(int(index) for index in rng.permutation(pair))
        yield from _ask_two(pair, tracks[pair[0]], tracks[pair[1]])


def _ask_one(index: int, track: Track) -> Iterator[Question]:
    one = (index,)
    yield Question("FP/moving", "Does {0} move by itself?", one, ("yes", "no"), _yes(track.moves))
    shift = track.pixels[-1] - track.pixels[0]
    headings = ("left", "right", "up", "down")
    if track.moves and (heading := _heading(shift)) and heading == _heading(track.ways[-1, :2] - track.ways[0, :2]):
        yield Question("T/heading", "Which way does {0} move?", one, headings, heading)
    if track.moves:
        change = track.centres[-1, 2] / track.centres[0, 2]
        if max(change, 1 / change) > _LARGE:
            text = "Does {0} come closer or go away?"
            yield Question("T/approach", text, one, ("closer", "away"), "closer" if change < 1 else "away")


def _ask_two(pair: tuple[int, ...], first: Track, second: Track) -> Iterator[Question]:
    both = ("{0}", "{1}")

    def which(values: Sequence[float]) -> str:
        return both[int(values[0] < values[1])]

    near = 1 / np.array([first.centres[[0, -1], 2], second.centres[[0, -1], 2]])
    if near[:, 1].max() > _CLEAR * near[:, 1].min():
        text = "Which is nearer at the end, {0} or {1}?"
        yield Question("SR/nearer", text, pair, both, which(near[:, 1]), which(near[:, 0]))
    paths = (first.path, second.path)
    if min(paths) > 0 and max(paths) > _CLEAR * min(paths):
        yield Question("SA/faster", "Which is faster, {0} or {1}?", pair, both, which(paths))
    apart = np.linalg.norm(first.ways - second.ways, axis=1)
    change = apart[-1] / apart[0]
    if max(change, 1 / change) > _LARGE:
        answers = ("closer", "apart")
        text = "Do {0} and {1} come closer to each other or move apart?"
        yield Question("DM/apart", text, pair, answers, answers[int(change > 1)])


def balanced(questions: Sequence[tuple[float, Question]], rng: np.random.Generator) -> list[int]:
    """Indices of questions of which each answer occurs as often, for any kind, interval and hint of the first frame.

    Args:
        questions: Each with the seconds between two frames of its clip.
        rng: Draws which are left out.
    """
    strata: dict[tuple, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, (interval, question) in enumerate(questions):
        strata[question.kind, interval, question.hint][question.answer].append(index)
    kept: list[int] = []
    for (kind, *_), by_answer in sorted(strata.items()):
        wanted = next(q.answers for _, q in questions if q.kind == kind)
        fewest = min(len(by_answer[answer]) for answer in wanted)
        for answer in wanted:
            kept += rng.permutation(by_answer[answer])[:fewest].astype(int).tolist()
    return sorted(kept)


def _heading(shift: np.ndarray) -> str | None:
    x, y = shift
    if max(abs(x), abs(y)) < max(_CLEAR_AXIS * min(abs(x), abs(y)), _CLEAR_SHIFT):
        return None
    if abs(x) > abs(y):
        return "right" if x > 0 else "left"
    return "down" if y > 0 else "up"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
