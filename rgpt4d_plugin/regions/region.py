# SPDX-License-Identifier: Apache-2.0
"""A record's regions: parsed and checked as far as the record alone goes, then placed on a frame of known size.

A region is a mapping, as in the dataset's `regions` column:

    {"id": "obj_1", "video": 0, "frame": 12, "box": [x1, y1, x2, y2]}                      pixels of the source video
    {"id": "obj_2", "video": 0, "time": 0.48, "box": [...], "normalized": true}            0..1 of width and height
    {"id": "obj_3", "image": 0, "mask": {"size": [h, w], "counts": ...}}                   COCO RLE, or a PNG's path
    {"id": "obj_4", "video": 0, "time": 1.0, "point": [x, y]}                              or "polygon": [[x, y], ...]
    {"id": "obj_5", "video": 0, "track": [{"time": 0.5, "box": [...]}, ...]}               followed through time

A region may also have a "name", such as "red ball", which is for people and never shown to a model.

Keys whose value is null count as absent, since Arrow fills the keys of other records in.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rgpt4d_plugin.files import parse_json
from rgpt4d_plugin.regions.drawing.shapes import Box, Mask, Point, Polygon, Shape
from rgpt4d_plugin.regions.masks import decode_rle, encode_rle, read_mask_png
from rgpt4d_plugin.validation import hint, shown
from rgpt4d_plugin.video import MediaError


MENTION = re.compile(r"<(obj_\d+)>")
"""Pattern by which a text names a region."""

_NEARLY = re.compile(r"<\s*obj[\s_-]*\d+\s*>?", re.IGNORECASE)
_ID = re.compile(r"obj_([1-9]\d{0,5})", re.ASCII)
_SHAPES = ("box", "mask", "polygon", "point")
_REGION_KEYS = ("id", "name", "video", "image", "frame", "time", "normalized", "track", *_SHAPES)
_ANNOTATION_KEYS = ("frame", "time", "normalized", *_SHAPES)
# Frame numbers and seconds of no video. Far below what floats and frame rates can still count with.
_TOO_MANY_FRAMES, TOO_LATE = 2**31, 1e7
_THOUSANDTHS = 'if these are 0-1000 coordinates, divide them by 1000 and set "normalized": true'


class RegionError(MediaError):
    """A record's regions cannot be used. The message begins with the field, e.g. `regions[1].box`."""


@dataclass(frozen=True)
class Annotation:
    """The place of a region at one moment.

    Attributes:
        field: Name for messages, e.g. `regions[0].track[2]`.
        value: Value as in the record.
        normalized: Coordinates are shares of width and height instead of pixels.
        frame: Number of the frame in the source video, from 0; None where `time` says it, and for images.
        time: Seconds from the start of the source video, or None.
    """

    field: str
    kind: Literal["box", "mask", "polygon", "point"]
    value: Any
    normalized: bool
    frame: int | None
    time: float | None

    @property
    def timed(self) -> bool:
        """True if it belongs to a moment of a video."""
        return self.frame is not None or self.time is not None

    def shape(self, width: int, height: int) -> Shape:
        """Returns the shape in pixels of a source frame of this size.

        Raises:
            RegionError: it leaves the frame, has another size, or cannot be decoded.
        """
        here = f"{self.field}.{self.kind}"
        if self.kind == "mask":
            return Mask(self._bitmap(here, width, height))
        scale = (width, height) if self.normalized else (1, 1)
        points = [(x * scale[0], y * scale[1]) for x, y in corners_of(self.kind, self.value)]
        if any(not (0 <= x <= width and 0 <= y <= height) for x, y in points):
            readings = "clip it to that"
            if max(max(point) for point in points) <= 1000 and not self.normalized:
                readings += f"; {_THOUSANDTHS}"
            raise RegionError(f"{here}: {shown(self.value)} leaves the frame of {width} x {height} pixels; {readings}")
        if self.kind == "box":
            return Box(*points[0], *points[1])
        return Point(*points[0]) if self.kind == "point" else Polygon(tuple(points))

    def _bitmap(self, here: str, width: int, height: int) -> Any:
        try:
            if isinstance(self.value, Mapping):
                bitmap = decode_rle(self.value, (height, width))
            else:
                bitmap = read_mask_png(self.value)
        except (OSError, ValueError) as err:
            raise RegionError(f"{here}: {err}") from err
        if bitmap.shape != (height, width):
            found = f"{bitmap.shape[1]} x {bitmap.shape[0]}"
            raise RegionError(
                f"{here}: the mask is {found} pixels, the frame {width} x {height}; they must be the same"
            )
        return bitmap


