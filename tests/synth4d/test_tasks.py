# SPDX-License-Identifier: Apache-2.0
"""Questions whose answers are worked out by hand, and what remains of many when answers are balanced.

python -m pytest tests/synth4d/test_tasks.py
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from rgpt4d_plugin.synth4d.render import render
from rgpt4d_plugin.synth4d.scene import Body, Camera, Scene, wall
from rgpt4d_plugin.synth4d.tasks import COLUMNS, Question, ask, ask_colours, balanced, tracks_of
from rgpt4d_plugin.synth4d.worlds import LEVELS, Way


SECONDS = 4.0
STILL = Way(np.array([0.0, 0.0, 4.0]), False, 0, 0, 0, "even", 0.5, 0.0, 0.3)
RIGHT = replace(STILL, start=np.array([-0.8, 0.6, 4.0]), moves=True, level=3, along=1)
"""Moves 0.25 of a focal length to the right and 35 % farther away, to (0.05, 0.15) of it at 5.4 m."""
ACROSS = replace(RIGHT, along=0)
UP_AND_BACK = replace(STILL, start=np.array([0.8, 0.6, 4.5]), moves=True, heading=3, level=2, profile="back")


def clip_of(*ways, turns=(), camera=None):
    bodies = []
    for number, way in enumerate(ways):
        velocity, acceleration = way.motion(SECONDS)
        turn = np.array([0, 0, turns[number] if number < len(turns) else 0.0])
        colour = ("red", "green", "blue")[number]
        texture = np.ones((2, 4))
        bodies.append(Body(colour, "ball", np.full(3, 0.4), way.start, velocity, texture, acceleration, turn=turn))
    waves = np.array([[0.5, 0.2, 0, 0.1, 0.05, 0.03, -0.04]])
    return render(Scene(tuple(bodies), wall(12.0, waves), camera or Camera()), 9, 96, 96, fps=8 / SECONDS)


def asked(*ways, seed=0, **scene) -> dict[tuple[str, tuple[int, ...]], Question]:
    tracks = tracks_of(clip_of(*ways, **scene), ways)
    return {(q.kind, q.objects): q for q in ask(tracks, SECONDS, np.random.default_rng(seed))}


def answer(question: Question) -> str:
    return question.answers[question.right]


def test_one_object():
    found = asked(RIGHT, STILL, UP_AND_BACK, turns=(0.4, -0.4, 0.0))
    assert answer(found["T/heading", (0,)]) == "right"
    assert answer(found["T/approach", (0,)]) == "away"
    assert answer(found["VG/half", (0,)]) == "right" and answer(found["VG/half", (2,)]) == "right"
    assert [answer(found["FP/moving", (n,)]) for n in range(3)] == ["yes", "no", "yes"]
    assert [answer(found["R/sense", (n,)]) for n in range(3)] == ["clockwise", "counterclockwise", "not at all"]
    assert [answer(found["DP/back", (n,)]) for n in (0, 2)] == ["no", "yes"]
    assert answer(found["C/moving", ()]) == "2" and answer(found["C/turning", ()]) == "2"
    assert answer(found["SA/change", (0,)]) == "neither"
    # Of what comes back it is not clear which way it moves; of what stands still, no speed or place is asked.
    assert not {("T/heading", (2,)), ("FP/heading", (2,)), ("VG/place", (2,)), ("SA/speed", (1,))} & set(found)


@pytest.mark.parametrize("profile", ["faster", "slower"])
def test_a_change_of_speed(profile):
    assert answer(asked(replace(RIGHT, profile=profile))["SA/change", (0,)]) == profile


def test_false_premises():
    for seed in range(8):
        found = asked(RIGHT, STILL, UP_AND_BACK, seed=seed)
        moving, still = found["FP/heading", (0,)], found["FP/heading", (1,)]
        assert moving.text == still.text and answer(still) == "not at all"
        assert answer(moving) == ("yes" if "to the right" in moving.text else "another way")


def test_numbers_are_those_of_other_levels_and_ways():
    across, found = asked(ACROSS, STILL, UP_AND_BACK), asked(RIGHT, STILL, UP_AND_BACK)
    lengths = [float(np.linalg.norm(ACROSS.shift(level=level))) for level in range(len(LEVELS))]
    assert across["DP/length", (0,)].answers == tuple(f"{length:.2f} m" for length in lengths)
    assert across["DP/length", (0,)].right == 3
    assert answer(across["SA/speed", (0,)]) == f"{lengths[3] / SECONDS:.3g} m/s"
    assert answer(across["DP/length", (2,)]) == f"{2 * np.linalg.norm(UP_AND_BACK.shift()):.2f} m"
    # Of what also goes away a lot, the way is about as long at all levels: no clear answer.
    assert ("DP/length", (0,)) not in found

    x, y, z = RIGHT.start + RIGHT.shift()
    assert answer(found["VG/place", (0,)]) == f"({x:.2f}, {y:.2f}, {z:.2f})"
    mirrored = RIGHT.start + RIGHT.shift(heading=2, along=-1)
    assert "({:.2f}, {:.2f}, {:.2f})".format(*mirrored) in found["VG/place", (0,)].answers
    other = replace(STILL, start=np.array([0.6, 0.6, 4.5]))
    gaps = asked(RIGHT, other, seed=1) | asked(RIGHT, other, seed=0)  # the first that is named is the one that moves
    assert answer(gaps["DM/gap", (0, 1)]) == f"{np.linalg.norm(RIGHT.start + RIGHT.shift() - other.start):.2f} m"


def test_which_number_is_right_does_not_depend_on_the_others():
    """An object that takes the other's way has the same numbers to choose from, and the other one is right."""
    other = replace(RIGHT, heading=2, along=-1)
    one, two = (asked(way, STILL, UP_AND_BACK)["VG/place", (0,)] for way in (RIGHT, other))
    assert one.answers == two.answers and one.right != two.right
    one, two = (asked(replace(ACROSS, level=level))["SA/speed", (0,)] for level in (1, 2))
    assert one.answers == two.answers and (one.right, two.right) == (1, 2)


