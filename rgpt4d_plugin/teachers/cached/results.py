# SPDX-License-Identifier: Apache-2.0
"""A clip's results in stored form: made from a teacher, measured before anything is computed, read back."""

from collections.abc import Mapping

import torch
from torch import Tensor

from rgpt4d_plugin.teachers.base import ClipKey, Teacher, TeacherSpec, TeacherWindows
from rgpt4d_plugin.teachers.cached.identity import CacheManifest, FileRecord, MapResolution
from rgpt4d_plugin.teachers.cached.precision import Error, decode_latents, decode_map, encode_latents, encode_map
from rgpt4d_plugin.teachers.cached.store import ClipRecord, ClipResults, checksum


class ResultForm:
    """How results become tensors and back.

    Args:
        manifest: What is stored, in which precision.
        spec: The teacher's shapes.
    """

    def __init__(self, manifest: CacheManifest, spec: TeacherSpec) -> None:
        self.manifest = manifest
        self.spec = spec

    @torch.no_grad()
    def compute(self, teacher: Teacher, windows: TeacherWindows) -> tuple[dict[str, Tensor], dict[str, Error]]:
        """A teacher's results for windows: stored tensors (W, ...) on the CPU, and the error of their form.

        Raises:
            ValueError: A value does not fit the stored form.
        """
        manifest = self.manifest
        needed = {*manifest.hooks, *self.spec.hooks_of(tuple(manifest.terms))}
        features = teacher.features(windows, tuple(sorted(needed)))
        tensors: dict[str, Tensor] = {}
        errors: dict[str, Error] = {}
        for hook in manifest.hooks:
            stored = encode_latents(features[hook], manifest.latents)
            errors[f"latents.{hook}"] = Error.between(features[hook], decode_latents(stored, torch.float32))
            tensors |= {f"latents.{hook}{end}": tensor.cpu().contiguous() for end, tensor in stored.items()}
        for term in manifest.terms:
            maps = teacher.targets(windows, features, term)
            stored = encode_map(maps, self._resolution(term))
            errors[f"maps.{term}"] = Error.between(maps, decode_map(stored, self.spec.maps[term].shape[2:]))
            tensors |= {f"maps.{term}{end}": tensor.cpu().contiguous() for end, tensor in stored.items()}
        for name, tensor in tensors.items():
            if not tensor.float().isfinite().all():
                raise ValueError(
                    f"{windows.keys[0][0].source}: {name} is not finite as {tensor.dtype}; a teacher in float32 "
                    "(p4d.teacher.dtype) may give better values"
                )
        return tensors, errors

    def window_bytes(self) -> int:
        """Bytes of one window's stored results."""
        manifest, spec = self.manifest, self.spec
        latents = torch.empty(1, spec.tokens, spec.width, device="meta")
        size = len(manifest.hooks) * _nbytes(encode_latents(latents, manifest.latents)) if manifest.hooks else 0
        for term in manifest.terms:
            size += _nbytes(encode_map(torch.empty(1, *spec.maps[term].shape, device="meta"), self._resolution(term)))
        return size

    def _resolution(self, term: str) -> MapResolution:
        """A map that is no finer than the tokens, as L4P's camera rays, is small, and stays as it is."""
        sides = zip(self.spec.maps[term].shape[2:], self.spec.grid[1:])
        return "native" if all(pixels <= tokens for pixels, tokens in sides) else self.manifest.maps

    def latents(self, stored: Mapping[str, Tensor], hook: int, window: int, like: Tensor) -> Tensor:
        """A window's features (N, C) at a hook, in the dtype and on the device of `like`."""
        return decode_latents(_window(stored, f"latents.{hook}", window, like.device), like.dtype)[0]

    def map(self, stored: Mapping[str, Tensor], term: str, window: int, like: Tensor) -> Tensor:
        """A window's map (C, T, H', W') of a term, float32, on the device of `like`."""
        size = self.spec.maps[term].shape[2:]
        return decode_map(_window(stored, f"maps.{term}", window, like.device), size)[0]


def results_of(
    name: str, key: ClipKey, files: list[FileRecord], tensors: Mapping[str, Tensor], errors: Mapping[str, Error]
) -> ClipResults:
    """A whole clip's results, with the record that goes into its shard; its files as its name was made from them."""
    windows = len(next(iter(tensors.values())))
    record = ClipRecord(
        name=name,
        source=key.source,
        frames=len(key),
        windows=windows,
        checksum=checksum(tensors),
        files=files,
        errors=dict(errors),
    )
    return ClipResults(record, tensors)


def joined(
    parts: list[tuple[dict[str, Tensor], dict[str, Error]]],
) -> tuple[dict[str, Tensor], dict[str, Error]]:
    """The results of a clip's windows, in order, as those of the clip."""
    tensors = {name: torch.cat([part[name] for part, _ in parts]) for name in parts[0][0]}
    errors = {name: sum((part[name] for _, part in parts), Error()) for name in parts[0][1]}
    return tensors, errors


def _window(stored: Mapping[str, Tensor], name: str, window: int, device: torch.device) -> dict[str, Tensor]:
    found = {end: tensor for end in ("", ".scale") if (tensor := stored.get(name + end)) is not None}
    return {end: tensor[window : window + 1].to(device) for end, tensor in found.items()}


def _nbytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())
