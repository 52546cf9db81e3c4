# SPDX-License-Identifier: Apache-2.0
"""The benchmark's questions: R4D-Bench's nine categories, answered from the states of a scene.

A question without a clear answer is not asked. What decides between its answers is a motion, not a state that one
frame shows: numbers to choose from are those that the same object would have led to, had it taken another of the ways
that it could have been drawn with. Each question also says what the first frame suggests, so that `balanced` can keep
as many of each answer whatever the first frame suggests, and whatever the time between two frames is.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from rgpt4d_plugin.synth4d.render import Clip4D
from rgpt4d_plugin.synth4d.worlds import LEVELS, NAMED, Way


COLUMNS = ("VG", "DM", "SR", "R", "C", "T", "FP", "SA", "DP")
"""R4D-Bench's categories: grounding, dimensions, spatial relations, rotation, counting, translation, false positives,
speed and acceleration, displacement and path length."""

PROBE = "Probe"
"""Questions of no category, which only show whether a mark is read at all."""

_HEADINGS = ("right", "down", "left", "up")
_CLEAR_AXIS = 1.5  # the main axis of a heading must be this many times the other
_CLEAR_SHIFT = 0.03  # of the focal length: what is seen as a motion, or as beside something, in the picture
_CLEAR_RATIO = 1.3  # of two quantities that are compared
_CLEAR_CHANGE = 1.15  # of one quantity at the end and the beginning
_CLEAR_NUMBER = 1.2  # of two numbers to choose from
_CLEAR_PLACE = 0.25  # metres between two places to choose from
_SEEN = 0.005  # of a frame's pixels


@dataclass(frozen=True)
class Question:
    """A question with its answers; `{0}` and `{1}` in texts stand for the objects.

    Attributes:
        kind: "column/name".
        text: What is asked.
        objects: Indices of the objects that it names.
        answers: All that it can be answered with, in an order that does not depend on which is right.
        right: Index of the right one.
        hint: What the first frame suggests, as an opaque word.
        measured: The answers are numbers, which are its own, so they must be listed to be chosen from.
        ordered: If its two objects change places, the other of the two answers is right.
    """

    kind: str
    text: str
    objects: tuple[int, ...]
    answers: tuple[str, ...]
    right: int
    hint: str = ""
    measured: bool = False
    ordered: bool = False


@dataclass(frozen=True)
class Track:
    """The states of one object in each frame.

    Attributes:
        centres: (T, 3) its middle in each frame's camera, metres.
        places: (T, 3) in the world, which is the first camera.
        ends: (4, 3) in the last camera: the last place, had it headed right or down and come closer, or gone away; had
            it headed left or up and come closer, or gone away.
        lengths: (levels,) of the way in metres, had it been another's.
        way: What was drawn of it.
        turn: Turns clockwise (1), counterclockwise (-1) or not, as seen from the camera.
        seen: Enough of it is seen in the first and the last frame.
    """

    centres: np.ndarray
    places: np.ndarray
    ends: np.ndarray
    lengths: np.ndarray
    way: Way
    turn: int
    seen: bool

    @property
    def end(self) -> int:
        """Index of the right one of `ends`."""
        return 2 * (self.way.heading >= 2) + (self.way.along > 0)

    @property
    def moved(self) -> float:
        """Metres between the first and the last place."""
        return float(np.linalg.norm(self.places[-1] - self.places[0]))

    @property
    def length(self) -> float:
        """Of the way in metres."""
        return float(self.lengths[self.way.level]) if self.way.moves else 0.0


def tracks_of(clip: Clip4D, ways: Sequence[Way]) -> list[Track]:
    """The states of a clip's objects, whose ways are given."""
    to_camera = np.linalg.inv(clip.poses)
    enough = _SEEN * clip.instance[0].size
    tracks = []
    for index, (body, way) in enumerate(zip(clip.scene.bodies, ways)):
        places = body.poses(clip.timestamps)[:, :3, 3]
        back = way.profile == "back"
        around = [way.shift((way.heading + 2 * turned) % 4, along=along) for turned in (0, 1) for along in (-1, 1)]
        if way.heading >= 2:
            around = around[2:] + around[:2]
        lasts = way.start + (0 if back else 1) * np.array(around)
        lengths = [np.linalg.norm(way.shift(level=level)) * (2 if back else 1) for level in range(len(LEVELS))]
        pixels = (clip.instance[[0, -1]] == index).sum(axis=(1, 2))
        tracks.append(
            Track(
                centres=np.einsum("tij,tj->ti", to_camera[:, :3, :3], places) + to_camera[:, :3, 3],
                places=places,
                ends=lasts @ to_camera[-1, :3, :3].T + to_camera[-1, :3, 3],
                lengths=np.array(lengths),
                way=way,
                turn=int(np.sign(body.turn[2])),
                seen=bool((pixels >= enough).all()),
            )
        )
    return tracks


