# SPDX-License-Identifier: Apache-2.0
"""Ground truth of a clip's frames as the maps of its windows; docs/teachers/ground_truth.md has units and files.

Nothing is computed on the device: the data loader's workers read, resize and turn a clip's arrays into maps, which
travel with the batch. The student's maps come from heads that train with the decoder.
"""

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from rgpt4d_plugin.files import read_json
from rgpt4d_plugin.teachers.base import (
    ClipKey,
    MapSpec,
    StoredMap,
    Teacher,
    TeacherArguments,
    TeacherSpec,
    TeacherWindows,
)
from rgpt4d_plugin.teachers.geometry import POSE_CHANNELS
from rgpt4d_plugin.teachers.ground_truth.clip_file import ClipFileError, open_clip_file
from rgpt4d_plugin.teachers.ground_truth.maps import ClipMaps
from rgpt4d_plugin.validation import Integer, Number, Text
from rgpt4d_plugin.video.clip import VideoError, is_address


INPUT = 224
"""Side in pixels of the square that a frame is stretched to for the unit of flow, as the other teachers take it."""

_PLACES = ("folder", "stem", "name")


class GroundTruthArguments(TeacherArguments):
    """Options of `type: ground_truth`."""

    files: Text = Field(
        "{folder}/{stem}.npz",
        description="Where a video's ground truth is: a .npz file, or a folder with clip.json. {folder} is the "
        "video's folder, {name} its file name and {stem} that without its ending.",
    )
    index: Text | None = Field(
        None,
        description="JSON file that maps videos, as the dataset names them, to their files, relative to itself; in "
        "place of `files`.",
    )
    tolerance: Number = Field(0.02, ge=0, le=3600, description="Seconds between a sampled frame and its entry.")
    units: Literal["metric", "window"] = Field(
        "metric",
        description="Of lengths: metres, or for every window the geometric mean of its depths, which `scale` then "
        "gives.",
    )
    window: Integer = Field(16, ge=1, le=1024, description="Frames of a window, whose first camera is its world.")
    tubelet: Integer = Field(2, ge=1, le=64, description="Frames of a token; divides `window`.")
    grid: Integer = Field(16, ge=1, le=128, description="Tokens of a frame's height and width.")
    map_size: Integer = Field(64, ge=1, le=1024, description="Pixels of a map's height and width, multiple of `grid`.")
    width: Integer = Field(256, ge=1, le=16384, description="Channels of a latent, which the trainable heads read.")

    @field_validator("files")
    @classmethod
    def _names_known_places(cls, files: str) -> str:
        try:
            files.format(**dict.fromkeys(_PLACES, ""))
        except (KeyError, IndexError, ValueError) as err:
            known = ", ".join(f"{{{place}}}" for place in _PLACES)
            raise ValueError(f"{files!r} may hold {known} in braces, and nothing else") from err
        return os.path.expanduser(files)

    @field_validator("index")
    @classmethod
    def _expand(cls, path: str | None) -> str | None:
        return path and os.path.expanduser(path)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.window % self.tubelet:
            raise ValueError(f"window: {self.window} is no multiple of tubelet: {self.tubelet}")
        if self.map_size % self.grid:
            raise ValueError(f"map_size: {self.map_size} is no multiple of grid: {self.grid}")
        return self


