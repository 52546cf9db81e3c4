# SPDX-License-Identifier: Apache-2.0
"""COCO's JSON for videos: `videos`, `images` that are frames of one (`video_id`, `frame_id` from 0), and annotations
joined to tracks by `track_id` (or `instance_id`), as in CocoVID and TAO. Boxes, run lengths, polygons, single points.

`videos[].file_name` (or `name`) is a video file. Questions, if any, are a list of conversations in
`videos[].messages`.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rgpt4d_plugin.convert.files import annotation_files, find_media, nothing_found
from rgpt4d_plugin.convert.records import BadRecord, Dataset, Record, Row
from rgpt4d_plugin.convert.scenes import UNNAMED, Foreign, Marked, Scene, named, read_part, records_of
from rgpt4d_plugin.files import read_json, write_json
from rgpt4d_plugin.regions.bounds import area, box_of, clamped, drawn
from rgpt4d_plugin.regions.masks import decode_rle, encode_rle
from rgpt4d_plugin.regions.tracks import Entry, rounded
from rgpt4d_plugin.video.frames import VideoInfo, read_info


class Category(Foreign):
    """A kind of object."""

    id: int
    name: str


class Video(Foreign):
    """A video file."""

    id: int
    file_name: str | None = None
    name: str | None = None
    messages: list[list[dict[str, str]]] = []


class Image(Foreign):
    """A frame of a video."""

    id: int
    video_id: int
    frame_id: int | None = None
    frame_index: int | None = None


class Annotation(Foreign):
    """One object on one frame."""

    id: int
    image_id: int
    category_id: int
    bbox: list[float] | None = None
    segmentation: Any = None
    keypoints: list[float] | None = None
    track_id: int | None = None
    instance_id: int | None = None


class File(Foreign):
    """The whole file."""

    videos: list[Video] = []
    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


def datasets(src: Path, out: Path) -> list[Dataset]:
    """`coco` from all JSON files of the folder."""
    files = annotation_files(src)
    if not files:
        raise nothing_found(src, "COCO annotations of videos", ("*.json",))
    return [Dataset("coco", files, _read, lambda row: records(row, src), src, regions=True)]


def records(row: Row, src: Path) -> list[Record]:
    """One video: its tracks, and every annotation without one as a region of its own."""
    video, frames, annotations, names = row.value
    shown = video.file_name or video.name or ""
    path = find_media(src, [shown, f"videos/{shown}"], "videos.file_name")
    info = read_info(str(path))
    tracks: dict[Any, list[Annotation]] = defaultdict(list)
    for each in annotations:
        track = each.track_id if each.track_id is not None else each.instance_id
        tracks[("alone", each.id) if track is None else track].append(each)
    marked, remarks = [], []
    own = all(isinstance(key, int) and 0 < key < 10**6 for key in tracks)
    for number, (key, found) in enumerate(tracks.items(), start=1):
        entries = [{"frame": frames[each.image_id], **_shape(each, info, remarks)} for each in found]
        entries.sort(key=lambda entry: entry["frame"])
        marked.append(
            Marked(key if own else number, named(names.get(found[0].category_id, "")), [[entry] for entry in entries])
        )
    scene = Scene(path, shown, info, marked, video.messages)
    return records_of(scene, f"{row.file.stem}/{video.id}", "coco", remarks)


def write(scenes: Sequence[Scene], out: Path) -> tuple[list[Path], Counter]:
    """Writes OUT/coco.json."""
    lost: Counter = Counter()
    names = dict.fromkeys(each.name or UNNAMED for scene in scenes for each in scene.regions)
    categories = {name: number for number, name in enumerate(names, start=1)}
    videos: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes, start=1):
        size = {"width": scene.info.width, "height": scene.info.height}
        messages = [list(messages) for messages in scene.exchanges]
        about = {"id": number, "file_name": scene.shown, "name": scene.shown, "fps": scene.info.rate}
        videos.append(about | size | {"length": scene.info.frames, "messages": messages})
        ids = {}
        for frame in sorted({entry["frame"] for each in scene.regions for entry in each.entries}):
            ids[frame] = len(images) + 1
            name = f"{Path(scene.shown).stem}/{frame:06d}.jpg"
            images.append({"id": ids[frame], "video_id": number, "frame_id": frame, "file_name": name} | size)
        for each in scene.regions:
            for entry in each.entries:
                of_what = {"category_id": categories[each.name or UNNAMED], "track_id": each.number, "iscrowd": 0}
                where = {"id": len(annotations) + 1, "image_id": ids[entry["frame"]], "video_id": number}
                annotations.append(where | of_what | _columns(entry))
    listed = [{"id": number, "name": name} for name, number in categories.items()]
    content = {"videos": videos, "images": images, "annotations": annotations, "categories": listed}
    write_json(out / "coco.json", content)
    return [out / "coco.json"], lost


def _read(path: Path) -> tuple[int, list[tuple[Video, dict[int, int], list[Annotation], dict[int, str]]]]:
    """The videos of a file with the frame numbers of their images, their annotations, and names of categories."""
    try:
        file = read_part(File, read_json(path, "export it again."), path.name)
    except BadRecord as err:
        raise ValueError(f"{path} is no COCO file of videos: {err}") from err
    names = {each.id: each.name for each in file.categories}
    frames: dict[int, dict[int, int]] = defaultdict(dict)
    video_of = {}
    for image in file.images:
        frame = image.frame_id if image.frame_id is not None else image.frame_index
        if frame is None:
            raise ValueError(f"{path}: image {image.id} has neither frame_id nor frame_index; they count from 0")
        frames[image.video_id][image.id] = frame
        video_of[image.id] = image.video_id
    found: dict[int, list[Annotation]] = defaultdict(list)
    for each in file.annotations:
        if each.image_id not in video_of:
            raise ValueError(f"{path}: annotation {each.id} belongs to image {each.image_id}, which is not there")
        found[video_of[each.image_id]].append(each)
    if unknown := found.keys() - {video.id for video in file.videos}:
        raise ValueError(f"{path}: images belong to video {min(unknown)}, which is not among `videos`")
    return len(file.videos), [(video, frames[video.id], found[video.id], names) for video in file.videos]


def _shape(each: Annotation, info: VideoInfo, remarks: list[str]) -> dict[str, Any]:
    """The most exact shape that an annotation has: mask, polygon, point of no box, box."""
    found = each.segmentation
    if isinstance(found, dict):
        try:
            return {"mask": encode_rle(decode_rle(found, (info.height, info.width)))}
        except ValueError as err:
            raise BadRecord("broken mask", f"annotation {each.id}.segmentation", str(err)) from err
    if isinstance(found, list) and len(found) > 1:
        remarks.append("several polygons of one object: kept as a mask")
        return {"mask": encode_rle(drawn(found, info.width, info.height))}
    if isinstance(found, list) and found:
        return {"polygon": [list(pair) for pair in zip(found[0][::2], found[0][1::2], strict=True)]}
    if not each.bbox or len(each.bbox) != 4:
        raise BadRecord("no shape", f"annotation {each.id}", "has no box [x, y, width, height] and no segmentation")
    x, y, width, height = each.bbox
    if each.keypoints and not (width and height):
        return {"point": each.keypoints[:2]}
    return {"box": rounded(clamped((x, y, x + width, y + height), info.width, info.height))}


def _columns(entry: Entry) -> dict[str, Any]:
    if "point" in entry:
        x, y = entry["point"]
        return {"bbox": [x, y, 0, 0], "area": 0, "segmentation": [], "keypoints": [x, y, 2], "num_keypoints": 1}
    box = box_of(entry)
    columns: dict[str, Any] = {"bbox": rounded([box[0], box[1], box[2] - box[0], box[3] - box[1]]), "area": area(box)}
    if "mask" in entry:
        return columns | {"segmentation": entry["mask"], "area": int(decode_rle(entry["mask"]).sum())}
    polygon = [[side for point in entry["polygon"] for side in point]] if "polygon" in entry else []
    return columns | {"segmentation": polygon}