@dataclass(frozen=True)
class Region:
    """One region of a record.

    Attributes:
        id: "obj_N".
        index: Number of its video or image in the record, from 0.
        annotations: One, or those of a track in its order.
        raw: The mapping that it was parsed from, without absent keys.
    """

    id: str
    medium: Literal["video", "image"]
    index: int
    annotations: tuple[Annotation, ...]
    raw: Mapping[str, Any]

    @property
    def number(self) -> int:
        """N of "obj_N"."""
        return int(self.id.removeprefix("obj_"))

    @property
    def tag(self) -> str:
        """How texts name the region: "<obj_N>"."""
        return f"<{self.id}>"


def parse_regions(raw: Any, videos: int, images: int) -> list[Region]:
    """Parses a record's `regions`: a list of mappings, such a list as JSON text, or None.

    Raises:
        RegionError: naming the field, what was found and what to do.
    """
    if isinstance(raw, str):
        try:
            raw = parse_json(raw)
        except ValueError as err:
            raise RegionError(f"regions: not a list and not JSON either: {err}") from err
    if raw is None:
        return []
    if not isinstance(raw, Sequence):
        raise RegionError(f"regions: expected a list of regions, got {shown(raw)}")
    regions = [parse_region(item, f"regions[{number}]", videos, images) for number, item in enumerate(raw)]
    seen: set[str] = set()
    for number, region in enumerate(regions):
        if region.id in seen:
            raise RegionError(
                f"regions[{number}].id: {shown(region.id)} is there already; every region needs its own id"
            )
        seen.add(region.id)
    return regions


def parse_region(raw: Any, field: str, videos: int, images: int) -> Region:
    """Parses one region; see `parse_regions`."""
    given = _known(raw, field, _REGION_KEYS)
    name = given.get("id")
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise RegionError(
            f"{field}.id: expected one of 'obj_1' to 'obj_999999', which texts name as <obj_1>; got {shown(name)}"
        )
    if not isinstance(given.get("name", ""), str):
        raise RegionError(f"{field}.name: expected text, got {shown(given['name'])}")
    medium, index = _medium(given, field, videos, images)
    given[medium] = index

    if "track" in given:
        if extra := [key for key in ("frame", "time", *_SHAPES) if key in given]:
            raise RegionError(f"{field}: has a track and also {', '.join(extra)}; give one of them")
        if medium == "image":
            raise RegionError(f"{field}.track: belongs to an image, which has no time; use a box")
        track = given["track"]
        if not isinstance(track, Sequence) or isinstance(track, str) or not track:
            raise RegionError(f"{field}.track: expected a list of boxes with their times, got {shown(track)}")
        defaults = {"normalized": given["normalized"]} if "normalized" in given else {}
        annotations = []
        moments: set[tuple[int | None, float | None]] = set()
        for number, item in enumerate(track):
            here = f"{field}.track[{number}]"
            annotations.append(_annotation(defaults | _known(item, here, _ANNOTATION_KEYS), here, medium))
            moments.add((annotations[-1].frame, annotations[-1].time))
            if len(moments) == number:
                raise RegionError(f"{here}: the region is in the track at this time already; give one place a time")
        items = [_known(item, field, _ANNOTATION_KEYS) for item in track]
        given["track"] = [item | {seen.kind: seen.value} for item, seen in zip(items, annotations)]
    else:
        annotations = [_annotation(given, field, medium)]
        given[annotations[0].kind] = annotations[0].value
    return Region(name, medium, index, tuple(annotations), given)


