# SPDX-License-Identifier: Apache-2.0
"""What can be scored on the benchmark without seeing what is asked for: the baselines to lay beside a model.

They are computed from questions and states as stored, without a model. What can be learned is learned from the
training questions and scored on the held-out ones, so a baseline can be a little below chance, as a model can.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from rgpt4d_plugin.files import read_json
from rgpt4d_plugin.synth4d.tasks import PROBE


__all__ = ["BASELINES", "baselines"]

BASELINES = {
    "chance": "one option at random",
    "no video": "the answer that is right most often for the kind of question",
    "interval": "the same, given the seconds between two frames",
    "first frame": "the nearest training questions, by where the objects are in the first frame and how large",
    "last frame": "the same by the last frame, which some questions are about",
    "reference": "knows the answer for every object, but not which is meant",
}
"""Name -> what it knows. A category counts as understanding of regions only above `reference`."""

_NEIGHBOURS = 25
_REMEDY = "write the benchmark again, with `rgpt4d synth --preset`"

Items = Sequence[Mapping[str, Any]]


def baselines(folder: str | PathLike) -> dict[str, dict[str, float]]:
    """Percent of held-out questions that each baseline answers: baseline -> category, or "Avg" for all -> percent.

    Args:
        folder: As `write_benchmark` made it.
    """
    root = Path(folder)
    (train, _), (test, _) = splits = [
        (read_json(place / "questions.json", _REMEDY), read_json(place / "scenes.json", _REMEDY))
        for place in (root, root / "test")
    ]
    first, last = (
        [
            [_in_frame(item, scene, time) for item, scene in zip(items, _scenes_of(items, scenes))]
            for items, scenes in splits
        ]
        for time in (0, -1)
    )
    scores = {
        "chance": [1 / len(item["options"]) for item in test],
        "no video": _most_frequent(train, test, lambda item: (item["kind"],)),
        "interval": _most_frequent(train, test, lambda item: (item["kind"], item["interval"])),
        "first frame": _nearest(train, test, *first),
        "last frame": _nearest(train, test, *last),
        "reference": [_without_reference(item) for item in test],
    }
    return {name: _by_category(test, values) for name, values in scores.items()}


def _scenes_of(items: Items, scenes: Items) -> Iterable[Mapping[str, Any]]:
    by_clip = {scene["clip"]: scene for scene in scenes}
    return (by_clip[item["clip"]] for item in items)


def _by_category(items: Items, scores: Sequence[float]) -> dict[str, float]:
    groups: dict[str, list[float]] = defaultdict(list)
    for item, score in zip(items, scores, strict=True):
        groups[item["category"]].append(score)
        if item["category"] != PROBE:
            groups["Avg"].append(score)
    return {name: 100 * float(np.mean(group)) for name, group in groups.items()}


def _most_frequent(train: Items, test: Items, known: Callable[[Mapping[str, Any]], tuple]) -> list[float]:
    """Scores of the best of three habits: the most frequent answer for what is known, the most frequent reply, which
    is a letter where options are listed, and the most frequent rank among options that are numbers."""
    habits = []
    for habit in (lambda item: item["right"], lambda item: item["reply"], _rank):
        counts: dict[tuple, Counter] = defaultdict(Counter)
        for item in train:
            counts[known(item)][habit(item)] += 1
        habits.append([_share(habit(item), counts[known(item)]) for item in test])
    return max(habits, key=sum)


def _rank(item: Mapping[str, Any]) -> int:
    """The answer's place among the options in the order of their first numbers; words stay as they are."""
    options = sorted(item["options"], key=lambda option: [float(n) for n in re.findall(r"-?\d+\.?\d*", option)[:1]])
    return options.index(item["answer"])


def _share(answer: Any, counts: Counter) -> float:
    """What guessing one of the most frequent scores on average."""
    top = [value for value, count in counts.items() if count == max(counts.values())]
    return float(answer in top) / len(top) if top else 0.0


def _without_reference(item: Mapping[str, Any]) -> float:
    return _share(item["answer"], Counter(item["alternatives"]))


def _in_frame(item: Mapping[str, Any], scene: Mapping[str, Any], time: int) -> list[float]:
    """Where a question's objects are, how far and how large, and how many there are: all that a frame can show."""
    found = [float(len(scene["objects"]))]
    for index in item["objects"]:
        state = scene["objects"][index]
        x, y, z = state["centres"][time]
        found += [x / z, y / z, np.log(z), state["radius"]]
    return found


def _nearest(train: Items, test: Items, known: Sequence[list[float]], asked: Sequence[list[float]]) -> list[float]:
    """Scores of the answer that is most frequent among the nearest training questions of the same kind."""
    places: dict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(train):
        places[item["kind"]].append(number)
    scores = []
    tables = {}
    for kind, numbers in places.items():
        table = np.array([known[number] for number in numbers])
        scale = np.maximum(table.std(axis=0), 1e-9)
        tables[kind] = table / scale, scale, np.array([train[number]["right"] for number in numbers])
    for item, features in zip(test, asked):
        if item["kind"] not in tables:
            scores.append(0.0)
            continue
        table, scale, answers = tables[item["kind"]]
        distances = ((table - np.array(features) / scale) ** 2).sum(axis=1)
        nearest = answers[np.argsort(distances, kind="stable")[:_NEIGHBOURS]]
        scores.append(_share(item["right"], Counter(nearest.tolist())))
    return scores