def ask(tracks: Sequence[Track], seconds: float, rng: np.random.Generator) -> Iterator[Question]:
    """All questions about a clip of so many seconds that have a clear answer.

    `rng` draws which of two objects is named first, and the direction in which an object is asked to move.
    """
    if len(tracks) >= 3:
        counts = {
            "moving": ("move from their place", [t.way.moves for t in tracks]),
            "turning": ("turn around themselves", [t.turn != 0 for t in tracks]),
        }
        for name, (text, found) in counts.items():
            if sum(found) < 4:
                answers = ("0", "1", "2", "3")
                yield Question(f"C/{name}", f"How many objects {text}?", (), answers, sum(found), str(len(tracks)))
    asked = _HEADINGS[rng.integers(4)]
    seen = [index for index, track in enumerate(tracks) if track.seen]
    for index in seen:
        yield from _ask_one(index, tracks[index], asked, seconds)
    for pair in combinations(seen, 2):
        first, second = (int(index) for index in rng.permutation(pair))
        yield from _ask_two((first, second), tracks[first], tracks[second])


def _ask_one(index: int, track: Track, asked: str, seconds: float) -> Iterator[Question]:
    one, way = (index,), track.way
    away = way.moves and way.profile != "back"
    heading = _heading(track.places) if away else None
    yield Question("FP/moving", "Does {0} move from its place?", one, ("yes", "no"), int(not way.moves))
    if heading or not way.moves:
        right = 2 if heading is None else int(heading != asked)
        text = {"left": "to the left", "right": "to the right"}.get(asked, asked)
        answers = ("yes", "another way", "not at all")
        yield Question("FP/heading", f"Does {{0}} move {text}?", one, answers, right)
    if heading:
        yield Question("T/heading", "Which way does {0} move?", one, _HEADINGS, _HEADINGS.index(heading))
    if (closer := _fell(track.centres[:, 2])) is not None:
        yield Question("T/approach", "Does {0} come closer or go away?", one, ("closer", "away"), int(not closer))
    answers = ("clockwise", "counterclockwise", "not at all")
    yield Question("R/sense", "Which way does {0} turn around itself?", one, answers, {1: 0, -1: 1, 0: 2}[track.turn])
    across = track.centres[[0, -1], 0] / track.centres[[0, -1], 2]
    if abs(across[1]) > _CLEAR_SHIFT:
        text = "Is {0} in the left or the right half of the last frame?"
        yield Question("VG/half", text, one, ("left", "right"), int(across[1] > 0), _step(across[0], 0.1))
    if not way.moves:
        return
    if away and way.along and _apart(track.ends):
        places = tuple(f"({x:.2f}, {y:.2f}, {z:.2f})" for x, y, z in track.ends)
        text = "How far to the right, down and ahead of the camera is {0} in the last frame, in metres?"
        yield Question("VG/place", text, one, places, track.end, measured=True)
    if away and way.level:
        answers = ("faster", "slower", "neither")
        right = {"faster": 0, "slower": 1, "even": 2}[way.profile]
        yield Question("SA/change", "Does {0} get faster or slower?", one, answers, right)
    yield Question("DP/back", "Does {0} end where it began?", one, ("yes", "no"), int(way.profile != "back"))
    if _are_clear(track.lengths):
        speeds = tuple(f"{length / seconds:.3g} m/s" for length in track.lengths)
        text = "How fast is {0} on average?"
        yield Question("SA/speed", text, one, speeds, way.level, measured=True)
        lengths = tuple(f"{length:.2f} m" for length in track.lengths)
        yield Question("DP/length", "How long is the way that {0} moves?", one, lengths, way.level, measured=True)


