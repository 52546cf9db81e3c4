# SPDX-License-Identifier: Apache-2.0
"""VLM4D: motion in real and synthetic videos, four options (ICCV 2025, arXiv 2508.02095).

Published as `real_mc.json` and `synthetic_mc.json` (at the top, in `QA/` or in `data/`), with the videos under
`videos_real/<source>/` and `videos_synthetic/`; `video` is the URL to download from. A folder may hold one of the two
files only.

The paper's verdicts are those of a judge model (o4-mini). The official reading here is the rule of the 4D-RGPT
release. It agrees with the judge on 99.9 % of direct answers, and on 96.6 % of answers with reasoning: for style
`cot` look at the strict reading. The paper samples at temperature 1.0, up to 1,024 tokens, and up to 64 frames at one
a second.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from rgpt4d_plugin.eval_hooks.benchmarks.base import LETTERS, PAPER, Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.files import below, find, read_json
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkDataError, Item, Medium, Problem, Published, Score


FILES = {"real": "real_mc.json", "synthetic": "synthetic_mc.json"}
FOLDERS = ("", "QA/", "data/")
EXOCENTRIC = 922
"""Real questions up to this number are on videos from outside the action, later ones on those of its actor."""

INSTRUCTIONS = {
    "direct": (
        "Do not generate any intermediate reasoning process. "
        "Answer directly with the option letter from the given choices."
    ),
    "cot": (
        "Answer the given multiple-choice question step by step. Begin by explaining your reasoning process clearly. "
        "In the last sentence of your response, you must conclude by stating the final answer using the following "
        "format: 'Therefore, the final answer is: $LETTER' (without quotes), where $LETTER must be only one of the "
        "options (A or B or C or D). Think step by step before answering."
    ),
}


def question_text(question: str, options: Mapping[str, Any], style: str = "direct") -> str:
    """The benchmark's prompt, which begins with an empty line; values of options are shown as they are."""
    lines = "".join(f"{letter}: {value}\n" for letter, value in options.items())
    return f"\nQuestion: {question}\n{lines}\n{INSTRUCTIONS[style]}"


def read_official(reply: str, options: int = 4) -> str | None:
    """The letter that the rule of the 4D-RGPT release reads.

    A letter at the very start, else one after "answer", "answer is" or "answer:" in any case, else the first
    upper-case one that is a word: the article in "A car ..." is an A. `options` is their number.
    """
    valid, text = LETTERS[:options], reply.strip()
    if not valid:
        return None
    found = (
        re.match(rf"([{valid}])\b", text)
        or re.search(rf"answer\s*(?:is)?\s*[:\-]?\s*([{valid}])\b", text, re.IGNORECASE)
        or re.search(rf"\b([{valid}])\b", text)
    )
    return found[1].upper() if found else None


def local_path(item: Item) -> str:
    """Returns the video's path below the folder, e.g. `videos_real/davis/camel.mp4`; the URL says it."""
    found = re.search(r"videos_(?:real|synthetic)/.+", unquote(str(item.get("video"))))
    if not found:
        raise BenchmarkDataError(f"`video`: expected videos_real/ or videos_synthetic/ in {item.get('video')!r}.")
    return found.group()


def split(item: Item) -> str:
    """ "real" or "synthetic"; nothing but the video's URL says it, and the ids begin anew in each."""
    return "real" if local_path(item).startswith("videos_real/") else "synthetic"


_UNSAID = "prompt and reader are not said"


def _verdicts(model: str, style: str, frames: str, overall: float, real: float, synthetic: float) -> Published:
    columns = {"Overall": overall, "Real": real, "Synthetic": synthetic}
    judge = "temperature 1.0, read by a language model and verified by hand"
    return Published(model, "VLM4D, released verdicts", columns, (1816,), frames, style, judge)