def test_two_objects():
    found = {kind: q for (kind, objects), q in asked(RIGHT, STILL).items() if len(objects) == 2}
    first = found["SR/nearer"].objects[0]
    assert found["SR/nearer"].answers == ("{0}", "{1}") and answer(found["SR/nearer"]) == ("{0}" if first else "{1}")
    beside = found["SR/beside"]
    assert answer(beside) == ("right" if beside.objects[0] == 0 else "left") and beside.ordered
    assert "SA/faster" not in found  # one of them stands still
    distance = [np.linalg.norm(RIGHT.start - STILL.start), np.linalg.norm(RIGHT.start + RIGHT.shift() - STILL.start)]
    assert answer(found["DM/apart"]) == ("apart" if distance[1] > distance[0] else "closer")

    found = {kind: q for (kind, objects), q in asked(RIGHT, UP_AND_BACK).items() if len(objects) == 2}
    faster, farther = found["SA/faster"], found["DP/farther"]
    assert faster.objects[faster.right] == (0 if RIGHT_LENGTH > 2 * BACK_LENGTH else 1)
    assert farther.objects[farther.right] == 0  # the other one comes back


RIGHT_LENGTH = float(np.linalg.norm(RIGHT.shift()))
BACK_LENGTH = float(np.linalg.norm(UP_AND_BACK.shift()))


def test_the_camera_s_motion_is_not_the_object_s():
    """It flies to the right, so what stands still goes left in the picture."""
    found = asked(STILL, RIGHT, camera=Camera(np.array([0.15, 0.0, 0.0])))
    assert answer(found["FP/moving", (0,)]) == "no" and answer(found["T/heading", (1,)]) == "right"
    closer = asked(STILL, camera=Camera(np.array([0.0, 0.0, 0.3])))
    assert answer(closer["T/approach", (0,)]) == "closer"


def test_what_is_hidden_or_out_of_view_is_not_asked_about():
    behind = replace(STILL, start=np.array([0.0, 0.0, 8.0]))
    assert not any(1 in objects for _, objects in asked(STILL, behind))


def test_kinds_begin_with_a_category():
    found = asked(RIGHT, STILL, UP_AND_BACK, turns=(0.4, 0.0, 0.0))
    assert {kind.split("/")[0] for kind, _ in found} == set(COLUMNS)
    clip = clip_of(RIGHT, STILL)
    assert [answer(question) for question in ask_colours(clip, [1, 0])] == ["green", "red"]


def test_answers_are_as_frequent_for_each_kind_interval_and_hint():
    rng = np.random.default_rng(0)
    questions = []
    for number in range(3000):
        hint, interval = str(number % 3), (0.5, 1.0)[number % 2]
        right = int(rng.random() < (0.2 if hint == "0" else 0.7))
        questions.append((interval, Question("T/x", "?", (), ("a", "b"), right, hint)))
    questions.append((0.5, Question("T/x", "?", (), ("a", "b"), 0, "seldom")))
    kept = balanced(questions, rng)
    counts = Counter((interval, question.hint, question.right) for interval, question in (questions[i] for i in kept))
    assert set(counts) == {(i, h, r) for i in (0.5, 1.0) for h in "012" for r in (0, 1)}
    assert all(counts[i, h, 0] == counts[i, h, 1] > 50 for i, h, _ in counts)
    assert kept == sorted(set(kept))
