# SPDX-License-Identifier: Apache-2.0
"""The steps from a question to a question about regions.

Each yields what it found of a case, or why the case is rejected. Results are JSON values, kept by the run: the same
inputs are never asked twice.
"""

import functools
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from PIL import Image

from rgpt4d_plugin.curation.candidates import from_thousandths, inside, linked, marked_frame
from rgpt4d_plugin.curation.items import Case
from rgpt4d_plugin.curation.recipe import CurationRecipe
from rgpt4d_plugin.eval_hooks.benchmark_task import Question
from rgpt4d_plugin.eval_hooks.benchmarks.base import LETTERS
from rgpt4d_plugin.eval_hooks.benchmarks.records import Medium
from rgpt4d_plugin.eval_hooks.engines import Engine
from rgpt4d_plugin.regions.bounds import area, box_around
from rgpt4d_plugin.regions.masks import encode_rle
from rgpt4d_plugin.regions.region import MENTION
from rgpt4d_plugin.regions.tracks import at_frames, rounded
from rgpt4d_plugin.video import VideoError
from rgpt4d_plugin.video.frames import read_frames
from rgpt4d_plugin.video.sampling import spread


Outcome = dict[str, Any]
"""What a step found; {"rejected": reason, "detail": ...} ends the case, {"failed": error} is tried again."""

_LETTER = re.compile(r"\W*([A-Z])\b")


def rejected(reason: str, detail: str = "") -> Outcome:
    """The outcome that ends a case."""
    return {"rejected": reason, "detail": detail}


@dataclass(frozen=True)
class Drawn(Iterable[Medium]):
    """A picture that is drawn when it is sent, without loss: thousands would not fit in memory."""

    draw: Callable[[], Image.Image]

    def __iter__(self) -> Iterator[Medium]:
        buffer = io.BytesIO()
        self.draw().save(buffer, format="PNG")
        return iter([Medium("image", data=buffer.getvalue())])


@dataclass
class Step:
    """One step of a run; `engine` gives what asks the VLM, loaded when something is asked."""

    recipe: CurationRecipe
    engine: Callable[[], Engine]
    name: ClassVar[str]

    def depends(self, case: Case) -> Any:
        """Returns all that the outcome depends on, a JSON value."""
        raise NotImplementedError

    def work(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Outcome]]:
        """Yields an outcome for every case, in any order."""
        for case in cases:
            try:
                yield case, self.one(case)
            except VideoError as err:
                yield case, rejected("the video cannot be read", str(err))

    def one(self, case: Case) -> Outcome:
        """The outcome of a case, for steps that take one at a time."""
        raise NotImplementedError

    def ask(self, questions: Mapping[str, tuple[Case, Question]]) -> Iterator[tuple[str, str, Outcome | None]]:
        """Yields key and reply of every question, and an outcome where no reply came."""
        asked = [question for _, question in questions.values()]
        for key, reply in self.engine().ask(asked) if asked else ():
            yield key, reply.text, {"failed": reply.error} if reply.error else None

    def asked(self, prompt: str, **values: Any) -> str:
        """Returns a prompt with its places filled."""
        return self.recipe.templates[prompt].safe_substitute(values)

    @property
    def vlm(self) -> dict[str, Any]:
        """Who answers, for `depends`."""
        return self.recipe.vlm.model_dump(include={"model", "host", "max_new_tokens"})

    def question(self, key: str, prompt: str, draw: Callable[[], Image.Image] | None = None) -> Question:
        """Returns a question, about the picture that `draw` makes if there is one."""
        media = Drawn(draw) if draw else ()
        return Question(key, prompt, media, self.recipe.frames, self.recipe.vlm.max_new_tokens)


class VlmStep(Step):
    """A step that is one question to the VLM, of text alone or of one picture."""

    def prompt(self, case: Case) -> str:
        """The text."""
        raise NotImplementedError

    def draw(self, case: Case) -> Callable[[], Image.Image] | None:
        """What draws the picture before it."""
        return None

    def read(self, case: Case, reply: str) -> Outcome:
        """The outcome that a reply stands for."""
        raise NotImplementedError

    def depends(self, case: Case) -> Any:
        return [self.vlm, self.prompt(case), case.item.content, case.found.get("tracking")]

    def work(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Outcome]]:
        questions = {
            case.item.id: (case, self.question(case.item.id, self.prompt(case), self.draw(case))) for case in cases
        }
        for key, text, failure in self.ask(questions):
            case = questions[key][0]
            yield case, failure or self.read(case, text)