def _ask_two(pair: tuple[int, int], first: Track, second: Track) -> Iterator[Question]:
    both = ("{0}", "{1}")
    distances = np.stack([first.centres[:, 2], second.centres[:, 2]])
    ratio = np.log(distances[0] / distances[1])
    if abs(ratio[-1]) > np.log(_CLEAR_RATIO):
        text = "Which is nearer in the last frame, {0} or {1}?"
        yield Question("SR/nearer", text, pair, both, int(ratio[-1] > 0), _step(ratio[0], 0.15), ordered=True)
    beside = np.subtract(*(track.centres[:, 0] / track.centres[:, 2] for track in (first, second)))
    if abs(beside[-1]) > _CLEAR_SHIFT:
        text = "Is {0} to the left or to the right of {1} in the last frame?"
        yield Question(
            "SR/beside", text, pair, ("left", "right"), int(beside[-1] > 0), _step(beside[0], 0.06), ordered=True
        )
    # Of two that move as far in the picture the farther one moves farther, and the first frame shows which that is.
    lengths, moved = (first.length, second.length), (first.moved, second.moved)
    if min(lengths) and (longer := _greater(lengths)) is not None:
        yield Question(
            "SA/faster", "Which is faster, {0} or {1}?", pair, both, longer, _step(ratio[0], 0.15), ordered=True
        )
    if min(lengths) and (longer := _greater(moved)) is not None:
        text = "Which ends farther from where it began, {0} or {1}?"
        yield Question("DP/farther", text, pair, both, longer, _step(ratio[0], 0.15), ordered=True)
    gap = np.linalg.norm(first.places - second.places, axis=1)
    if (closer := _fell(gap)) is not None:
        text = "Do {0} and {1} come closer to each other or move apart?"
        yield Question("DM/apart", text, pair, ("closer", "apart"), int(not closer), _step(np.log(gap[0]), 0.25))
    gaps = np.linalg.norm(first.ends - second.centres[-1], axis=1)
    if first.way.moves and first.way.profile != "back" and first.way.along and _are_clear(gaps):
        text = "How far apart are the middles of {0} and {1} in the last frame?"
        answers = tuple(f"{gap:.2f} m" for gap in gaps)
        yield Question("DM/gap", text, pair, answers, first.end, measured=True)


def ask_colours(clip: Clip4D, marked: Sequence[int]) -> Iterator[Question]:
    """`PROBE` questions about marked objects."""
    for index in marked:
        right = NAMED.index(clip.scene.bodies[index].colour)
        yield Question(f"{PROBE}/colour", "What colour is {0}?", (index,), NAMED, right)


def balanced(questions: Sequence[tuple[float, Question]], rng: np.random.Generator) -> list[int]:
    """Indices of questions of which each answer is right as often, for any kind, interval and hint.

    Args:
        questions: Each with the seconds between two frames of its clip.
        rng: Draws which are left out.
    """
    strata: dict[tuple[str, float, str], list[list[int]]] = defaultdict(list)
    for index, (interval, question) in enumerate(questions):
        by_answer = strata[question.kind, interval, question.hint]
        by_answer.extend([] for _ in range(len(question.answers) - len(by_answer)))
        by_answer[question.right].append(index)
    kept: list[int] = []
    for _, by_answer in sorted(strata.items()):
        fewest = min(map(len, by_answer))
        for indices in by_answer:
            kept += rng.permutation(np.array(indices, dtype=int))[:fewest].tolist()
    return sorted(kept)


def _heading(places: np.ndarray) -> str | None:
    """Where something goes as seen from the first camera; None if that is not clear."""
    x, y = places[-1, :2] / places[-1, 2] - places[0, :2] / places[0, 2]
    if max(abs(x), abs(y)) < max(_CLEAR_AXIS * min(abs(x), abs(y)), _CLEAR_SHIFT):
        return None
    return _HEADINGS[(0 if x > 0 else 2) if abs(x) > abs(y) else (1 if y > 0 else 3)]


def _fell(values: np.ndarray) -> bool | None:
    """Whether the last value is less than the first; None if that is not clear."""
    change = values[-1] / values[0]
    return None if max(change, 1 / change) < _CLEAR_CHANGE else bool(change < 1)


def _greater(values: Sequence[float]) -> int | None:
    return None if max(values) < _CLEAR_RATIO * min(values) else int(values[1] > values[0])


def _are_clear(values: np.ndarray) -> bool:
    values = np.sort(values)
    return bool((values[1:] > _CLEAR_NUMBER * values[:-1]).all())


def _apart(places: np.ndarray) -> bool:
    return all(np.linalg.norm(one - other) > _CLEAR_PLACE for one, other in combinations(places, 2))


def _step(value: float, size: float) -> str:
    return str(int(np.floor(value / size)))
