# SPDX-License-Identifier: Apache-2.0
"""The interface of a teacher, and the registry from `p4d.teacher.type` to a class that is imported on use.

Legend of the shapes: W windows, T frames of a window, N = t*h*w tokens of a window in row-major order, C channels.
"""

import importlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, field_validator
from torch import Tensor

from rgpt4d_plugin.validation import Checked, Switch, Text, hint


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of RGB in [0, 1]."""

MapSize = Literal["native", "half", "quarter"]


@lru_cache(maxsize=32)
def channel_constants(values: tuple[float, ...], device: torch.device) -> Tensor:
    """One number a channel: (C, 1, 1) float32.

    Kept: a tensor made from Python numbers on a GPU makes the host wait for the copy, at every step.
    """
    with torch.inference_mode(False):
        return torch.tensor(values, device=device)[:, None, None]


@dataclass(frozen=True)
class Tile:
    """One of the rows x columns tiles that a map is cut into; row and column count from 0."""

    row: int
    rows: int
    column: int
    columns: int

    @property
    def count(self) -> int:
        """Tiles that make up the map."""
        return self.rows * self.columns

    def slices(self, height: int, width: int) -> tuple[slice, slice]:
        """Its rows and columns of a map of that size; tiles of one map meet without gap or overlap."""
        row, column = self.row, self.column
        return (
            slice(row * height // self.rows, (row + 1) * height // self.rows),
            slice(column * width // self.columns, (column + 1) * width // self.columns),
        )


@dataclass(frozen=True)
class MapView:
    """What of a map is computed.

    Attributes:
        size: The map's own size, or one of `MapSpec.sizes`.
        tile: A part of it; None for all.
    """

    size: MapSize = "native"
    tile: Tile | None = None


WHOLE_MAP = MapView()


@dataclass(frozen=True)
class MapSpec:
    """One dense map of a teacher.

    Attributes:
        shape: (C, T, H', W') of the map of one window.
        hooks: Features that `Teacher.predict` reads for it, as indices into the teacher's feature list.
        sizes: Smaller sizes (H', W') that it can be computed at, by name.
        tiles: Whether a tile of it can be computed alone, equal to that tile of the whole.
    """

    shape: tuple[int, int, int, int]
    hooks: tuple[int, ...]
    sizes: Mapping[MapSize, tuple[int, int]] = field(default_factory=dict)
    tiles: bool = False

    def view(self, size: MapSize, tile: Tile | None) -> MapView:
        """What is computed of this map where a run asks for that: it may have neither sizes nor tiles."""
        return MapView(size if size in self.sizes else "native", tile if self.tiles else None)

    def plane(self, size: MapSize) -> tuple[int, int]:
        """(H', W') at a size."""
        return self.sizes.get(size, self.shape[2:])


@dataclass(frozen=True)
class TeacherSpec:
    """Everything that is known of a teacher before any weight is loaded.

    Attributes:
        name: How messages call it, with the file that it comes from.
        input_size: (height, width) in pixels of the frames that it takes.
        window: Frames that it sees at once.
        stride: Frames from one window's start to the next one's, at most `window`.
        tubelet: Frames that one of its tokens covers; divides `window` and `stride`.
        grid: (t, h, w) tokens of a window.
        width: Channels of a feature.
        features: Indices that `p4d.hooks` may name.
        maps: Maps by the name of the loss term that compares them (see `terms.TERMS`). Units: `depth` is the natural
            logarithm of the depth, `flow` is in pixels of the teacher's input (u right, v down, from a frame to the
            one before), `motion` is the logit of "moves in the world", `camray` is in the teacher's own convention;
            `pose`, seven numbers a frame, and `scale`, one number a frame, are maps of one pixel (`geometry`).
        has_features: Whether it has features to be compared; False: latents only feed the trainable heads.
        trainable_heads: Whether the student's maps come from heads that train with the decoder (`distill.heads`), as
            for targets that no network's head gave; False: from `Teacher.predict`.
    """

    name: str
    input_size: tuple[int, int]
    window: int
    stride: int
    tubelet: int
    grid: tuple[int, int, int]
    width: int
    features: tuple[int, ...]
    maps: Mapping[str, MapSpec]
    has_features: bool = True
    trainable_heads: bool = False

    @property
    def terms(self) -> tuple[str, ...]:
        """Loss terms that it has something for."""
        return ("latent", *self.maps) if self.has_features and self.features else tuple(self.maps)

    @property
    def tokens(self) -> int:
        """Tokens N of one window."""
        t, h, w = self.grid
        return t * h * w

    def hooks_of(self, terms: "tuple[str, ...]") -> tuple[int, ...]:
        """Features that these terms' maps are predicted from, ascending."""
        return tuple(sorted({hook for term in terms for hook in self.maps[term].hooks}))

    def window_starts(self, frames: int) -> tuple[int, tuple[int, ...]]:
        """The frame count that a clip is padded to, and the first frame of each of its windows."""
        return window_starts(frames, self.window, self.stride)


