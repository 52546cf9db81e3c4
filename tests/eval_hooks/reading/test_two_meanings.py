# SPDX-License-Identifier: Apache-2.0
"""Replies that say two things, or one that can be meant in two ways: unread, unless the words around it settle it."""

import pytest

from rgpt4d_plugin.eval_hooks.answers import read_choice, read_number


MOVES = {"A": "left", "B": "right", "C": "up", "D": "not moving"}
THINGS = {"A": "table", "B": "lamp", "C": "chair"}
YES_NO = {"A": "yes", "B": "no"}
SIGNS = {"A": "3", "B": "-3", "C": "5"}
DAYS = {"A": "2024-05-03", "B": "2024-05-04"}


@pytest.mark.parametrize(
    ("options", "reply", "letter"),
    [
        # What a direction is told beside is not the direction.
        (MOVES, "It moves to the right of the left car.", "B"),
        (MOVES, "The car turns left behind the right van.", "A"),
        (MOVES, "It drives to the right past the left wall.", "B"),
        (MOVES, "It is to the right of the left one, and moves up.", "C"),
        (MOVES, "The left car moves to the right.", "B"),
        # One motion after the other.
        (MOVES, "It turns left then goes right.", None),
        (MOVES, "First it goes up, and then it turns left.", None),
        ({"A": "left then right", "B": "right then left"}, "It moves left, then right.", "A"),
        # A comparison with what was just said of something else.
        (THINGS, "The lamp is closest. The table is farther.", None),
        (THINGS, "The table is 2 m away. The lamp is nearer.", None),
        (THINGS, "The table is farther. The lamp is closest.", "B"),
        (THINGS, "The table is visible. The lamp is closer than the table.", "B"),
        # The second sentence takes back the first.
        (YES_NO, "No. Yes, it does.", None),
        (YES_NO, "Yes. No, it does not.", None),
        (YES_NO, "No. It does not turn.", "B"),
        (MOVES, "Right. Left of it stands a tree.", "B"),
        # A sign or a bullet.
        (SIGNS, "- 3", None),
        (SIGNS, "The answer is - 3", None),
        (SIGNS, "* 3", "A"),
        (SIGNS, "- 5", "C"),
        (SIGNS, "The answer is — 3", "A"),
        (SIGNS, "- 3\n- 5", None),
        ({"A": "-3", "B": "5"}, "- 3", "A"),
        # Boxes that are joined.
        (MOVES, r"\boxed{B} or \boxed{A}", None),
        (MOVES, r"$\boxed{\text{B}}$, $\boxed{A}$", None),
        (MOVES, r"\boxed{B}, that is, \boxed{\text{right}}", "B"),
        (MOVES, r"\boxed{B} \boxed{B}", "B"),
        (MOVES, r"\boxed{A}. Wait, it turns. \boxed{B}", "B"),
        # A day is no number.
        (SIGNS, "It was filmed on 3 May 2024.", None),
        (SIGNS, "May 3, 2024", None),
        (SIGNS, "03/05/2024", None),
        (SIGNS, "In the video of 2024-05-04 it hops 3 times.", "A"),
        (SIGNS, "It may 3 times hop", "A"),
        (DAYS, "It was filmed on 2024-05-04.", "B"),
    ],
)
def test_a_choice_of_two_meanings(options, reply, letter):
    assert read_choice(reply, options).letter == letter


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("- 3", None), ("The distance is - 3 m", None), ("- 3\n- 5", None), ("5 - 3 = 2", 2), ("the answer is—3", 3),
        ("x = - 3", -3), (r"\boxed{3} or \boxed{5}", None), (r"\boxed{3} \boxed{3.0}", 3),
        (r"First \boxed{3}. So the sum is \boxed{5}", 5), ("2024-05-03", None), ("Filmed on 3.5.2024.", None),
        ("On May 3rd, 2024, it was 5 m away.", 5), ("2024", 2024), ("3.5", 3.5), ("3/5", 0.6), ("march 5 steps", 5),
    ],
)  # fmt: skip
def test_a_number_of_two_meanings(reply, value):
    assert read_number(reply).value == value
