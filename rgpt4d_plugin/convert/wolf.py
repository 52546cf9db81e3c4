# SPDX-License-Identifier: Apache-2.0
"""Wolf: one caption per video, of driving, daily life and robots.

The published folder (NVlabs/Wolf): `annotations/*.json`, objects from a video's name to its caption, which is a text
or an object with the text under `output`. The videos come from elsewhere (the driving ones have to be cut from
nuScenes) and may lie in any folder below the source's.

There are no questions, and the sentence that 4D-RGPT trained with is not published: `INSTRUCTION` is ours.
"""

import os
from collections import defaultdict
from pathlib import Path
from reprlib import repr as shortened

from rgpt4d_plugin.convert.files import annotation_files, nothing_found, read_dict
from rgpt4d_plugin.convert.records import VIDEO, BadRecord, Dataset, Record, Row, exchange, take


INSTRUCTION = (
    "Describe this video in detail: the scene, the objects and people in it, how they move, and how the camera moves."
)
# A line of text under the name of a JSON file, where the annotations are published.
_PLACEHOLDER = "wolf_driving_index_file.json"


def datasets(src: Path, out: Path) -> list[Dataset]:
    """`wolf` from all annotation files of the folder and of its `annotations/`."""
    files = [path for path in annotation_files(src, src / "annotations") if path.name != _PLACEHOLDER]
    if not files:
        raise nothing_found(src, "Wolf", ("annotations/*.json", "*.json"))
    videos = _videos(src)
    return [Dataset("wolf", files, read_dict, lambda row: records(row, src, videos), src)]


def _videos(src: Path) -> dict[str, list[Path]]:
    """All mp4 files below the folder by name."""
    found = defaultdict(list)
    for folder, _, names in os.walk(src, followlinks=True):
        for name in names:
            if name.endswith(".mp4"):
                found[name].append(Path(folder, name))
    return found


def records(row: Row, src: Path, videos: dict[str, list[Path]]) -> list[Record]:
    """The caption as the answer; its kind is the annotation file."""
    name, caption = row.value
    if isinstance(caption, dict):
        caption = take(caption, "output", str, name)
    if not isinstance(caption, str):
        raise BadRecord("wrong type", name, f"expected a caption, found {shortened(caption)}")
    paths = videos.get(name, [])
    if not paths:
        problem = f"no video of this name below {src}; without any of {row.file.name}'s videos, move that file away"
        raise BadRecord("missing media file", name, problem)
    if len(paths) > 1:
        raise BadRecord("ambiguous media file", name, f"found more than once, keep one: {', '.join(map(str, paths))}")
    messages = exchange(f"{VIDEO}{INSTRUCTION}", caption.strip())
    return [Record(name.removesuffix(".mp4"), row.file.stem, messages, paths)]
