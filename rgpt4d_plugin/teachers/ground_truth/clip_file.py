# SPDX-License-Identifier: Apache-2.0
"""The ground truth of a clip on disk: one .npz file, or a folder of images that a clip.json describes.

docs/teachers/ground_truth.md is the description of both for those who write them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from zipfile import BadZipFile

import numpy as np
from pydantic import Field

from rgpt4d_plugin.files import ImageError, open_image, read_json
from rgpt4d_plugin.validation import Checked, Number, Text, check


DIMENSIONS = {
    "depth": 3,  # (T, H, W) metres along the optical axis
    "flow_2d_backward": 4,  # (T, 2, H, W) pixels, to the frame before
    "motion": 3,  # (T, H, W) moves in the world
    "valid": 3,  # (T, H, W) what to compare
    "rays": 4,  # (T, 3, h, w) directions in the camera's own frame
    "intrinsics": 3,  # (T, 3, 3) pixels
    "poses": 3,  # (T, 4, 4) camera to world, metres
}
"""Arrays of a clip, each with one entry per frame, and their numbers of dimensions."""

PER_CLIP = ("intrinsics", "rays")
"""Arrays that may be given once for all frames."""


class ClipFileError(ValueError):
    """The ground truth of a clip cannot be used. Names the file and says what is wrong with it."""


class ClipFile(ABC):
    """What a clip's file or folder has, read frame by frame.

    Attributes:
        path: The file or folder.
        timestamps: (T,) seconds from the start of the video.
        names: Those of `DIMENSIONS` that it has.
        image_size: (height, width) of the images that the intrinsics are for, if it says so.
    """

    path: Path
    timestamps: np.ndarray
    names: tuple[str, ...]
    image_size: tuple[int, int] | None

    @abstractmethod
    def _frames(self, name: str, indices: Sequence[int]) -> np.ndarray:
        """The entries of an array for these frames."""

    def read(self, name: str, indices: Sequence[int], why: str) -> np.ndarray:
        """The entries of an array for some frames: booleans, or floating point of at least 32 bits.

        Args:
            name: One of `DIMENSIONS`.
            indices: Numbers of the frames.
            why: What needs it, for the message that it is not there.

        Raises:
            ClipFileError: It is missing, damaged, or of another shape.
        """
        if name not in self.names:
            raise ClipFileError(
                f"{self.path} has no {name}, which {why} needs; it has {', '.join(self.names) or 'no array at all'}"
            )
        found = self._frames(name, indices)
        if found.ndim != DIMENSIONS[name] or found.dtype.kind not in "biuf":
            raise ClipFileError(
                f"{self.path}: {name} has the shape {found.shape} and type {found.dtype} for {len(indices)} frames; "
                f"expected numbers in {DIMENSIONS[name]} dimensions, the frames first"
            )
        wanted = {"flow_2d_backward": (2,), "rays": (3,), "intrinsics": (3, 3), "poses": (4, 4)}.get(name, ())
        if found.shape[1 : 1 + len(wanted)] != wanted:
            raise ClipFileError(f"{self.path}: {name} is {found.shape[1:]} for a frame, expected {wanted}")
        if found.dtype.kind in "iu":
            return found.astype(np.float64)
        return (
            found if found.dtype.kind == "b" else found.astype(np.promote_types(found.dtype, np.float32), copy=False)
        )

    def nearest(self, wanted: Sequence[float], tolerance: float) -> list[int]:
        """The frame nearest to each time.

        Args:
            wanted: Seconds from the start of the video.
            tolerance: Seconds that it may be off.

        Raises:
            ClipFileError: There is none so near.
        """
        times = self.timestamps
        indices = [int(np.abs(times - time).argmin()) for time in wanted]
        for time, index in zip(wanted, indices):
            if abs(times[index] - time) > tolerance:
                raise ClipFileError(
                    f"{self.path}: the frame of the video at {time:.3f} s has none: its nearest is at "
                    f"{times[index]:.3f} s, its {len(times)} frames are from {times[0]:.3f} to {times[-1]:.3f} s, and "
                    f"p4d.teacher.tolerance is {tolerance:g} s. Its times are to be those of the video, in seconds "
                    "from the start"
                )
        return indices

    def _check_times(self, times: Any) -> np.ndarray:
        found = np.asarray(times)
        if found.ndim != 1 or found.dtype.kind not in "iuf" or not found.size or not np.isfinite(found).all():
            raise ClipFileError(f"{self.path}: timestamps are to be a list of finite numbers, one per frame")
        if (np.diff(found) <= 0).any():
            raise ClipFileError(f"{self.path}: timestamps do not increase from frame to frame")
        return found.astype(np.float64)


class NpzFile(ClipFile):
    """Arrays in a .npz file; nothing in it is executed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: dict[str, np.ndarray] = {}
        try:
            self._arrays = np.load(path, allow_pickle=False)
        except (OSError, ValueError, BadZipFile) as err:
            raise ClipFileError(f"{path} is not a readable .npz file: {err}") from err
        if not isinstance(self._arrays, np.lib.npyio.NpzFile):
            raise ClipFileError(f"{path} is one array, not a .npz file of named arrays")
        if "timestamps" not in self._arrays:
            raise ClipFileError(f"{path} has no timestamps; it has {', '.join(self._arrays) or 'no array at all'}")
        self.names = tuple(name for name in DIMENSIONS if name in self._arrays)
        self.timestamps = self._check_times(self._array("timestamps"))
        self.image_size = None
        if "image_size" in self._arrays:
            size = self._array("image_size")
            if size.shape != (2,) or size.dtype.kind not in "iu" or (size < 1).any():
                raise ClipFileError(f"{path}: image_size is to be two whole numbers, height and width")
            self.image_size = (int(size[0]), int(size[1]))

    def _array(self, name: str) -> np.ndarray:
        if name not in self._read:  # the whole array is decompressed every time
            try:
                self._read[name] = self._arrays[name]
            except (OSError, ValueError, BadZipFile) as err:  # cut off, or an array of Python objects
                raise ClipFileError(f"{self.path}: {name} cannot be read: {err}") from err
        return self._read[name]

    def _frames(self, name: str, indices: Sequence[int]) -> np.ndarray:
        array = self._array(name)
        if name in PER_CLIP and array.ndim == DIMENSIONS[name] - 1:
            return np.broadcast_to(array, (len(indices), *array.shape))
        if array.ndim and len(array) != len(self.timestamps):
            raise ClipFileError(f"{self.path}: {name} has {len(array)} frames, timestamps {len(self.timestamps)}")
        return array[list(indices)] if array.ndim else array