class Keywords(VlmStep):
    """(a) Phrases of the question that name what the answer depends on."""

    name = "keywords"

    def prompt(self, case: Case) -> str:
        item = case.item
        return self.asked(
            self.name, question=item.question, options=listed(item.options), most=self.recipe.max_phrases
        )

    def read(self, case: Case, reply: str) -> Outcome:
        found = json_in(reply, list)
        if found is None:
            return rejected("unreadable reply: keywords", reply[:500])
        phrases = [phrase for phrase in found if isinstance(phrase, str) and phrase.strip()]
        there = [each for each in dict.fromkeys(phrases) if each.lower() in case.item.question.lower()]
        if not there:
            return rejected("no phrase to mark", f"the reply was {reply[:200]!r}")
        return {"phrases": there[: self.recipe.max_phrases]}


class GroundingStep(Step):
    """(b) Boxes of the phrases on one or several of the sampled frames."""

    name = "grounding"

    def depends(self, case: Case) -> Any:
        options = self.recipe.grounding.model_dump(exclude={"model": {"device"}})
        by = [self.vlm, self.recipe.templates["grounding"].template] if self.recipe.grounding.by == "vlm" else None
        return [options, by, self.recipe.frames, case.found["keywords"], case.item.content]

    def frames(self, case: Case) -> list[int]:
        """Numbers of the frames that are looked at: the middle one of the sampled, or several, spread over them."""
        sampled = case.item.sampled(self.recipe.frames)
        count = min(self.recipe.grounding.frames, len(sampled))
        places = [len(sampled) // 2] if count == 1 else spread(count, len(sampled))
        return [sampled[place] for place in places]

    def work(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Outcome]]:
        if self.recipe.grounding.by == "model":
            yield from super().work(cases)
            return
        questions: dict[str, tuple[Case, Question]] = {}
        for case in cases:
            phrases = ", ".join(map(json.dumps, case.found["keywords"]["phrases"]))
            for number in self.frames(case):
                key, path = f"{case.item.id}@{number}", case.item.clip.path
                draw = functools.partial(_frame, path, number)
                questions[key] = (case, self.question(key, self.asked(self.name, phrases=phrases), draw))
        expected = Counter(case.item.id for case, _ in questions.values())
        replies: dict[str, dict[str, tuple[str, Outcome | None]]] = defaultdict(dict)
        for key, text, failure in self.ask(questions):
            case = questions[key][0]
            replies[case.item.id][key] = (text, failure)
            if len(replies[case.item.id]) == expected[case.item.id]:
                yield case, self._read(case, replies.pop(case.item.id))

    def _read(self, case: Case, replies: Mapping[str, tuple[str, Outcome | None]]) -> Outcome:
        """The outcome of the replies about all frames of a case."""
        found = []
        for key, (text, failure) in replies.items():
            if failure:
                return failure
            boxes = json_in(text, list)
            if boxes is None:
                return rejected("unreadable reply: grounding", text[:500])
            phrases, frame = case.found["keywords"]["phrases"], int(key.rpartition("@")[2])
            found += from_thousandths(boxes, frame, phrases, case.item.info)
        return self._outcome(found)

    def one(self, case: Case) -> Outcome:
        numbers = self.frames(case)
        found = [
            {"frame": number, "phrase": each.phrase, "score": round(each.score, 4), "box": rounded(clipped)}
            for number, picture in zip(numbers, read_frames(case.item.clip.path, numbers), strict=True)
            for each in self._detector(picture, case.found["keywords"]["phrases"])
            if (clipped := inside(each.box, *picture.size)) is not None
        ]
        return self._outcome(found)

    def _outcome(self, found: list[dict[str, Any]]) -> Outcome:
        found.sort(key=lambda each: (each["frame"], -each["score"], each["phrase"], each["box"]))
        return {"detections": found} if found else rejected("no region", "no phrase was found on the frames")

    @functools.cached_property
    def _detector(self) -> Any:
        from rgpt4d_plugin.curation.models import Detector

        return Detector(self.recipe.grounding)