class GroundTruthTeacher(Teacher):
    """The ground truth that lies beside the videos.

    Args:
        options: What stands under `p4d.teacher`.
        device: Where the maps are compared.
    """

    Arguments = GroundTruthArguments
    needs_frames = False
    licence = "It has no weights."
    terms = ("depth", "flow", "motion", "camray", "pose", "scale")

    def __init__(self, options: GroundTruthArguments, device: torch.device) -> None:
        self.options, self.device, self.dtype = options, device, torch.float32
        self.spec = self.read_spec(options)

    @classmethod
    def problems(cls, options: GroundTruthArguments) -> list[str]:
        if options.index is None:
            return []
        try:
            _read_index(options.index)
        except ValueError as err:
            return [f"p4d.teacher.index: {err}"]
        return []

    @classmethod
    def read_spec(cls, options: GroundTruthArguments) -> TeacherSpec:
        frames, side, pixels = options.window, options.grid, options.map_size
        shapes = {
            "depth": (1, frames, pixels, pixels),
            "flow": (2, frames, pixels, pixels),
            "motion": (1, frames, pixels, pixels),
            "camray": (6, frames, side, side),
            "pose": (POSE_CHANNELS, frames, 1, 1),
            "scale": (1, frames, 1, 1),
        }
        return TeacherSpec(
            name="ground_truth",
            input_size=(INPUT, INPUT),
            window=frames,
            stride=frames,
            tubelet=options.tubelet,
            grid=(frames // options.tubelet, side, side),
            width=options.width,
            features=(0,),
            maps={term: MapSpec(shapes[term], (0,)) for term in cls.terms},
            has_features=False,
            trainable_heads=True,
        )

    @classmethod
    def load(cls, options: GroundTruthArguments, device: torch.device, terms: tuple[str, ...]) -> Self:
        return cls(options, device)

    @classmethod
    def read_maps(
        cls, options: GroundTruthArguments, spec: TeacherSpec, key: ClipKey, terms: tuple[str, ...]
    ) -> dict[str, StoredMap]:
        try:
            if key.files != (key.source,):
                raise ClipFileError("ground truth is found by the name of a video, and this clip is given as frames")
            file = open_clip_file(clip_path(options, key.source))
            frames = file.nearest([key.start + time for time in key.timestamps], options.tolerance)
            maps = ClipMaps(file, frames, spec, key, in_metres=options.units == "metric")
            return {term: maps.of(term) for term in terms}
        except ClipFileError as err:
            raise VideoError(f"ground truth of {key.source}: {err}", key.source) from err

    def features(self, windows: TeacherWindows, hooks: tuple[int, ...]) -> dict[int, Tensor]:
        return {}

    def targets(self, windows: TeacherWindows, features: Mapping[int, Tensor], term: str) -> Tensor:
        return windows.stored[term].values

    @torch.no_grad()
    def maps(self, clip: Tensor, key: ClipKey, term: str, hooks: tuple[int, ...]) -> Tensor:
        found = self.read_maps(self.options, self.spec, key, (term,))[term]
        # What is not known is drawn as the farthest, the slowest, the stillest.
        least = found.values.max() if term == "depth" else found.values.new_zeros(())
        values = torch.where(found.valid, found.values, least)
        return values.movedim(0, 1).flatten(1, 2)[:, : len(key)]  # windows one behind the other


def clip_path(options: GroundTruthArguments, source: str) -> Path:
    """The file of a video.

    Raises:
        ClipFileError: The index does not name the video, or the video has no folder.
    """
    if options.index is not None:
        files = _read_index(options.index)
        parts = PurePath(source).parts
        names = [source, *(str(PurePath(*parts[first:])) for first in range(len(parts)))]
        for name in names:  # the whole path, then ever less of its beginning, as media_dir puts one before it
            if name in files:
                return Path(options.index).parent / files[name]
        raise ClipFileError(f"p4d.teacher.index: {options.index} does not name it")
    if is_address(source):
        raise ClipFileError("it is read over the network and has no folder; name its file in p4d.teacher.index")
    path = Path(source)
    return Path(options.files.format(folder=path.parent, stem=path.stem, name=path.name))


def _read_index(path: str) -> dict[str, str]:
    try:
        return _read_index_as_it_is(path, os.stat(path).st_mtime_ns)
    except OSError as err:
        raise ClipFileError(f"{path} cannot be read: {err.strerror}") from err


@lru_cache(maxsize=4)
def _read_index_as_it_is(path: str, changed: int) -> dict[str, str]:
    try:
        files = read_json(Path(path), "mend it")
    except ValueError as err:
        raise ClipFileError(str(err)) from err
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        raise ClipFileError(f"{path} should be one JSON object of videos and their files, both text")
    return files
