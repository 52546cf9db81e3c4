# SPDX-License-Identifier: Apache-2.0
"""What the base model is taught before the arms begin: to see and to name what the first frame shows.

A pretrained model knows what is where in an image and has hardly been asked what moves. A random one would have to
learn both from the few answers of an arm. No question here is about motion or time.
"""

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np


_SIDE = 0.08  # of the focal length, from the middle of the image
_NEARER = 1.15  # ratio of two depths
_COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")


def first_frame_questions(clip: Path, video: str, rng: np.random.Generator) -> dict[str, Any]:
    """A record of the host: questions about the first frame of a clip, in random order.

    Args:
        clip: Its ground truth, with the objects as `rgpt4d synth` writes them.
        video: What the record says of the video's path.
        rng: Draws the order, and what is asked of two alike.
    """
    with np.load(clip) as arrays:
        objects = json.loads(str(arrays["balls"]))
    turns = [turn for turn in _turns(objects, rng)]
    messages = []
    for number, index in enumerate(rng.permutation(len(turns))):
        text, answer = turns[index]
        messages.append({"role": "user", "content": text if number else f"<video>{text}"})
        messages.append({"role": "assistant", "content": answer})
    return {"messages": messages, "videos": [video]}


def _turns(objects: list[dict[str, Any]], rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    yield "How many objects are there?", str(len(objects))
    there = [item["colour"] for item in objects]
    absent = [colour for colour in _COLOURS if colour not in there]
    for colour, answer in ((rng.choice(there), "yes"), (rng.choice(absent), "no")):
        yield f"Is there a {colour} object?", answer
    for item in objects:
        x, y, z = item["centre"]
        for place, names in ((x / z, ("left", "right")), (y / z, ("up", "down"))):
            if abs(place) > _SIDE:
                text = f"Is the {item['colour']} object {names[0]} or {names[1]}?"
                yield text, names[int(place > 0)]
    for pair in combinations(objects, 2):
        first, second = (pair[int(index)] for index in rng.permutation(2))
        near, far = sorted(item["centre"][2] for item in pair)
        if far > _NEARER * near:
            nearer = min(pair, key=lambda item: item["centre"][2])["colour"]
            text = f"Which is nearer, the {first['colour']} object or the {second['colour']} object?"
            yield text, f"the {nearer} object"