class Tracking(Step):
    """(c) One candidate per thing, followed through the sampled frames: by masks, or by interpolation."""

    name = "tracking"

    def depends(self, case: Case) -> Any:
        model = self.recipe.tracking.model if self.recipe.tracking else None
        return [model, self.recipe.frames, case.found["grounding"], case.item.content]

    def one(self, case: Case) -> Outcome:
        detections = case.found["grounding"]["detections"]
        key = max(
            dict.fromkeys(each["frame"] for each in detections),
            key=lambda frame: len({each["phrase"] for each in detections if each["frame"] == frame}),
        )
        links = linked(detections)
        sampled = case.item.sampled(self.recipe.frames)
        candidates = []
        for chain in (chain for chain in links if any(each["frame"] == key for each in chain)):
            boxes = [{"frame": each["frame"], "box": each["box"]} for each in chain]
            (seed,) = (each for each in chain if each["frame"] == key)
            about = {"number": len(candidates) + 1, "phrases": seed["phrases"], "score": seed["score"]}
            candidates.append(about | {"box": seed["box"], "entries": at_frames(boxes, sampled)})
        if self.recipe.tracking is not None:
            self._follow(case, sampled, key, candidates)
        return {"key_frame": key, "candidates": candidates}

    def _follow(self, case: Case, sampled: list[int], key: int, candidates: list[dict[str, Any]]) -> None:
        pictures, at = read_frames(case.item.clip.path, sampled), sampled.index(key)
        boxes = [each["box"] for each in candidates]
        for each, masks in zip(candidates, self._tracker(pictures, at, boxes), strict=True):
            each["entries"] = [
                {"frame": frame, "mask": encode_rle(mask)}
                for frame, mask in zip(sampled, masks, strict=True)
                if mask.any()
            ]
            if masks[at].any():
                each["box"] = [float(side) for side in box_around(masks[at])]

    @functools.cached_property
    def _tracker(self) -> Any:
        from rgpt4d_plugin.curation.models import Tracker

        assert self.recipe.tracking is not None
        return Tracker(self.recipe.tracking)


class Matching(VlmStep):
    """(d), (e) The VLM sees numbered marks on the key frame, says which is meant, and rewrites the question."""

    name = "matching"

    def prompt(self, case: Case) -> str:
        info = case.item.info
        lines = [
            f"{each['number']}: found for {' and '.join(map(json.dumps, each['phrases']))}, box "
            f"{[round(1000 * side / (info.width, info.height)[at % 2]) for at, side in enumerate(each['box'])]}"
            for each in case.found["tracking"]["candidates"]
        ]
        phrases = ", ".join(map(json.dumps, case.found["keywords"]["phrases"]))
        return self.asked(self.name, regions="\n".join(lines), question=case.item.question, phrases=phrases)

    def draw(self, case: Case) -> Callable[[], Image.Image] | None:
        return lambda: marked_frame(case)

    def read(self, case: Case, reply: str) -> Outcome:
        found = json_in(reply, dict)
        regions, question = (found or {}).get("regions"), (found or {}).get("question")
        numbers = [number for number in (regions.values() if isinstance(regions, dict) else ()) if number is not None]
        if not isinstance(regions, dict) or not isinstance(question, str) or {*map(type, numbers)} - {int}:
            return rejected("unreadable reply: matching", reply[:500])
        known = {each["number"] for each in case.found["tracking"]["candidates"]}
        chosen = {phrase: number for phrase, number in regions.items() if number is not None}
        named = [int(name.removeprefix("obj_")) for name in dict.fromkeys(MENTION.findall(question))]
        if not chosen or not named:
            return rejected("no region matches", "the VLM found no single region that a phrase means")
        if not set(chosen.values()) <= known or set(named) != set(chosen.values()):
            return rejected("question and regions differ", f"{sorted(known)} are marked; the reply was {reply[:300]}")
        # Regions count from 1 in the order in which the question names them.
        order = {number: place for place, number in enumerate(named, start=1)}
        question = MENTION.sub(lambda hit: f"<obj_{order[int(hit[1].removeprefix('obj_'))]}>", question)
        phrases = {order[number]: phrase for phrase, number in chosen.items()}
        return {"question": question, "numbers": named, "phrases": [phrases[place] for place in sorted(phrases)]}


