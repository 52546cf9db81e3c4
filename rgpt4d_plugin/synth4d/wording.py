# SPDX-License-Identifier: Apache-2.0
"""From a question to what a model is asked and what it should reply: names of objects, options, conversations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rgpt4d_plugin.synth4d.tasks import Question


Refer = Literal["colour", "mark"]
"""How a question says which object it means: by its colour, or by a mark on the first frame, as `<obj_1>`."""

Style = Literal["word", "letter"]
"""How it is answered: in an answer's own words, or with the letter of an option, as in R4D-Bench."""


@dataclass(frozen=True)
class Names:
    """What the objects of a clip are called: in a question, and where they are its answer.

    Attributes:
        asked: Index -> name in a question.
        answered: Index -> name as an answer.
    """

    asked: Mapping[int, str]
    answered: Mapping[int, str]

    @classmethod
    def of_colours(cls, colours: Sequence[str]) -> "Names":
        """Objects named by their colours."""
        return cls({i: f"the {colour} object" for i, colour in enumerate(colours)}, dict(enumerate(colours)))

    @classmethod
    def of_marks(cls, marked: Sequence[int]) -> "Names":
        """Objects named by the marks `<obj_1>`, `<obj_2>`, ... that they have in this order."""
        marks = {index: f"<obj_{number}>" for number, index in enumerate(marked, start=1)}
        return cls(marks, marks)


def worded(
    question: Question, others: Sequence[Question], names: Names, style: Style, rng: np.random.Generator
) -> dict:
    """A question as `questions.json` has it.

    Args:
        question: What is asked.
        others: All questions about the clip that could have been asked.
        names: Of the clip's objects.
        style: How it is answered.
        rng: Shuffles the options.

    Returns:
        `category` and `kind`; `question` with its `options` and the `answer` among them; `prompt` and `reply`, what a
        model is asked and should say; `right`, the answer's number in the order of its kind, which is not shuffled;
        and `alternatives`, the answers that are right for any of the objects, or pairs, that the words could mean.
    """
    answered = [names.answered[index] for index in question.objects]
    options = [answer.format(*answered) for answer in question.answers]
    answer = options[question.right]
    asked = question.text.format(*(names.asked[index] for index in question.objects))
    same = [other for other in others if (other.kind, other.text) == (question.kind, question.text)]
    possible = [question.right] if question.measured else [other.right for other in same]
    if question.ordered:
        possible += [1 - right for right in possible]
    alternatives = [options[right] for right in possible]
    prompt, reply = asked, answer
    if style == "letter":
        options = [options[index] for index in rng.permutation(len(options))]
        letters = [chr(ord("A") + number) for number in range(len(options))]
        listed = "\n".join(f"({letter}) {option}" for letter, option in zip(letters, options))
        prompt = f"{asked}\n\nOptions:\n{listed}\n\nAnswer with only the letter of the correct option."
        reply = letters[options.index(answer)]
    return {
        "category": question.kind.split("/")[0],
        "kind": question.kind,
        "question": asked,
        "options": options,
        "answer": answer,
        "style": style,
        "prompt": prompt,
        "reply": reply,
        "objects": list(question.objects),
        "right": question.right,
        "alternatives": alternatives,
    }


def conversation(
    video: str, items: Sequence[Mapping[str, Any]], regions: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """A record of the host in which a clip's questions are asked one after the other."""
    turns = [(item["prompt"], item["reply"]) for item in items]
    messages = [
        {"role": role, "content": content}
        for prompt, reply in turns
        for role, content in (("user", prompt), ("assistant", reply))
    ]
    messages[0]["content"] = f"<video>{messages[0]['content']}"
    return {"messages": messages, "videos": [video]} | ({"regions": list(regions)} if regions else {})
