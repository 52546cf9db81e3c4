# SPDX-License-Identifier: Apache-2.0
"""Label Studio's JSON export of a project with `<VideoRectangle>`: boxes on key frames, linear in between.

Frames count from 1 and boxes are percent of width and height; a box with a rotation (degrees clockwise about its upper
left corner) becomes a polygon. Questions, if any, are in a task's data under `messages`: a list of conversations.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from rgpt4d_plugin.convert.files import annotation_files, find_media, nothing_found, read_list
from rgpt4d_plugin.convert.records import BadRecord, Dataset, Record, Row
from rgpt4d_plugin.convert.scenes import Foreign, Marked, Scene, held, read_part, records_of
from rgpt4d_plugin.files import write_json
from rgpt4d_plugin.regions.bounds import box_of, clamped
from rgpt4d_plugin.regions.tracks import Entry, rounded
from rgpt4d_plugin.video.frames import VideoInfo, read_info


_OWN_ID = re.compile(r"obj_([1-9]\d*)")


class Key(Foreign):
    """A key frame."""

    frame: int
    x: float
    y: float
    width: float
    height: float
    rotation: float = 0.0
    enabled: bool = True


class Value(Foreign):
    """A followed box. `framesCount` and `duration` (seconds) are those that the tool counted with."""

    sequence: list[Key]
    labels: list[str] = []
    framesCount: int | None = None
    duration: float | None = None


class Result(Foreign):
    """One region, or something else that was labelled."""

    type: str
    id: str = ""
    value: Any = None


class Annotation(Foreign):
    """What one annotator said about a task."""

    result: list[Result]
    was_cancelled: bool = False


class Data(Foreign):
    """What a task is about."""

    video: str
    messages: list[list[dict[str, str]]] = []


class Task(Foreign):
    """A video and its annotations."""

    id: int | str = ""
    data: Data
    annotations: list[Annotation] = []


def datasets(src: Path, out: Path) -> list[Dataset]:
    """`label_studio` from all JSON files of the folder."""
    files = annotation_files(src)
    if not files:
        raise nothing_found(src, "an export of Label Studio", ("*.json",))
    return [Dataset("label_studio", files, read_list, lambda row: records(row, src), src, regions=True)]


def records(row: Row, src: Path) -> list[Record]:
    """The last annotation of a task that was not cancelled."""
    task = read_part(Task, row.value, "")
    remarks = ()
    done = [each for each in task.annotations if not each.was_cancelled]
    if not done:
        raise BadRecord("not annotated", "annotations", "the task has no annotation")
    if len(done) > 1:
        remarks = ("several annotations of one task: the last one counts",)
    path = find_media(src, _candidates(task.data.video), "data.video")
    info = read_info(str(path))
    found = [result for result in done[-1].result if result.type == "videorectangle"]
    if len(found) < len(done[-1].result):
        remarks = (*remarks, "results that are no videorectangle are passed over")
    names = [_OWN_ID.fullmatch(result.id) for result in found]
    numbers = [int(name[1]) for name in names if name]
    if len(set(numbers)) < len(found):  # another tool's ids
        numbers = list(range(1, len(found) + 1))
    marked = []
    for number, result in zip(numbers, found, strict=True):
        value = read_part(Value, result.value, f"result {result.id!r}.value")
        if value.framesCount not in (None, info.frames):
            remarks = (*remarks, "the tool counted other frames than the file has: placed by time")
        marked.append(Marked(number, ", ".join(value.labels), _pieces(value, info)))
    scene = Scene(path, task.data.video, info, marked, task.data.messages)
    return records_of(scene, f"{row.file.stem}/{task.id or row.number}", "label_studio", remarks)


def write(scenes: Sequence[Scene], out: Path) -> tuple[list[Path], Counter]:
    """Writes OUT/label_studio.json; boxes only, others are written as their boxes, points are left out."""
    lost: Counter = Counter()
    tasks = []
    for number, scene in enumerate(scenes, start=1):
        info = scene.info
        results = []
        for each in held(scene, ("box",), lost, lambda entry: {"frame": entry["frame"], "box": box_of(entry)}).regions:
            sequence = [
                {
                    "frame": entry["frame"] + 1,
                    "time": info.time_of(entry["frame"]),
                    "enabled": entry is not piece[-1],
                    "rotation": 0,
                    **_percent(entry["box"], info),
                }
                for piece in each.pieces
                for entry in piece
            ]
            value = {"framesCount": info.frames, "duration": info.length, "sequence": sequence}
            names = {"id": f"obj_{each.number}", "type": "videorectangle", "from_name": "box", "to_name": "video"}
            results.append(names | {"value": value | {"labels": [each.name] if each.name else []}})
        data = {"video": scene.shown, "messages": [list(messages) for messages in scene.exchanges]}
        tasks.append({"id": number, "data": data, "annotations": [{"result": results}]})
    write_json(out / "label_studio.json", tasks)
    return [out / "label_studio.json"], lost


def _candidates(video: str) -> list[str]:
    """Where a task's video may lie below the folder: Label Studio gives addresses of its own server."""
    url = urlsplit(video)
    path = unquote(parse_qs(url.query).get("d", [url.path])[0]).lstrip("/")
    name = Path(path).name
    # Uploaded files have eight digits of their own before their name.
    plain = re.sub(r"^[0-9a-f]{8}-", "", name)
    return list(dict.fromkeys([path, name, plain, f"videos/{plain}"]))


def _pieces(value: Value, info: VideoInfo) -> list[list[Entry]]:
    """Key frames in pixels; the box is followed from each to the next, unless it is switched off there."""
    pieces: list[list[Entry]] = [[]]
    for key in sorted(value.sequence, key=lambda key: key.frame):
        pieces[-1].append({"frame": _frame(key, value, info), **_shape(key, info)})
        if not key.enabled:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _frame(key: Key, value: Value, info: VideoInfo) -> int:
    counted = value.framesCount
    if counted in (None, info.frames):
        return key.frame - 1
    return min(info.frame_at((key.frame - 1) * (value.duration or info.length) / counted), info.last)


def _shape(key: Key, info: VideoInfo) -> dict[str, Any]:
    across, down = info.width / 100, info.height / 100
    left, top, width, height = key.x * across, key.y * down, key.width * across, key.height * down
    if not key.rotation:
        return {"box": rounded(clamped((left, top, left + width, top + height), info.width, info.height))}
    turn = math.radians(key.rotation)
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    turned = [
        (left + x * math.cos(turn) - y * math.sin(turn), top + x * math.sin(turn) + y * math.cos(turn))
        for x, y in corners
    ]
    return {"polygon": rounded([clamped(point, info.width, info.height) for point in turned])}


def _percent(box: Sequence[float], info: VideoInfo) -> dict[str, float]:
    x1, y1, x2, y2 = box
    across, down = 100 / info.width, 100 / info.height
    return {"x": x1 * across, "y": y1 * down, "width": (x2 - x1) * across, "height": (y2 - y1) * down}