class Filters(VlmStep):
    """(f) What is left out, and why; last the question without the video, which a good question needs."""

    name = "filters"

    def prompt(self, case: Case) -> str:
        question, options = case.found["matching"]["question"], listed(case.item.options)
        return self.asked("blind", question=question, options=options)

    def depends(self, case: Case) -> Any:
        options = self.recipe.filters.model_dump()
        blind = [self.vlm, self.prompt(case)] if self.recipe.filters.blind else None
        return [options, blind, self.recipe.frames, case.found["tracking"], case.found["matching"], case.item.content]

    def work(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Outcome]]:
        left = []
        for case in cases:
            outcome = self._of_regions(case)
            if outcome or not self.recipe.filters.blind:
                yield case, outcome or {}
            else:
                left.append(case)
        yield from super().work(left)

    def read(self, case: Case, reply: str) -> Outcome:
        if _says(reply, case.item.answer, case.item.options):
            return rejected("answered without the video", f"the reply was {reply[:200]!r}")
        return {"blind": reply[:200]}

    def _of_regions(self, case: Case) -> Outcome | None:
        options, info = self.recipe.filters, case.item.info
        candidates = case.found["tracking"]["candidates"]
        sampled = len(case.item.sampled(self.recipe.frames))
        followed = self.recipe.tracking is not None or self.recipe.grounding.frames > 1
        for number in case.found["matching"]["numbers"]:
            (chosen,) = (each for each in candidates if each["number"] == number)
            name = json.dumps(chosen["phrases"][0])
            share = area(chosen["box"]) / (info.width * info.height)
            if share < options.min_area:
                return rejected("tiny region", f"{name} has {share:.2%} of the frame")
            rivals = [
                each for each in candidates if each is not chosen and set(each["phrases"]) & set(chosen["phrases"])
            ]
            if options.several is not None and any(
                each["score"] >= options.several * chosen["score"] for each in rivals
            ):
                return rejected("several candidates", f"{len(rivals) + 1} regions for {name}")
            if followed and len(chosen["entries"]) < options.min_seen * sampled:
                return rejected("leaves the frame", f"{name} is seen on {len(chosen['entries'])} of {sampled} frames")
        return None


STEPS: tuple[type[Step], ...] = (Keywords, GroundingStep, Tracking, Matching, Filters)
"""In their order; what is left is for people to verify, see `rgpt4d annotate`."""


def listed(options: Sequence[str]) -> str:
    """Returns options as lines (A) ..., with a blank line after them; nothing for none."""
    return "".join(f"({letter}) {option}\n" for letter, option in zip(LETTERS, options))


def json_in(reply: str, kind: type) -> Any:
    """Returns the last JSON value of a kind in a reply, as models wrap them in words and fences; None for none.

    A reply of more brackets in one another than Python follows has none.
    """
    opening = {list: "[", dict: "{"}[kind]
    found, end = None, 0
    for hit in re.finditer(re.escape(opening), reply):
        if hit.start() < end:
            continue
        try:
            found, end = json.JSONDecoder().raw_decode(reply, hit.start())
        except ValueError:
            continue
        except RecursionError:  # every bracket of the thousands would be one
            return None
    return found


def _says(reply: str, answer: str, options: Sequence[str]) -> bool:
    said = reply.strip().strip(".").lower()
    letter = _LETTER.match(reply)
    if options and letter and letter[1] in LETTERS[: len(options)]:
        return options[LETTERS.index(letter[1])] == answer
    return said == answer.strip().strip(".").lower()


def _frame(path: str, number: int) -> Image.Image:
    (picture,) = read_frames(path, [number])
    return picture