class VLM4D(Benchmark):
    """The benchmark that this module describes."""

    name = "vlm4d"
    title = "VLM4D"
    hub = "shijiezhou/VLM4D"
    vlmevalkit = "VLM4D_{frames}"
    revisions = {
        1816: "real and synthetic (1,816 items)",
        1371: "real only (1,371 items)",
        445: "synthetic only (445 items)",
    }
    fields = {"id": str, "video": str, "question": str, "choices": dict, "answer": (str, int)}
    notes = ("Published numbers are a judge model's verdicts; the official reading is the rule of 4D-RGPT's release.",)
    styles = ("direct", "cot")
    columns = ("Ego-centric", "Exo-centric", "Real", "Directional", "False positive", "Synthetic", "Overall")
    published = (
        Published("NVILA-Lite-8B", PAPER, {"Real": 46.5}, (1816, 1371), 16, conditions=_UNSAID),
        Published("4D-RGPT-8B", PAPER, {"Real": 52.7}, (1816, 1371), 16, conditions=_UNSAID),
        _verdicts("Qwen2.5-VL-7B", "direct", "1 fps, at most 64 frames", 44.49, 43.33, 48.09),
        _verdicts("Qwen2.5-VL-72B", "direct", "1 fps, at most 64 frames", 51.16, 49.96, 54.83),
        _verdicts("GPT-4o", "direct", "32 frames", 54.63, 56.16, 49.89),
        _verdicts("Qwen2.5-VL-7B", "cot", "1 fps, at most 64 frames", 43.83, 43.25, 45.62),
        _verdicts("Qwen2.5-VL-72B", "cot", "1 fps, at most 64 frames", 52.97, 53.10, 52.58),
        _verdicts("GPT-4o", "cot", "32 frames", 57.49, 59.96, 49.89),
        _verdicts("Gemini-2.5-Pro", "cot", "frames not said", 61.95, 63.46, 57.30),
    )

    def read(self, folder: Path) -> Sequence[Item]:
        found = []
        for name in FILES.values():
            found += [path for place in FOLDERS if (path := folder / f"{place}{name}").is_file()][:1]
        if not found:
            found = find(folder, [f"{place}{name}" for place in FOLDERS for name in FILES.values()], self.title)
        return [item for path in found for item in read_json(path)]

    def problems(self, item: Item, folder: Path) -> Iterable[Problem]:
        choices = item["choices"]
        if "".join(choices) != LETTERS[: len(choices)] or len(choices) < 2:
            yield "wrong options", f"expected the letters from A on in order, found {list(choices)}"
        elif self.gold(item) is None:
            yield "answers that are no option", f"{item['answer']!r} is not among {list(choices.values())}"
        if split(item) == "real" and not re.fullmatch(r".*_\d+", item["id"]):
            yield "ids without a number", repr(item["id"])

    def token_limit(self, style: str | None = None) -> int:
        return 1024 if self.style(style) == "cot" else self.max_new_tokens

    def key(self, item: Item) -> str:
        return f"{Path(FILES[split(item)]).stem}/{item['id']}"

    def media(self, item: Item, folder: Path) -> list[Medium]:
        return [Medium("video", below(folder, local_path(item), "video"))]

    def prompt(self, item: Item, style: str | None = None) -> str:
        """Values are shown as published, blanks at their ends included."""
        return question_text(item["question"], item["choices"], self.style(style))

    def options(self, item: Item) -> dict[str, Any]:
        return dict(item["choices"])

    def gold(self, item: Item) -> str | None:
        """The letter of the first choice that is the answer. Both are compared as texts, a number 0 included."""
        answer = str(item["answer"])
        return next((letter for letter, value in item["choices"].items() if str(value) == answer), None)

    def category(self, item: Item) -> str:
        """One of the four groups that each item is in exactly one of."""
        if split(item) == "real":
            return "Exo-centric" if int(item["id"].split("_")[-1]) <= EXOCENTRIC else "Ego-centric"
        answer = str(item["answer"]).strip().lower()
        return "False positive" if answer == "no" or answer.startswith("no ") else "Directional"

    def columns_of(self, item: Item) -> tuple[str, ...]:
        return (self.category(item), "Real" if split(item) == "real" else "Synthetic", "Overall")

    def group(self, item: Item) -> str:
        return local_path(item)

    def score(self, item: Item, reply: str, style: str | None = None) -> Score:
        """Returns both readings; the official one is the same rule for both styles."""
        self.style(style)
        letter = read_official(reply, len(item["choices"]))
        return self._choice(item, reply, float(letter is not None and letter == self.gold(item)), letter)

    def aggregate(self, items: Sequence[Item], scores: Sequence[Score | float]) -> dict[str, float]:
        """The official columns, in percent, rounded to two decimals, as published.

        Columns of a split that is not there are 0, as upstream, and "Overall" is then the other split's.
        """
        return {name: round(value, 2) for name, value in super().aggregate(items, scores).items()}
