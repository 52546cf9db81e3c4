# SPDX-License-Identifier: Apache-2.0
"""A teacher that reads its results from a cache; the heads that a student's maps go through are the real one's."""

import functools
import logging
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from rgpt4d_plugin.teachers.base import (
    ClipKey,
    MapView,
    Teacher,
    TeacherArguments,
    TeacherSpec,
    TeacherWindows,
    teacher_class,
)
from rgpt4d_plugin.teachers.cached.identity import TeacherCacheError, manifest_for
from rgpt4d_plugin.teachers.cached.precision import Error
from rgpt4d_plugin.teachers.cached.results import ResultForm, joined, results_of
from rgpt4d_plugin.teachers.cached.store import CacheStore, open_cache


logger = logging.getLogger(__name__)


class CachedTeacher(Teacher):
    """The teacher of `p4d.teacher` with a cache.

    Args:
        options: What stands under `p4d.teacher`.
        device: Where it runs.
        terms: The maps that will be asked for.
    """

    def __init__(self, options: TeacherArguments, device: torch.device, terms: tuple[str, ...]) -> None:
        self._options = options
        self._class = teacher_class(options.type)
        self._terms = terms
        self.spec = self._class.read_spec(options)
        # Where heads train with the decoder, the teacher's maps are stored, and nothing of it is run.
        runs = bool(terms) and not self.spec.trainable_heads
        self._heads = self._class.load_heads(options, device, terms) if runs else None
        self._whole: Teacher | None = None
        self.device = device
        self.dtype = self._heads.dtype if self._heads is not None else getattr(torch, options.dtype)
        self._store = _store_of(options)
        self._form = ResultForm(self._store.manifest, self.spec)
        # A name costs a look at the clip's files, and every term of a step asks for it.
        self._name_of = functools.lru_cache(maxsize=256)(self._store.names.of)
        self._like = torch.empty(0, dtype=self.dtype, device=device)
        self._computed: dict[str, dict[int, tuple[dict[str, Tensor], dict[str, Error]]]] = {}
        """Windows of clips that are not stored yet, by clip and window."""
        self._full = False

    @classmethod
    def read_spec(cls, options: TeacherArguments) -> TeacherSpec:
        return teacher_class(options.type).read_spec(options)

    @classmethod
    def load(cls, options: TeacherArguments, device: torch.device, terms: tuple[str, ...]) -> Self:
        return cls(options, device, terms)

    def features(self, windows: TeacherWindows, hooks: tuple[int, ...]) -> dict[int, Tensor]:
        stored = self._stored(windows)
        kept = [hook for hook in hooks if hook in self._form.manifest.hooks]  # without a latent term none may be
        return {
            hook: torch.stack([self._form.latents(tensors, hook, at, self._like) for tensors, at in stored])
            for hook in kept
        }

    def targets(self, windows: TeacherWindows, features: Mapping[int, Tensor], term: str) -> Tensor:
        if term in self._form.manifest.terms:
            return torch.stack(
                [self._form.map(tensors, term, at, self._like) for tensors, at in self._stored(windows)]
            )
        return self._predictor.targets(windows, features, term)

    def predict(self, latents: Mapping[int, Tensor], term: str) -> Tensor:
        return self._predictor.predict(latents, term)

    def target_part(self, windows: TeacherWindows, features: Mapping[int, Tensor], term: str, view: MapView) -> Tensor:
        if term not in self._form.manifest.terms:
            return self._predictor.target_part(windows, features, term, view)
        whole = self.targets(windows, features, term)
        size = self.spec.maps[term].plane(view.size)
        if size != whole.shape[-2:]:
            # The average of what is stored: the teacher's own smaller map is near it, and needs its features.
            whole = interpolate(whole.flatten(0, 2)[:, None], size, mode="area")[:, 0].unflatten(0, whole.shape[:3])
        if view.tile is None:
            return whole
        rows, columns = view.tile.slices(*size)
        return whole[..., rows, columns]

    def predict_part(self, latents: Mapping[int, Tensor], term: str, view: MapView) -> Tensor:
        return self._predictor.predict_part(latents, term, view)

    @property
    def _predictor(self) -> Teacher:
        assert self._heads is not None, "loaded without maps"
        return self._heads

    def _stored(self, windows: TeacherWindows) -> list[tuple[Mapping[str, Tensor], int]]:
        """Per window the stored tensors that hold it, and its place in them."""
        found: list[tuple[Mapping[str, Tensor], int]] = []
        names = [self._name_of(key) for key, _ in windows.keys]
        # A clip's windows follow one another: of what is computed nothing else is asked for again.
        self._computed = {name: parts for name, parts in self._computed.items() if name in names}
        for index, (name, (key, start)) in enumerate(zip(names, windows.keys, strict=True)):
            window = start // self.spec.stride
            if name in self._store:
                found.append((self._store.read(name), window))
                continue
            if self._options.cache_missing == "error":
                raise self._store.missing(key)
            parts = self._computed.setdefault(name, {})
            if window not in parts:
                parts[window] = self._form.compute(self._teacher(), windows[index : index + 1])
            found.append((parts[window][0], 0))
            if len(parts) == len(self.spec.window_starts(len(key))[1]):
                self._add(name, key)
        return found

    def _teacher(self) -> Teacher:
        """The real teacher, encoder and all, loaded when the first clip is missing."""
        if self._whole is None:
            logger.warning(
                "p4d.teacher.cache: %s lacks clips of this run; loading the teacher to compute them",
                self._store.folder,
            )
            self._whole = self._class.load(self._options, self.device, tuple(self._form.manifest.terms))
        return self._whole

    def _add(self, name: str, key: ClipKey) -> None:
        """Stores a clip whose windows are all computed."""
        parts = self._computed[name]
        if self._full:
            return
        try:
            files = self._store.names.files(key)
            self._store.add([results_of(name, key, files, *joined([parts[at] for at in sorted(parts)]))])
        except OSError as err:
            # What was computed is as good as before; only later epochs have to compute it again.
            self._full = True
            logger.warning(
                "p4d.teacher.cache: %s cannot be written: %s. Training goes on; clips that are not in it are computed "
                "at every step",
                self._store.folder,
                err,
            )


