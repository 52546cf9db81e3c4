# SPDX-License-Identifier: Apache-2.0
"""What the formats of annotation tools share: videos with named regions, and the questions about them.

A tool's module is a source like any other (`datasets`), and has `write(scenes, out)`, which `rgpt4d export` calls.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict

from rgpt4d_plugin.convert.records import VIDEO, BadRecord, Record, exchange
from rgpt4d_plugin.files import parse_json
from rgpt4d_plugin.regions.media_entries import parse_clip
from rgpt4d_plugin.regions.region import parse_regions
from rgpt4d_plugin.regions.tracks import Entry, entries_of, filled, kind_of, region_of
from rgpt4d_plugin.validation import Checked, check
from rgpt4d_plugin.video.frames import VideoInfo, read_info


PER_SECOND = 8
"""Annotations of a followed region that an import keeps or makes, besides key frames; hosts sample
2 frames a second."""

UNNAMED = "region"
"""The label of a region without a name, where a tool wants one."""

T = TypeVar("T")


class Foreign(Checked):
    """A part of a tool's file: what is not needed here is passed over."""

    model_config = ConfigDict(extra="ignore")


@dataclass(frozen=True)
class Marked:
    """A region of a scene; `pieces` are the times for which it is followed without a break."""

    number: int
    name: str
    pieces: Sequence[Sequence[Entry]]

    @property
    def entries(self) -> list[Entry]:
        """All of its annotations, in the order of their frames."""
        return [entry for piece in self.pieces for entry in piece]


@dataclass(frozen=True)
class Scene:
    """A video with its regions.

    Attributes:
        path: The video's file.
        shown: Its path as records and tools know it, relative to a folder of media.
        exchanges: Conversations about it, each the messages of one record.
    """

    path: Path
    shown: str
    info: VideoInfo = field(repr=False)
    regions: Sequence[Marked]
    exchanges: Sequence[Sequence[Mapping[str, str]]] = ()


def read_part(kind: type[T], value: Any, field: str) -> T:
    """Returns a checked part of a tool's file; BadRecord with all that is wrong with it."""
    problems: list[str] = []
    found = check(kind, value, field, problems)
    if found is None:
        raise BadRecord("not in this format", field or "(record)", "; ".join(problems))
    return found


def step_of(info: VideoInfo) -> int:
    """Returns the frames from one annotation of a followed region to the next."""
    return max(1, round(info.rate / PER_SECOND))


def records_of(scene: Scene, name: str, kind: str, remarks: Sequence[str] = ()) -> list[Record]:
    """Returns the records of a scene: its conversations, or, where it has none, one that names the regions."""
    if not scene.regions:
        raise BadRecord("no regions", "regions", f"nothing is marked on {scene.shown}")
    step = step_of(scene.info)
    try:
        regions = [region_of(each.number, each.name, filled(each.pieces, step)) for each in scene.regions]
        for region in parse_regions(regions, 1, 0):
            entries_of(region, scene.info)
    except ValueError as err:
        raise BadRecord("regions that do not fit the video", "regions", str(err)) from err
    remarks = tuple(dict.fromkeys(remarks))
    record = Record(name, kind, naming(scene.regions), [scene.path], regions=regions, remarks=remarks)
    if not scene.exchanges:
        return [record]
    return [
        replace(record, id=f"{name}/{number}", messages=[dict(message) for message in messages])
        for number, messages in enumerate(scene.exchanges)
    ]


def scenes_of(path: Path, media_root: Path) -> tuple[list[Scene], Counter]:
    """Reads a file of records with regions; records of one video with the same regions are one scene.

    Returns:
        The scenes in the order of the file, and what about them no tool can hold, with counts.

    Raises:
        ValueError: The file, or a record of it, cannot be used.
    """
    found: dict[str, Scene] = {}
    lost: Counter = Counter()
    for number, record in enumerate(read_records(path)):
        try:
            (clip,) = (parse_clip(entry, "videos[0]") for entry in record.get("videos") or [])
            regions = parse_regions(record.get("regions"), 1, len(record.get("images") or []))
            info = read_info(str(media_root / clip.path))
            marked = [
                Marked(region.number, str(region.raw.get("name", "")), [entries_of(region, info)])
                for region in regions
                if region.medium == "video"
            ]
        except ValueError as err:
            raise ValueError(f"{path}, record {number}: {err}") from err
        if len(marked) < len(regions):
            lost["regions of images"] += len(regions) - len(marked)
        lost["starts and ends of clips"] += clip.is_part
        messages = record.get("messages") or []
        scene = Scene(media_root / clip.path, clip.path, info, marked, [messages] if messages else [])
        key = json.dumps([clip.path, [vars(each) for each in marked]])
        before = found.get(key)
        found[key] = replace(before, exchanges=[*before.exchanges, *scene.exchanges]) if before else scene
    return list(found.values()), +lost


def read_records(path: Path) -> list[dict[str, Any]]:
    """Reads a file of records, JSON or JSON Lines; ValueError names the line that is none."""
    text = path.read_text(encoding="utf-8")
    try:
        if text.lstrip()[:1] == "[":
            records = parse_json(text)
        else:  # at line breaks alone: texts may hold U+2028, where `splitlines` cuts too
            records = [parse_json(line) for line in text.split("\n") if line.strip()]
    except ValueError as err:
        raise ValueError(f"{path} is neither a JSON list nor JSON Lines: {err}") from err
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise ValueError(f"{path}, record {number}: expected an object, found {record!r:.80}")
    return records


def held(scene: Scene, kinds: Iterable[str], lost: Counter, instead: Callable[[Entry], Entry] | None = None) -> Scene:
    """Returns a scene with those annotations that a tool can hold, or what it holds `instead`; counts the others."""
    regions = []
    for each in scene.regions:
        pieces = []
        for piece in each.pieces:
            kept = []
            for entry in piece:
                kind = kind_of(entry)
                if kind not in kinds:
                    lost[f"{kind}: written as its box" if instead and kind != "point" else f"{kind}: left out"] += 1
                    if not instead or kind == "point":
                        continue
                    entry = instead(entry)
                kept.append(entry)
            pieces += [kept] if kept else []
        regions += [replace(each, pieces=pieces)] if pieces else []
    return replace(scene, regions=regions)


def named(label: str) -> str:
    """Returns the name of a region with this label."""
    return "" if label == UNNAMED else label


def naming(regions: Sequence[Any]) -> list[dict[str, str]]:
    """Returns a question that asks for the names of regions (`number`, `name`), and its answer."""
    tags = [f"<obj_{each.number}>" for each in regions]
    listed = tags[0] if len(tags) == 1 else f"{', '.join(tags[:-1])} and {tags[-1]}"
    answer = "; ".join(f"{tag}: {each.name or 'unnamed'}" for tag, each in zip(tags, regions, strict=True))
    return exchange(f"{VIDEO}Name {listed}.", answer)
