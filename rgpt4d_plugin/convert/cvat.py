# SPDX-License-Identifier: Apache-2.0
"""CVAT for video XML 1.1: tracks of boxes, polygons, points and masks, one file per video, or per project.

Frames are numbers of the source video. A track is followed until an annotation that says `outside`. Between key frames
CVAT writes what it interpolated; where a file has key frames only, boxes and points are interpolated linearly here.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import defusedxml.ElementTree
import numpy as np
from defusedxml import DefusedXmlException

from rgpt4d_plugin.convert.files import find_media, nothing_found
from rgpt4d_plugin.convert.records import BadRecord, Dataset, Record, Row
from rgpt4d_plugin.convert.scenes import (
    UNNAMED,
    Foreign,
    Marked,
    Scene,
    named,
    read_part,
    records_of,
    step_of,
)
from rgpt4d_plugin.files import write_whole
from rgpt4d_plugin.regions.bounds import box_around, clamped
from rgpt4d_plugin.regions.masks import decode_rle, encode_rle, run_lengths
from rgpt4d_plugin.regions.tracks import Entry
from rgpt4d_plugin.video.frames import VideoInfo, read_info


_POINTS = re.compile(r"-?[\d.]+(?:e-?\d+)?,-?[\d.]+(?:e-?\d+)?(?:;-?[\d.]+(?:e-?\d+)?,-?[\d.]+(?:e-?\d+)?)*")


class At(Foreign):
    """What every annotation of a track says."""

    frame: int
    outside: bool = False
    keyframe: bool = True


class BoxAt(At):
    """Edges in pixels."""

    xtl: float
    ytl: float
    xbr: float
    ybr: float
    rotation: float = 0.0


class PointsAt(At):
    """Corners "x,y;x,y", in pixels."""

    points: str


class MaskAt(At):
    """Run lengths in the order of rows, the first outside, within a box of this place and size."""

    rle: str
    left: int
    top: int
    width: int
    height: int


_KINDS: dict[str, type[At]] = {"box": BoxAt, "polygon": PointsAt, "points": PointsAt, "mask": MaskAt}


def datasets(src: Path, out: Path) -> list[Dataset]:
    """`cvat` from all XML files of the folder."""
    files = sorted(src.glob("*.xml"))
    if not files:
        raise nothing_found(src, "an export of CVAT", ("*.xml (CVAT for video 1.1)",))
    return [Dataset("cvat", files, _read, lambda row: records(row, src), src, regions=True)]


def records(row: Row, src: Path) -> list[Record]:
    """All tracks of one task."""
    source, name, tracks = row.value
    path = find_media(src, [source, f"videos/{source}", Path(source).name], "meta.source")
    info = read_info(str(path))
    marked, remarks = [], []
    for number, track in enumerate(tracks, start=1):
        given = track.get("id", "")
        pieces = _pieces(track, info, remarks)
        if pieces:
            marked.append(
                Marked(int(given) + 1 if given.isdecimal() else number, named(track.get("label", "")), pieces)
            )
    if len({each.number for each in marked}) < len(marked):
        raise BadRecord("tracks of one id", "track.id", "two tracks of a video have the same id")
    return records_of(Scene(path, source, info, marked), name, "cvat", remarks)


def write(scenes: Sequence[Scene], out: Path) -> tuple[list[Path], Counter]:
    """Writes OUT/cvat_00001.xml and so on, one a scene; CVAT has no place for questions."""
    paths = []
    lost = Counter({"questions: left out": sum(len(scene.exchanges) for scene in scenes)})
    for number, scene in enumerate(scenes, start=1):
        root = ElementTree.Element("annotations")
        ElementTree.SubElement(root, "version").text = "1.1"
        task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
        size = ElementTree.SubElement(task, "original_size")
        texts = {"id": number, "name": scene.shown, "size": scene.info.frames, "mode": "interpolation"}
        texts |= {"start_frame": 0, "stop_frame": scene.info.last, "source": scene.shown}
        for parent, values in (
            (task, texts),
            (size, {"width": scene.info.width, "height": scene.info.height}),
        ):
            for name, value in values.items():
                ElementTree.SubElement(parent, name).text = str(value)
        labels = ElementTree.SubElement(task, "labels")
        for name in dict.fromkeys(each.name or UNNAMED for each in scene.regions):
            ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = name
        for each in scene.regions:
            track = ElementTree.SubElement(root, "track", id=str(each.number - 1), label=each.name or UNNAMED)
            for piece in each.pieces:
                for entry in piece:
                    _add(track, entry, entry["frame"], "0")
                if piece[-1]["frame"] < scene.info.last:
                    _add(track, piece[-1], piece[-1]["frame"] + 1, "1")
        ElementTree.indent(root)
        paths.append(out / f"cvat_{number:05d}.xml")
        write_whole(paths[-1], ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
    return paths, +lost


def _read(path: Path) -> tuple[int, list[tuple[str, str, list[ElementTree.Element]]]]:
    """The tasks of a file: source video, name, tracks."""
    try:
        # Without a DTD there are no entities, which could grow without end or read other files.
        root = defusedxml.ElementTree.parse(path, forbid_dtd=True).getroot()
    except (ElementTree.ParseError, DefusedXmlException, UnicodeDecodeError, LookupError) as err:
        raise ValueError(f"{path} is not an XML file of CVAT ({err!r}): export it again.") from err
    if root.tag != "annotations" or root.findtext("version") != "1.1":
        raise ValueError(f"{path}: expected CVAT for video 1.1, <annotations> with <version>1.1</version>")
    tasks = list(root.iterfind("meta/task")) or list(root.iterfind("meta/project/tasks/task"))
    tracks = list(root.iterfind("track"))
    if root.find("image") is not None:
        raise ValueError(f"{path} is CVAT for images; export the task as CVAT for video 1.1")
    found = []
    for task in tasks:
        source, number = task.findtext("source") or root.findtext("meta/source") or "", task.findtext("id") or ""
        of_task = [track for track in tracks if len(tasks) == 1 or track.get("task_id") == number]
        found.append((source, f"{path.stem}/{number}", of_task))
    return len(found), found


def _pieces(track: ElementTree.Element, info: VideoInfo, remarks: list[str]) -> list[list[Entry]]:
    """Key frames, and enough of what CVAT interpolated between them."""
    step = step_of(info)
    pieces: list[list[Entry]] = [[]]
    for element in sorted(track, key=lambda element: int(element.get("frame", "0"))):
        if element.tag not in _KINDS:
            remarks.append(f"annotations of the kind {element.tag} are passed over")
            continue
        at = read_part(_KINDS[element.tag], dict(element.attrib), f"track {track.get('id')}.{element.tag}")
        if at.outside:
            pieces += [[]] if pieces[-1] else []
            continue
        last = pieces[-1][-1]["frame"] if pieces[-1] else -step
        if at.keyframe or at.frame - last >= step:
            pieces[-1] += [{"frame": at.frame, **shape} for shape in _shapes(element.tag, at, info, remarks)]
    return [piece for piece in pieces if piece]


def _shapes(tag: str, at: Any, info: VideoInfo, remarks: list[str]) -> Iterator[dict[str, Any]]:
    """The annotation as a record has it."""
    if tag == "box":
        if at.rotation:
            remarks.append("the rotation of boxes is passed over")
        # CVAT lets shapes hang over the edge.
        yield {"box": clamped([at.xtl, at.ytl, at.xbr, at.ybr], info.width, info.height)}
    elif tag == "mask":
        runs = np.array([int(run) for run in at.rle.split(",")])
        if (runs < 0).any() or runs.sum() != at.width * at.height:
            raise BadRecord("broken mask", "mask.rle", f"the runs sum to {runs.sum()}, not to the box's pixels")
        whole = np.zeros((info.height, info.width), dtype=bool)
        part = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(at.height, at.width)
        whole[at.top : at.top + at.height, at.left : at.left + at.width] = part
        yield {"mask": encode_rle(whole)}
    else:
        if not _POINTS.fullmatch(at.points):
            raise BadRecord("broken points", f"{tag}.points", f"expected x,y;x,y, found {at.points[:60]!r}")
        pairs = ([float(side) for side in pair.split(",")] for pair in at.points.split(";"))
        points = [clamped(pair, info.width, info.height) for pair in pairs]
        if tag == "points":
            if len(points) > 1:
                remarks.append("of several points of one annotation the first one counts")
            yield {"point": points[0]}
        else:
            yield {"polygon": points}


def _add(track: ElementTree.Element, entry: Entry, frame: int, outside: str) -> None:
    common = {"frame": str(frame), "keyframe": "1", "outside": outside, "occluded": "0", "z_order": "0"}
    if "box" in entry:
        edges = dict(zip(("xtl", "ytl", "xbr", "ybr"), map(_number, entry["box"]), strict=True))
        ElementTree.SubElement(track, "box", common | edges)
    elif "mask" in entry:
        bitmap = decode_rle(entry["mask"])
        x1, y1, x2, y2 = box_around(bitmap)
        runs = run_lengths(bitmap[y1:y2, x1:x2].T)
        place = {"left": x1, "top": y1, "width": x2 - x1, "height": y2 - y1}
        texts = {name: str(value) for name, value in place.items()}
        ElementTree.SubElement(track, "mask", common | {"rle": ", ".join(map(str, runs))} | texts)
    else:
        tag = "polygon" if "polygon" in entry else "points"
        points = entry["polygon"] if tag == "polygon" else [entry["point"]]
        text = ";".join(f"{_number(x)},{_number(y)}" for x, y in points)
        ElementTree.SubElement(track, tag, common | {"points": text})


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
