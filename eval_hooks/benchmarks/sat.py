# SPDX-License-Identifier: Apache-2.0
"""SAT: spatial questions on one or two images, mostly with two options (arXiv 2412.07755).

Published as `SAT_test.parquet` (150 real questions) with the text of the right answer, or, in the form that lmms-eval
takes, as `data/test-*.parquet` with its index; both embed the images. In the first form the place of the right option
is not random, so `load` gives each question once in every rotation of its options, as the authors' loader does
("circular"); their function that combines the copies is not published, and the mean over all copies is taken. The
second form is asked as it is.

The official reader is that of lmms-eval, for both prompt styles: what the authors score free-text answers with is not
published either. For style `authors`, which asks for a word, look at the strict reading.
"""

import hashlib
import re
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rgpt4d_plugin.eval_hooks.benchmarks.base import LETTERS, Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.files import encoded, find, read_parquet, text
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkDataError, Item, Medium, Problem, Score


HINT = (
    "When multiple images are provided, You want to realize that when camera moves left, the objects in the image "
    "move right, and vice versa. And when you are asked about the movement of the same object captured in different "
    "images, you can compare the position of the object relative to other objects in the image to answer the question."
)
EGO_PREFIX = "The first image is from the beginning of the video and the second image is from the end. "

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def question_text(question: str, options: Sequence[str]) -> str:
    """The prompt of lmms-eval's task."""
    lines = "".join(f"{letter}. {option}\n" for letter, option in zip(LETTERS, options))
    return f"{question.strip()}\n{HINT}\n\n{lines}\nOnly output the letter of the correct option and nothing else."


def authors_text(question: str, options: Sequence[str], kind: str) -> str:
    """The authors' prompt, which asks for a word."""
    prefix = EGO_PREFIX if kind == "ego_movement" else ""
    choice = " or ".join(f'"{option}"' for option in options)
    return (
        f"{prefix}{question.strip()} Answer the question using a single word or phrase. "
        f"Choose between the following options: {choice}."
    )


def without_stray_phrase(option: str) -> str:
    """Some options end with a phrase that only belongs into the question; the authors' loader removes it."""
    return re.sub(r"\s*in the first frame", "", option).strip()


def read_official(reply: str, question: str) -> str:
    """Returns what lmms-eval compares with the gold letter in any case: all before a blank, without punctuation.

    Options are looked for in the reply only if the question's own text lists them as "A. text", which the published
    questions do not.
    """
    answer = re.sub(r"[^\w\s]", "", reply).strip()
    listed = [found[1].strip() for found in re.findall(r"\b([A-Z])\.\s+([^\n]*)", question)]
    # Letters go by the order in which the options are listed, not by the letters they are listed with.
    letters = dict(zip(listed, LETTERS))
    found = re.search("|".join(map(re.escape, listed)), answer)
    answer = letters.get(found[0], answer) if found else answer
    return answer.split(" ")[0].strip().translate(_PUNCTUATION)


class SAT(Benchmark):
    """The benchmark that this module describes."""

    name = "sat"
    title = "SAT"
    hub = "array/SAT"
    vlmevalkit = "SAT"
    hub_files = ("SAT_test.parquet",)
    revisions = {150: "real test set (150 questions)"}
    fields = {"question": str, "answers": list, "question_type": str}
    notes = ("The official reading is lmms-eval's; the paper's own, of free-text answers, is not published.",)
    styles = ("lmms", "authors")
    columns = ("Avg",)
    kind = "image"
    embedded = True

    def read(self, folder: Path) -> Sequence[Item]:
        """Rows with their number as `row`, and the order of the options of each copy as `order`."""
        paths = find(folder, ("SAT_test.parquet", "data/test-*.parquet", "test-*.parquet"), self.title)
        rows = read_parquet(paths, list(self.fields), heavy=("image_bytes",))
        items = []
        for number, row in enumerate(rows):
            places = range(len(row["answers"]) if isinstance(row["answers"], list) else 0)
            if "correct_answer_idx" in row or not places:
                items.append(row.changed(row=number))
                continue
            for first in places:
                order = [*places[first:], *places[:first]]
                answers = [row["answers"][place] for place in order]
                items.append(row.changed(row=number, order=order, answers=answers))
        return items

    def questions(self, items: Sequence[Item]) -> int:
        """Counts the questions without their copies."""
        return len({item["row"] for item in items})

    def problems(self, item: Item, folder: Path) -> Iterable[Problem]:
        answers = item["answers"]
        if not 2 <= len(answers) <= len(LETTERS) or not all(isinstance(answer, str) for answer in answers):
            yield "wrong options", f"expected two or more texts, found {answers!r}"
        elif self.gold(item) is None:
            right = item.get("correct_answer_idx", item.get("correct_answer"))
            yield "answers that are no option", f"{right!r} is not among {answers!r}"

    def key(self, item: Item) -> str:
        """Row, and published place of the first option; for an item that `load` did not read, a digest of it."""
        if "row" not in item:
            return _digest(item, item["question"], *item["answers"])
        return f"{item['row']}/{item['order'][0]}" if "order" in item else str(item["row"])

    def media(self, item: Item, folder: Path) -> list[Medium]:
        images = item.get("image_bytes")
        if not images:
            raise BenchmarkDataError(f"SAT, item {self.key(item)}: no images in `image_bytes`.")
        return [Medium("image", data=encoded(image, f"SAT, item {self.key(item)}")) for image in images]

    def prompt(self, item: Item, style: str | None = None) -> str:
        """The options in the order of the item."""
        question, options = text(item, "question"), list(self.options(item).values())
        if self.style(style) == "authors":
            return authors_text(question, options, item["question_type"])
        return question_text(question, options)

    def options(self, item: Item) -> dict[str, Any]:
        """Returns them in the order of the item; the authors' form without the stray phrase."""
        edit = str if "correct_answer_idx" in item else without_stray_phrase
        return {letter: edit(answer) for letter, answer in zip(LETTERS, item["answers"])}

    def gold(self, item: Item) -> str | None:
        """The letter of the first option that is the answer, after the same edit of both."""
        if "correct_answer_idx" in item:
            place = item["correct_answer_idx"]
            return LETTERS[place] if isinstance(place, int) and 0 <= place < len(item["answers"]) else None
        answer = without_stray_phrase(text(item, "correct_answer"))
        return next((letter for letter, option in self.options(item).items() if option == answer), None)

    def category(self, item: Item) -> str:
        return item["question_type"]

    def group(self, item: Item) -> str:
        """The question, of which there may be several copies."""
        return str(item["row"]) if "row" in item else _digest(item, item["question"])

    def score(self, item: Item, reply: str, style: str | None = None) -> Score:
        self.style(style)
        answer = read_official(reply, text(item, "question"))
        gold = self.gold(item)
        return self._choice(item, reply, float(gold is not None and answer.lower() == gold.lower()), answer or None)


def _digest(item: Item, *texts: str) -> str:
    digest = hashlib.sha256("\0".join(texts).encode(errors="surrogatepass"))
    for image in item.get("image_bytes") or ():
        digest.update(encoded(image, "SAT"))
    return digest.hexdigest()[:16]
