# SPDX-License-Identifier: Apache-2.0
"""Sentences that compare two options: the subject is read, what follows "than" never is, and nothing is where which of
the two is meant depends on the question."""

import itertools

import pytest

from rgpt4d_plugin.eval_hooks.answers import read_choice


THINGS = {"A": "chair", "B": "table", "C": "lamp"}
MARKED = {"A": "obj_1", "B": "obj_2", "C": "obj_3"}
VEHICLES = {"A": "a red car", "B": "the blue bus", "C": "a tall old tree"}
MOVES = {"A": "left", "B": "right", "C": "towards the camera"}

BY_SUBJECT = (
    "{0} is closer to the camera than {1}.", "{0} is farther from the camera than {1}.", "{0} is faster than {1}.",
    "Therefore, {0} is closer than {1}.", "The answer is {0}, because it is closer than {1}.",
    "It cannot be seen well, but {0} appears nearer to the viewer than {1}.",
    "{0} moves more quickly compared to {1}.",
    "Compared with {1}, {0} is larger.", "{0} is bigger than both {1} and {2}.",
    "{0} is closer than {1}, {2} and others.",
    "Among {0}, {1}, and {2}, {0} is the closest.", "Between {1} and {0}, {0} is nearer.",
    "{0}, rather than {1}, is the closest.", "{0} is closer, while {1} is farther away.",
    "{0} is closer to the camera versus {1}.", "It is {0}, not {1}.", "**{0}** is *closer* than **{1}**.",
)  # fmt: skip
BY_QUESTION = (
    "{0} is less far than {1}.", "{0} is slower than {1}.", "{0} is smaller than {1}.", "{0} is not closer than {1}.",
    "{0} isn't any faster than {1}.", "{0} is not as fast as {1}.", "{0} is as fast as {1}.",
    "{0} is shorter than {1}.",
    "{0} has fewer legs than {1}.", "{0} is no faster than {1}.", "{0} isn't so tall as {1}.",
    "{0} is closer than {1}, and {1} is closer than {2}.", "{0} is closest; {1} is farthest.",
    "{0} is 2 m away and {1} is 3 m away.", "{0} is first, followed by {1}.", "{0} and {1} are closer than {2}.",
)  # fmt: skip


@pytest.mark.parametrize("options", [THINGS, MARKED, VEHICLES])
@pytest.mark.parametrize(("sentences", "is_read"), [(BY_SUBJECT, True), (BY_QUESTION, False)])
def test_a_comparison_is_read_by_its_subject_or_not_at_all(options, sentences, is_read):
    for sentence, letters in itertools.product(sentences, itertools.permutations(options)):
        names = [name if name[:2] in ("a ", "th", "ob") else f"the {name}" for name in map(options.get, letters)]
        reply = sentence.format(*names)
        assert read_choice(reply[0].upper() + reply[1:], options).letter == (letters[0] if is_read else None), reply


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("It moves more to the left than to the right.", "A"), ("The left car moves right.", "B"),
        ("It moves right, faster than the left car.", "B"), ("It goes left faster than before.", "A"),
        ("The car moves closer to the camera than before.", "C"), ("A is closer than B.", "A"),
        ("B is slower than A.", None), ("B is less far than A", None), ("B is more plausible than C.", "B"),
        ("B is less likely than C.", None), ("A is not as close as B", None), ("B is larger than A", "B"),
        ("C is not faster than A", None), ("B as well as C", None), ("The answer is B, as it is closer than A.", "B"),
    ],
)  # fmt: skip
def test_comparisons_of_directions_and_letters(reply, letter):
    assert read_choice(reply, MOVES).letter == letter