def window_starts(frames: int, window: int, stride: int) -> tuple[int, tuple[int, ...]]:
    """Padded frame count and the first frame of each window of a clip of `frames` >= 1 frames.

    The count is the least that windows fit, at least `frames`; the starts are 0, stride, ... in it.
    """
    if frames < 1:
        raise ValueError(f"A video needs at least one frame, found {frames}.")
    later = -(-max(0, frames - window) // stride)
    starts = tuple(index * stride for index in range(later + 1))
    return starts[-1] + window, starts


@dataclass(frozen=True)
class ClipKey:
    """Everything that the teacher's windows over a clip depend on, so that stored results can be looked up.

    Attributes:
        source: The video, as the dataset names it.
        timestamps: Seconds from the start of the clip, one per frame that the student sees.
        box: (left, top, right, bottom) of the frame in pixels that the student sees; None for all of it.
        start: Seconds of the file at which the clip starts.
        files: The video, or every frame of a clip that is given as frames; empty for frames that are no files.
        size: (width, height) of the frame in pixels, where there is a box.
    """

    source: str
    timestamps: tuple[float, ...]
    box: tuple[int, int, int, int] | None = None
    start: float = 0.0
    files: tuple[str, ...] = ()
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.timestamps)


@dataclass(frozen=True)
class StoredMap:
    """A map of some windows that was read from files rather than computed.

    Attributes:
        values: (W, C, T, H', W') float32, finite everywhere.
        valid: (W, 1, T, H', W') bool, where it is known; the rest is not compared.
    """

    values: Tensor
    valid: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> "StoredMap":
        """The function's results for both."""
        return StoredMap(function(self.values), function(self.valid))


@dataclass(frozen=True)
class TeacherWindows:
    """Windows that are given to a teacher together.

    Attributes:
        keys: Per window its clip, and its first frame in that clip.
        frames: (W, T, 3, H, W) uint8 RGB at the teacher's input size, the last frame repeated beyond the clip's end;
            None where the batch came without frames.
        stored: Maps that `Teacher.read_maps` gave, by term.
    """

    keys: tuple[tuple[ClipKey, int], ...]
    frames: Tensor | None = None
    stored: Mapping[str, StoredMap] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, part: slice) -> Self:
        frames = None if self.frames is None else self.frames[part]
        stored = {term: found.map(lambda tensor: tensor[part]) for term, found in self.stored.items()}
        return type(self)(self.keys[part], frames, stored)


class TeacherArguments(Checked):
    """The options of every teacher under `p4d.teacher`; a teacher with further options derives its own from it."""

    weight_files: ClassVar[tuple[str, ...]] = ()
    """Options that are paths of weights."""

    type: Text = Field("l4p", description="A registered teacher, or module:Class of your own.")
    dtype: Literal["float32", "bfloat16"] = Field("bfloat16", description="Precision the teacher runs in.")
    device: Text = Field("auto", description="'auto' (the student's device), 'cpu', 'cuda' or 'cuda:N'.")
    cache: Text | None = Field(
        None,
        description="Folder that `rgpt4d cache-teacher` made: the teacher's results are read from it, and only the "
        "heads that the student's maps go through are loaded.",
    )
    cache_missing: Literal["error", "compute"] = Field(
        "error", description="A clip that the cache does not have: an error, or computed and added."
    )

    @field_validator("device")
    @classmethod
    def _is_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", device):
            raise ValueError(f"expected 'auto', 'cpu', 'cuda' or 'cuda:N', got {device!r}")
        return device


class CheckpointArguments(TeacherArguments):
    """For a teacher whose weights are one file."""

    weight_files = ("checkpoint",)

    checkpoint: Text | None = Field(None, description="Path of the weights.")

    @field_validator("checkpoint")
    @classmethod
    def _expand(cls, path: str | None) -> str | None:
        return path and os.path.expanduser(path)

    def missing_file(self, origin: str) -> list[str]:
        """Returns the problem that there is no such file, if so; `origin` is a sentence that says where to get it."""
        if self.checkpoint is None:
            return [
                "p4d.teacher.checkpoint: missing, but loss terms have weights: give the path of the weights, "
                f"or set every weight of p4d.loss to 0. {origin}"
            ]
        if not os.path.isfile(self.checkpoint):
            return [f"p4d.teacher.checkpoint: no such file: {self.checkpoint}. {origin}"]
        return []


