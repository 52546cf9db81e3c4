# SPDX-License-Identifier: Apache-2.0
"""Candidates: boxes that were found for phrases, joined where they are one thing, and drawn with their numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from rgpt4d_plugin.curation.items import Case
from rgpt4d_plugin.regions.bounds import box_of, clamped, overlap
from rgpt4d_plugin.regions.drawing.marks import Mark, draw_marks
from rgpt4d_plugin.regions.drawing.shapes import Box
from rgpt4d_plugin.regions.drawing.shapes import Mask as MaskShape
from rgpt4d_plugin.regions.masks import decode_rle
from rgpt4d_plugin.regions.tracks import Entry, rounded
from rgpt4d_plugin.video.frames import VideoInfo, read_frames


_SAME = 0.8  # intersection over union of two boxes of one thing


def marked_frame(case: Case, numbers: Mapping[int, int] | None = None) -> Image.Image:
    """The key frame with its candidates, numbered; with `numbers`, those alone, under the numbers they map to."""
    found = case.found["tracking"]
    (picture,) = read_frames(case.item.clip.path, [found["key_frame"]])
    marks = []
    for each in found["candidates"]:
        number = each["number"] if numbers is None else numbers.get(each["number"])
        if number is not None:
            entry = next((e for e in each["entries"] if e["frame"] == found["key_frame"]), {"box": each["box"]})
            marks.append(mark(number, entry, f"<obj_{number}>" if numbers else str(number)))
    return draw_marks(picture.convert("RGB"), marks)


def mark(number: int, entry: Entry, label: str) -> Mark:
    """The mark of an entry of a track."""
    shape = MaskShape(decode_rle(entry["mask"])) if "mask" in entry else Box(*box_of(entry))
    return Mark(label, number, shape)


def from_thousandths(values: list[Any], frame: int, phrases: Sequence[str], info: VideoInfo) -> list[dict[str, Any]]:
    """Detections of a VLM's reply; what is no box of a phrase is passed over."""
    found = []
    known = {phrase.lower(): phrase for phrase in phrases}
    for value in values:
        label, box = (value.get("label"), value.get("box")) if isinstance(value, dict) else (None, None)
        if not isinstance(label, str) or label.lower() not in known or not isinstance(box, list) or len(box) != 4:
            continue
        if not all(isinstance(side, int | float) and not isinstance(side, bool) for side in box):
            continue
        scaled = [side * (info.width, info.height)[at % 2] / 1000 for at, side in enumerate(box)]
        if (clipped := inside(scaled, info.width, info.height)) is not None:
            found.append({"frame": frame, "phrase": known[label.lower()], "score": 1.0, "box": rounded(clipped)})
    return found


def inside(box: Sequence[float], width: int, height: int) -> list[float] | None:
    """The part of a box within the frame; None if there is none."""
    x1, y1, x2, y2 = clamped(box, width, height)
    return [x1, y1, x2, y2] if x2 - x1 >= 0.5 and y2 - y1 >= 0.5 else None


def linked(detections: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """Chains of detections that are one thing: the same box for several phrases, the nearest one on the next frame."""
    chains: list[list[dict[str, Any]]] = []
    for frame in sorted({each["frame"] for each in detections}):
        here: list[dict[str, Any]] = []
        for each in (each for each in detections if each["frame"] == frame):
            same = next((other for other in here if overlap(each["box"], other["box"]) >= _SAME), None)
            if same is None:
                here.append({**each, "phrases": [each["phrase"]]})
            elif each["phrase"] not in same["phrases"]:
                same["phrases"].append(each["phrase"])
        pairs = [
            (_distance(chain[-1]["box"], each["box"]), at, number)
            for at, chain in enumerate(chains)
            for number, each in enumerate(here)
            if set(chain[-1]["phrases"]) & set(each["phrases"])
        ]
        taken: dict[str, set[int]] = {"chain": set(), "here": set()}
        for _, at, number in sorted(pairs):
            if at not in taken["chain"] and number not in taken["here"]:
                chains[at].append(here[number])
                taken["chain"].add(at)
                taken["here"].add(number)
        chains += [[each] for number, each in enumerate(here) if number not in taken["here"]]
    return chains


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Squared distance of the centres of two boxes, in half pixels."""
    return (one[0] + one[2] - other[0] - other[2]) ** 2 + (one[1] + one[3] - other[1] - other[3]) ** 2