def check_mentions(texts: Sequence[str], regions: Sequence[Region]) -> list[Region]:
    """Checks that every <obj_N> in the texts is a region; returns the regions that no text names.

    Raises:
        RegionError: a text names a region that is not there, or nearly names one: `<OBJ_1>`, or `<obj_1` unclosed.
    """
    for nearly in (found[0] for text in texts if regions for found in _NEARLY.finditer(text)):
        if not MENTION.fullmatch(nearly):
            raise RegionError(f"messages: {nearly[:40]!r} names no region; write it as <obj_1>")
    mentioned = {name for text in texts for name in MENTION.findall(text)}
    if unknown := sorted(mentioned - {region.id for region in regions}):
        there = ", ".join(region.id for region in regions) or "none"
        raise RegionError(
            f"messages: <{unknown[0][:40]}> is named, but the record has no such region (regions: {there})"
        )
    return [region for region in regions if region.id not in mentioned]


def _known(raw: Any, field: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Returns the mapping without absent keys; refuses unknown ones."""
    if not isinstance(raw, Mapping):
        raise RegionError(f"{field}: expected a mapping, got {shown(raw)}")
    given = {key: value for key, value in raw.items() if value is not None}
    for key in given:
        if key not in keys:
            raise RegionError(f"{field}.{key}: unknown key; {hint(str(key), keys)}")
    return given


def _medium(given: Mapping[str, Any], field: str, videos: int, images: int) -> tuple[Literal["video", "image"], int]:
    if "video" in given and "image" in given:
        raise RegionError(f"{field}: belongs to a video and to an image; give one of them")
    if "video" not in given and "image" not in given:
        if not videos + images:
            raise RegionError(f"{field}: the record has no video and no image that the region could belong to")
        if videos + images != 1:
            raise RegionError(
                f"{field}: the record has {videos} video(s) and {images} image(s); say which one the region belongs "
                'to, e.g. "video": 0'
            )
        return ("video", 0) if videos else ("image", 0)
    medium: Literal["video", "image"] = "video" if "video" in given else "image"
    index, count = given[medium], videos if medium == "video" else images
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
        numbers = f"a number from 0 to {count - 1}" if count else f"none, since the record has no {medium}s"
        raise RegionError(f"{field}.{medium}: expected {numbers}, got {shown(index)}")
    return medium, index


def _annotation(given: Mapping[str, Any], field: str, medium: str) -> Annotation:
    kinds = [kind for kind in _SHAPES if kind in given]
    if len(kinds) != 1:
        raise RegionError(
            f"{field}: expected one of {', '.join(_SHAPES)} or track, got {' and '.join(kinds) or 'none'}"
        )
    frame, time = _moment(given, field, medium)
    normalized = given.get("normalized")
    if normalized is not None and not isinstance(normalized, bool):
        raise RegionError(f"{field}.normalized: expected true or false, got {shown(normalized)}")
    kind: Any = kinds[0]
    value = given[kind]
    here = f"{field}.{kind}"
    if kind == "mask":
        value = _mask_value(value, here)
    else:
        _check_corners(kind, value, here, normalized)
    return Annotation(field, kind, value, bool(normalized), frame, time)


def _moment(given: Mapping[str, Any], field: str, medium: str) -> tuple[int | None, float | None]:
    there = [key for key in ("frame", "time") if key in given]
    if medium == "image":
        if there:
            raise RegionError(f"{field}.{there[0]}: belongs to an image, which has no time; remove it")
        return None, None
    if len(there) != 1:
        raise RegionError(f'{field}: expected "frame" or "time" (seconds), got {" and ".join(there) or "neither"}')
    value = given[there[0]]
    is_frame = there == ["frame"]
    limit = _TOO_MANY_FRAMES if is_frame else TOO_LATE
    if not is_number(value) or not 0 <= value < limit or (is_frame and value != int(value)):
        wanted = "a frame number from 0" if is_frame else "seconds from 0"
        if is_number(value) and value >= limit:
            wanted += f", below {limit:.0f}"
        raise RegionError(f"{field}.{there[0]}: expected {wanted}, got {shown(value)}")
    return (int(value), None) if is_frame else (None, float(value))


def corners_of(kind: str, value: Any) -> list[tuple[float, float]]:
    """(x, y) pairs of a checked box, polygon or point."""
    if kind == "polygon" and isinstance(value[0], Sequence):
        return [(x, y) for x, y in value]
    return list(zip(value[::2], value[1::2], strict=True))


def _check_corners(kind: str, value: Any, here: str, normalized: bool | None) -> None:
    expected = {
        "box": "[x1, y1, x2, y2]",
        "point": "[x, y]",
        "polygon": "[[x, y], [x, y], [x, y], ...]",
    }[kind]
    wrong = RegionError(f"{here}: expected {expected}, got {shown(value)}")
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise wrong
    flat = list(value)
    if kind == "polygon" and flat and isinstance(flat[0], Sequence):
        if any(not isinstance(point, Sequence) or len(point) != 2 for point in flat):
            raise wrong
        flat = [number for point in flat for number in point]
    if not all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in flat):
        raise wrong
    if not all(map(is_number, flat)):
        raise RegionError(f"{here}: {shown(value)} has a coordinate that is not a number, or too large for one")
    if len(flat) % 2 or (len(flat) < 6 if kind == "polygon" else len(flat) != {"box": 4, "point": 2}[kind]):
        raise wrong
    if any(number < 0 for number in flat) or (normalized and any(number > 1 for number in flat)):
        frame, readings = "the frame", "clip it to that"
        if normalized:
            frame = "0..1"
            readings += '; pixels have no "normalized": true, and 0-1000 coordinates are to be divided by 1000'
        raise RegionError(f"{here}: {shown(value)} leaves {frame}; {readings}")
    if normalized is None and max(flat) <= 1:
        raise RegionError(
            f"{here}: {shown(value)} is within the first pixel; for shares of width and height set "
            '"normalized": true, for pixels "normalized": false'
        )
    if kind == "box":
        x1, y1, x2, y2 = flat
        if x1 > x2 or y1 > y2:
            raise RegionError(
                f"{here}: {shown(value)} has x1 > x2 or y1 > y2; expected {expected}, not x, y, width, height"
            )
        if x1 == x2 or y1 == y2:
            raise RegionError(f"{here}: {shown(value)} has no area")
    if kind == "polygon":
        xs, ys = flat[::2], flat[1::2]
        if max(xs) == min(xs) or max(ys) == min(ys):
            raise RegionError(f"{here}: {shown(value)} has no area")


def _mask_value(value: Any, here: str) -> Any:
    """Returns a COCO RLE mapping or a path; the RLE of an array or a tensor."""
    if hasattr(value, "tolist"):
        try:
            return encode_rle(value)
        except ValueError as err:
            raise RegionError(f"{here}: {err}") from err
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = parse_json(value)
        except ValueError as err:
            raise RegionError(f"{here}: begins like JSON but is not: {err}") from err
    if isinstance(value, Mapping):
        # The COCO API gives compressed run lengths as bytes, which no JSON holds.
        value = {key: item.decode("latin-1") if isinstance(item, bytes) else item for key, item in value.items()}
        return {key: item for key, item in value.items() if item is not None}
    if not isinstance(value, str) or not value:
        raise RegionError(f"{here}: expected a COCO RLE or the path of a PNG, got {shown(value)}")
    return value


def is_number(value: Any) -> bool:
    """Returns True for a finite number that a float can hold."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False