class NetworkArguments(CheckpointArguments):
    """What a teacher that is a network of ours reads besides."""

    compile: Switch = Field(
        False, description="torch.compile the blocks of the encoder: slow first steps, faster ones after."
    )


class Teacher(ABC):
    """A frozen teacher. Its weights get no gradient; what it computes from a student's latents does.

    No attribute of a student ever holds it, so no optimizer, wrapper or checkpoint sees it.
    """

    Arguments: ClassVar[type[TeacherArguments]] = TeacherArguments
    """Options under `p4d.teacher`."""
    licence: ClassVar[str] = "The licence of its weights is not known here; ask their authors."
    """What the card of a trained model says about the licence of the teacher's weights, in a sentence."""
    needs_frames: ClassVar[bool] = True
    """Whether windows must come with their frames."""
    terms: ClassVar[tuple[str, ...]] = ()
    """Loss terms that one of this kind can give, for messages; `TeacherSpec.terms` are those of one in particular."""
    options_of: ClassVar[Mapping[str, str]] = {}
    """Where the terms depend on options: which give a term."""

    spec: TeacherSpec
    device: torch.device
    dtype: torch.dtype
    """Precision that it computes in; latents are given to `predict` in it."""

    @classmethod
    def problems(cls, options: Any) -> list[str]:
        """Problems of options beyond their types, such as a file that is not there, as "key: problem"."""
        return []

    @classmethod
    @abstractmethod
    def read_spec(cls, options: Any) -> TeacherSpec:
        """Reads no more than a file's head.

        Raises:
            ValueError: The options cannot work; says what was found, where, and what to do.
        """

    @classmethod
    @abstractmethod
    def load(cls, options: Any, device: torch.device, terms: tuple[str, ...]) -> Self:
        """Loads the weights for the maps of `terms`; parts that serve only other maps may be left out."""

    @classmethod
    def load_heads(cls, options: Any, device: torch.device, terms: tuple[str, ...]) -> Self:
        """Loads what `predict` needs, and `targets` of given features: for a run whose features are stored.

        A teacher that can leave its encoder out overrides this.
        """
        return cls.load(options, device, terms)

    @classmethod
    def read_maps(cls, options: Any, spec: TeacherSpec, key: ClipKey, terms: tuple[str, ...]) -> dict[str, StoredMap]:
        """Maps of a clip's windows that stand in files; none for most. Called by the data loader's workers.

        Args:
            options: What stands under `p4d.teacher`.
            spec: What `read_spec` gave.
            key: The clip.
            terms: The maps that are compared.

        Raises:
            VideoError: The clip's file is missing, or does not have what the terms need.
        """
        return {}

    @abstractmethod
    def features(self, windows: TeacherWindows, hooks: tuple[int, ...]) -> dict[int, Tensor]:
        """Features at the hooks: hook -> (W, N, C). Called in inference mode, on a GPU in a stream of its own."""

    @abstractmethod
    def targets(self, windows: TeacherWindows, features: Mapping[int, Tensor], term: str) -> Tensor:
        """The teacher's map of a term, (W, C, T, H', W'), in the units of `TeacherSpec.maps`. Without gradients.

        `features` are those of the windows.
        """

    def predict(self, latents: Mapping[int, Tensor], term: str) -> Tensor:
        """The same map of a student's latents, hook -> (W, N, C) in `dtype`; gradients reach the latents.

        Not called where `TeacherSpec.trainable_heads`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no heads for the student's latents")

    def target_part(self, windows: TeacherWindows, features: Mapping[int, Tensor], term: str, view: MapView) -> Tensor:
        """As `targets`, but a smaller map or a tile; called only for maps whose `MapSpec` has them."""
        raise NotImplementedError(f"{type(self).__name__} computes whole maps only.")

    def predict_part(self, latents: Mapping[int, Tensor], term: str, view: MapView) -> Tensor:
        """As `predict`, but a smaller map or a tile; called only for maps whose `MapSpec` has them."""
        raise NotImplementedError(f"{type(self).__name__} computes whole maps only.")

    @torch.no_grad()
    def maps(self, clip: Tensor, key: ClipKey, term: str, hooks: tuple[int, ...]) -> Tensor:
        """The map (C, T, H', W') of a whole clip, to be looked at; a later window overwrites an overlap.

        `clip` is (T, 3, H, W) uint8 at the input size; `hooks` are the features that the map is computed from.
        """
        padded, starts = self.spec.window_starts(len(clip))
        channels, _, height, width = self.spec.maps[term].shape
        whole = torch.empty(channels, padded, height, width)
        for start in starts:
            windows = TeacherWindows(((key, start),), cut_windows(clip, self.spec, (start,)))
            found = self.targets(windows, self.features(windows, hooks), term)
            whole[:, start : start + self.spec.window] = found[0].float().cpu()
        return whole[:, : len(clip)]


def cut_windows(clip: Tensor, spec: TeacherSpec, starts: tuple[int, ...]) -> Tensor:
    """Windows (W, window, 3, H, W) of a clip (T, 3, H, W), with its last frame repeated beyond its end."""
    missing = max(0, starts[-1] + spec.window - len(clip))
    clip = torch.cat([clip, clip[-1:].expand(missing, -1, -1, -1)]) if missing else clip
    return torch.stack([clip[start : start + spec.window] for start in starts])


def tensor_problems(
    expected: Mapping[str, tuple[int, ...]],
    names: Collection[str],
    shape_of: Callable[[str], tuple[int, ...]],
    is_extra: Callable[[str], object],
) -> dict[str, list[str]]:
    """Compares the tensors of a checkpoint with those of a network, for `listed`.

    Args:
        expected: Shape of every tensor of the network, by the name that it has in the file.
        names: Names of the file.
        shape_of: Shape of the file's tensor of a name.
        is_extra: Whether the network does without the tensor of a name.
    """
    return {
        "missing": sorted(expected.keys() - names),
        "unexpected": sorted(name for name in names if name not in expected and not is_extra(name)),
        "wrong shape": [
            f"{name}: expected {shape}, found {found}"
            for name, shape in expected.items()
            if name in names and (found := shape_of(name)) != shape
        ],
    }


def listed(problems: Mapping[str, Sequence[str]], limit: int = 20) -> str:
    """Problems below their titles, up to `limit` of each, a line for each; "" if there are none."""
    lines = []
    for title, found in problems.items():
        if found:
            lines += [f"  {title} ({len(found)}):", *(f"    {item}" for item in found[:limit])]
        if len(found) > limit:
            lines.append(f"    ... and {len(found) - limit} more")
    return "\n".join(lines)


_TEACHERS: dict[str, str | type[Teacher]] = {
    "l4p": "rgpt4d_plugin.teachers.l4p.teacher:L4PTeacher",
    "depth_anything_3": "rgpt4d_plugin.teachers.depth_anything_3.teacher:DepthAnything3Teacher",
    "ground_truth": "rgpt4d_plugin.teachers.ground_truth.teacher:GroundTruthTeacher",
    "composite": "rgpt4d_plugin.teachers.composite.teacher:CompositeTeacher",
}


def register_teacher(name: str, teacher: str | type[Teacher]) -> None:
    """Makes `p4d.teacher.type: name` mean a class, or the class at "module:Class", which is imported on use."""
    _TEACHERS[name] = teacher


def teacher_names() -> tuple[str, ...]:
    """The registered names."""
    return tuple(_TEACHERS)


def teachers_of(term: str) -> list[str]:
    """Registered names of the teachers that can give a term."""
    return [name for name in _TEACHERS if term in teacher_class(name).terms]


def teacher_class(name: str) -> type[Teacher]:
    """The class behind `p4d.teacher.type`: a registered name, or "module:Class" of an importable module.

    Raises:
        ValueError: There is no such teacher, or it is none.
    """
    target = _TEACHERS.get(name, name)
    if isinstance(target, str):
        module, colon, attribute = target.partition(":")
        if not colon:
            known = hint(name, _TEACHERS, "known")
            raise ValueError(
                f"p4d.teacher.type: unknown teacher {name!r}; {known}; module:Class names one of your own"
            )
        try:
            target = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as err:  # a name without a module is a ValueError
            raise ValueError(f"p4d.teacher.type: {name!r} cannot be imported: {err}") from err
    if not (isinstance(target, type) and issubclass(target, Teacher)):
        raise ValueError(f"p4d.teacher.type: {name!r} is {target!r}, no subclass of rgpt4d_plugin.teachers.Teacher")
    return target