class FrameFiles(Checked):
    """One file per frame, in the order of their names."""

    files: Text = Field(description="Pattern below the folder, such as depth/*.png: PNG, TIFF, EXR or NPY.")
    scale: Number | None = Field(None, gt=0, description="Of what is stored, to metres or pixels.")
    channels: list[Text] | None = Field(None, min_length=1, description="Of an EXR file, in this order.")


Row = Annotated[list[float], Field(min_length=3, max_length=4)]


class ClipRecord(Checked):
    """clip.json of a folder."""

    timestamps: list[float] | None = None
    fps: Number | None = Field(None, gt=0, le=1e6)
    image_size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] | None = None
    intrinsics: list[Row] | list[list[Row]] | None = None
    poses: list[list[list[float | None]]] | None = None
    depth: FrameFiles | None = None
    flow_2d_backward: FrameFiles | None = None
    motion: FrameFiles | None = None
    valid: FrameFiles | None = None
    rays: FrameFiles | None = None


class ClipFolder(ClipFile):
    """A folder with clip.json and one image or array file per frame; only the frames that are asked for are opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        head = path / "clip.json"
        try:
            values = read_json(head, "mend it")
        except OSError as err:
            raise ClipFileError(f"{path} has no {head.name} that can be read: {err.strerror}") from err
        except ValueError as err:
            raise ClipFileError(str(err)) from err
        problems: list[str] = []
        record = check(ClipRecord, values, "", problems)
        if record is None:
            raise ClipFileError(f"{head}: {'; '.join(problems)}")
        if (record.timestamps is None) == (record.fps is None):
            raise ClipFileError(f"{head}: give either timestamps, one per frame, or fps")
        self.image_size = record.image_size
        self._stated: dict[str, np.ndarray] = {}
        self._files: dict[str, tuple[FrameFiles, list[Path]]] = {}
        for name in DIMENSIONS:
            found = getattr(record, name)
            if isinstance(found, FrameFiles):
                self._files[name] = (found, sorted(path.glob(found.files)))
            elif found is not None:
                self._stated[name] = self._stack(name, found)
        self.names = tuple(name for name in DIMENSIONS if name in self._files or name in self._stated)
        counts = {name: len(files) for name, (_, files) in self._files.items()}
        counts |= {name: len(array) for name, array in self._stated.items() if array.ndim == DIMENSIONS[name]}
        if record.timestamps is not None:
            counts["timestamps"] = len(record.timestamps)
        if len(set(counts.values())) != 1:
            said = ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
            raise ClipFileError(f"{path}: one entry per frame is needed, and as many for each; found {said}")
        (total,) = set(counts.values())
        self.timestamps = self._check_times(
            np.arange(total) / record.fps if record.fps is not None else record.timestamps
        )

    def _stack(self, name: str, values: Any) -> np.ndarray:
        try:
            return np.array(values, dtype=np.float64)  # null: not a number
        except ValueError as err:
            raise ClipFileError(f"{self.path / 'clip.json'}: {name} are not matrices of one size") from err

    def _frames(self, name: str, indices: Sequence[int]) -> np.ndarray:
        if name in self._stated:
            array = self._stated[name]
            shared = name in PER_CLIP and array.ndim == DIMENSIONS[name] - 1
            return np.broadcast_to(array, (len(indices), *array.shape)) if shared else array[list(indices)]
        form, files = self._files[name]
        frames = [_read_frame(files[index], name, form) for index in indices]
        if len({frame.shape for frame in frames}) > 1:
            raise ClipFileError(f"{self.path}: the files of {name} have different sizes")
        return np.stack(frames)


def _read_frame(path: Path, name: str, form: FrameFiles) -> np.ndarray:
    """One frame, (H, W) or (channels, H, W), times its scale."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        elif suffix == ".exr":
            values = _read_exr(path, form.channels or {"depth": None, "flow_2d_backward": ["R", "G"]}.get(name))
        else:
            with open_image(path) as image:
                if image.mode not in ("1", "L", "I", "I;16", "I;16B", "F"):
                    raise ClipFileError(f"{path} is an image of mode {image.mode}, expected one channel of numbers")
                values = np.asarray(image)
    except (OSError, ValueError) as err:
        if isinstance(err, ClipFileError | ImageError):
            raise ClipFileError(str(err)) from err
        raise ClipFileError(f"{path} cannot be read: {err}") from err
    if name in ("motion", "valid"):
        return values != 0
    if form.scale is None and values.dtype.kind in "iu":
        raise ClipFileError(f"{path} holds whole numbers: give {name}.scale in clip.json, as 0.001 for millimetres")
    return values * np.float64(1 if form.scale is None else form.scale)


def _read_exr(path: Path, channels: Sequence[str] | None) -> np.ndarray:
    """Channels of an EXR file, (channels, H, W); (H, W) for one."""
    try:
        import OpenEXR
    except ImportError as err:
        raise ClipFileError(f"{path}: EXR files need `pip install 'rgpt4d-plugin[exr]'`: {err}") from err
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            found = {name: channel.pixels for name, channel in file.channels().items()}
    except RuntimeError as err:
        raise ClipFileError(f"{path} is not a readable EXR file: {err}") from err
    wanted = list(found) if channels is None else list(channels)
    if (channels is None and len(found) != 1) or not set(wanted) <= set(found):
        raise ClipFileError(f"{path} has the channels {', '.join(found)}: name those to be read under channels")
    picked = np.stack([found[name] for name in wanted])
    return picked[0] if len(wanted) == 1 else picked


def open_clip_file(path: Path) -> ClipFile:
    """Opens the ground truth of a clip: a folder, or a .npz file.

    Raises:
        ClipFileError: There is none, or it cannot be used.
    """
    if path.is_dir():
        return ClipFolder(path)
    if not path.is_file():
        raise ClipFileError(f"there is no {path}")
    return NpzFile(path)