def cache_problems(
    options: TeacherArguments, spec: TeacherSpec, hooks: tuple[int, ...], terms: tuple[str, ...]
) -> list[str]:
    """What keeps a run from using `p4d.teacher.cache`, one line each; reads all of the teacher's files.

    Args:
        options: What stands under `p4d.teacher`.
        spec: The teacher's.
        hooks: Hooks whose features are compared; none without a latent term.
        terms: Maps that are compared.
    """
    if not teacher_class(options.type).needs_frames:
        return [f"p4d.teacher.cache: the teacher {options.type!r} computes nothing of frames; remove it"]
    try:
        manifest = _store_of(options).manifest
    except TeacherCacheError as err:
        return [f"p4d.teacher.cache: {err}"]
    found = manifest.differences(manifest_for(options, spec, hooks, terms))
    # A map that is not stored is made from stored latents.
    found += [
        f"p4d.loss.{term}: it has the maps {manifest.terms or 'none'}, and no latents to make this one from"
        for term in terms
        if term not in manifest.terms
        and (spec.trainable_heads or not set(spec.hooks_of((term,))) <= set(manifest.hooks))
    ]
    return [
        f"p4d.teacher.cache: {options.cache} does not fit this run: {problem}; make another with `rgpt4d "
        "cache-teacher`"
        for problem in found
    ]


def check_stored(options: TeacherArguments, key: ClipKey) -> None:
    """Raises TeacherCacheError unless a clip is in the cache, whole; run by the data loader, ahead of training.

    This also brings the clip's bytes into memory, so that the training step does not wait for the disk.
    """
    store = _store_of(options)
    name = store.names.of(key)
    if name in store:
        store.verify(name)
    elif options.cache_missing == "error":
        raise store.missing(key)


def _store_of(options: TeacherArguments) -> CacheStore:
    assert options.cache is not None
    return open_cache(options.cache)
