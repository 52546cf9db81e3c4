# SPDX-License-Identifier: Apache-2.0
"""A clip's arrays as maps of its windows: sampled at the map's pixels, in the frame that the student sees.

Legend: T frames of the clip, W windows of F frames, H W pixels of an array, H' W' of a map, h w cells of the rays.
"""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rgpt4d_plugin.teachers.base import ClipKey, StoredMap, TeacherSpec
from rgpt4d_plugin.teachers.geometry import pinhole_directions, plucker_rays, pose_map, relative_to_first
from rgpt4d_plugin.teachers.ground_truth.clip_file import ClipFile, ClipFileError


MOTION_LOGIT = 4.0
"""Logit of a pixel that surely moves (a probability of 0.982), and minus that of one that surely does not."""


class ClipMaps:
    """Maps of one clip, each made when it is asked for.

    Args:
        file: The clip's ground truth.
        frames: Its entries for the T frames that the student sees.
        spec: The windows and sizes.
        key: The clip.
        in_metres: Lengths are in metres; else in the geometric mean of their window's depths.
    """

    def __init__(self, file: ClipFile, frames: list[int], spec: TeacherSpec, key: ClipKey, in_metres: bool) -> None:
        self._file, self._frames, self._spec, self._key, self._in_metres = file, frames, spec, key, in_metres
        self._times = [key.start + time for time in key.timestamps]
        _, starts = spec.window_starts(len(frames))
        places = torch.tensor(starts)[:, None] + torch.arange(spec.window)
        self._real = places < len(frames)  # (W, F): the rest repeats the last frame
        self._places = places.clamp(max=len(frames) - 1)
        self._sizes: dict[str, tuple[int, int]] = {}
        """(height, width) of the arrays that were read."""

    def of(self, term: str) -> StoredMap:
        """The map of a term.

        Raises:
            ClipFileError: The file lacks an array for it, or knows nothing of it for any frame of the clip.
        """
        made: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
            "depth": self._depth,
            "flow": self._flow,
            "motion": self._motion,
            "camray": self._camray,
            "pose": self._pose,
            "scale": self._scale,
        }
        values, valid = made[term]()
        valid = valid & self._real[:, None, :, None, None]
        compared = valid[:, :, 1:] if term in ("flow", "pose") else valid
        if not compared.any() and len(self._frames) > 1:
            raise ClipFileError(f"{self._file.path} knows no {term} at any of the clip's frames; leave the clip out")
        return StoredMap(torch.where(valid, values, 0.0).float(), valid)

    # Arrays at the pixels of the maps, (T, ..., H', W')

    def _sampled(self, name: str, why: str) -> Tensor:
        """An array of images at the map's pixels: the value at each one's center, for edges are not to be mixed."""
        array = self._file.read(name, self._frames, why)
        self._sizes[name] = (array.shape[-2], array.shape[-1])
        left, top, right, bottom = self._box(array.shape[-2:])
        side_h, side_w = self._spec.maps["depth"].shape[2:]
        rows = (top + (np.arange(side_h) + 0.5) * (bottom - top) / side_h).astype(int)
        columns = (left + (np.arange(side_w) + 0.5) * (right - left) / side_w).astype(int)
        return torch.from_numpy(np.ascontiguousarray(array[..., rows[:, None], columns]))

    def _box(self, size: tuple[int, ...]) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of what the student sees, in pixels of an image of that (height, width)."""
        height, width = size
        if self._key.box is None or self._key.size is None:
            return 0.0, 0.0, float(width), float(height)
        scale_x, scale_y = width / self._key.size[0], height / self._key.size[1]
        left, top, right, bottom = self._key.box
        return left * scale_x, top * scale_y, right * scale_x, bottom * scale_y

    @cached_property
    def _stated_valid(self) -> Tensor | None:
        """(T, H', W') where the file says that its arrays are good, if it says so."""
        return self._sampled("valid", "") != 0 if "valid" in self._file.names else None

    def _known(self, valid: Tensor) -> Tensor:
        """(T, H', W') of what is known, also by what the file says."""
        return valid if self._stated_valid is None else valid & self._stated_valid

    # Per window, (W, ...)

    @cached_property
    def _log_depth(self) -> tuple[Tensor, Tensor]:
        """(W, F, H', W') logarithm of the depth in metres, and where it is known."""
        depth = self._sampled("depth", "p4d.loss.depth, p4d.loss.scale or p4d.teacher.units: window")
        known = self._known(depth.isfinite() & (depth > 0))
        values = torch.where(known, depth, 1.0).log()
        return values[self._places], known[self._places] & self._real[..., None, None]

    @cached_property
    def _log_unit(self) -> tuple[Tensor, Tensor]:
        """(W,) logarithm of the geometric mean of each window's depths in metres, and whether there are any."""
        values, known = self._log_depth
        count = known.sum(dim=(1, 2, 3))
        return (values * known).sum(dim=(1, 2, 3)) / count.clamp(min=1), count > 0

    def _depth(self) -> tuple[Tensor, Tensor]:
        values, known = self._log_depth
        if not self._in_metres:
            values = values - self._log_unit[0][:, None, None, None]
        return values[:, None], known[:, None]

    def _scale(self) -> tuple[Tensor, Tensor]:
        frames = (len(self._places), 1, self._spec.window, 1, 1)
        values, known = (found.view(-1, 1, 1, 1, 1).expand(frames) for found in self._log_unit)
        return values, known

    def _flow(self) -> tuple[Tensor, Tensor]:
        for before, after, time in zip(self._frames, self._frames[1:], self._times[1:]):
            if after != before + 1:
                raise ClipFileError(
                    f"{self._file.path}: its flow goes from an entry to the one before, but the clip's frame at "
                    f"{time:.3f} s and the frame before it are {after - before} entries apart. Write flow between the "
                    "frames that are sampled, sample every entry (p4d.frames, video_fps), or set p4d.loss.flow to 0"
                )
        array = self._sampled("flow_2d_backward", "p4d.loss.flow")
        known = self._known(array.isfinite().all(dim=1))
        # In pixels of a frame that is stretched to the input size.
        left, top, right, bottom = self._box(self._sizes["flow_2d_backward"])
        height, width = self._spec.input_size
        unit = torch.tensor([width / (right - left), height / (bottom - top)], dtype=array.dtype)
        values = torch.where(known[:, None], array, 0.0) * unit[:, None, None]
        return values[self._places].transpose(1, 2), known[self._places][:, None]

    def _motion(self) -> tuple[Tensor, Tensor]:
        array = self._sampled("motion", "p4d.loss.motion")
        known = self._known(array.isfinite())
        values = torch.where(array > 0, MOTION_LOGIT, -MOTION_LOGIT)
        return values[self._places][:, None], known[self._places][:, None]

    @cached_property
    def _cameras(self) -> tuple[Tensor, Tensor]:
        """(W, F, 4, 4) poses relative to their window's first camera, in its units, and (W, F) whether known."""
        poses = torch.from_numpy(
            self._file.read("poses", self._frames, "p4d.loss.pose or p4d.loss.camray").copy()
        ).double()
        known = poses.isfinite().all(dim=(1, 2))
        poses = torch.where(known[:, None, None], poses, torch.eye(4, dtype=poses.dtype))
        turns = poses[:, :3, :3]
        error = (turns @ turns.mT - torch.eye(3)).abs().amax(dim=(1, 2)).maximum((torch.linalg.det(turns) - 1).abs())
        error = error.maximum((poses[:, 3] - torch.tensor([0.0, 0.0, 0.0, 1.0])).abs().amax(dim=1))
        if (error > 1e-3).any():
            raise ClipFileError(
                f"{self._file.path}: the pose at {self._times[int(error.argmax())]:.3f} s is no rotation and "
                "translation: expected a camera-to-world matrix with the last row 0 0 0 1"
            )
        relative = relative_to_first(poses[self._places])
        both = known[self._places] & known[self._places[:, :1]]
        if not self._in_metres:
            log_unit, has_unit = self._log_unit
            relative[..., :3, 3] /= log_unit.exp()[:, None, None]
            both = both & has_unit[:, None]
        return relative, both

    def _pose(self) -> tuple[Tensor, Tensor]:
        poses, known = self._cameras
        return pose_map(poses), known[:, None, :, None, None]

    def _camray(self) -> tuple[Tensor, Tensor]:
        poses, known = self._cameras
        rays = plucker_rays(poses, self._directions()[self._places])
        return rays, known[:, None, :, None, None].expand(-1, -1, -1, *rays.shape[3:])

    def _directions(self) -> Tensor:
        """(T, 3, h, w) directions of the rays in their camera's own frame."""
        grid = self._spec.maps["camray"].shape[2:]
        why = "p4d.loss.camray"
        if "intrinsics" not in self._file.names and "rays" in self._file.names:
            rays = torch.from_numpy(self._file.read("rays", self._frames, why).copy()).double()
            left, top, right, bottom = self._box(rays.shape[-2:])
            rows = (top + (torch.arange(grid[0]) + 0.5) * (bottom - top) / grid[0]).long()
            columns = (left + (torch.arange(grid[1]) + 0.5) * (right - left) / grid[1]).long()
            found = rays[..., rows[:, None], columns]
        else:
            intrinsics = torch.from_numpy(self._file.read("intrinsics", self._frames, why).copy()).double()
            found = pinhole_directions(intrinsics, self._box(self._image_size()), (grid[0], grid[1]))
        if not (found.isfinite().all() and (found.norm(dim=1) > 0).all()):
            raise ClipFileError(f"{self._file.path}: intrinsics or rays give directions that are not finite")
        return found

    def _image_size(self) -> tuple[int, int]:
        """(height, width) of the images that the intrinsics are for."""
        if self._file.image_size is not None:
            return self._file.image_size
        for name in ("depth", "flow_2d_backward", "motion", "valid"):
            if name in self._file.names:
                if name not in self._sizes:
                    height, width = self._file.read(name, self._frames[:1], "").shape[-2:]
                    self._sizes[name] = (height, width)
                return self._sizes[name]
        raise ClipFileError(
            f"{self._file.path} has intrinsics in pixels, but no image_size (height, width) and no map that says of "
            "what image"
        )
