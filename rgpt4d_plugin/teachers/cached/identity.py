# SPDX-License-Identifier: Apache-2.0
"""What a stored result depends on: the teacher, and of a clip the file's content, the frame times and the box."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from rgpt4d_plugin.files import read_json, write_json
from rgpt4d_plugin.teachers.base import ClipKey, Teacher, TeacherArguments, TeacherSpec, teacher_class
from rgpt4d_plugin.validation import Checked, check
from rgpt4d_plugin.video.clip import is_address


PREPROCESSING = 1
"""Raised whenever a teacher would see other pixels of the same frames, so that no older cache is used."""

MANIFEST = "cache.json"

KeyMode = Literal["content", "stat"]
LatentPrecision = Literal["bf16", "fp8", "int8", "none"]
MapResolution = Literal["native", "half", "quarter", "none"]

_NOT_COMPUTED_WITH = ("device", "compile", "cache", "cache_missing")


class TeacherCacheError(ValueError):
    """A cache of teacher results cannot be used, or has no result for a clip."""


class CacheManifest(Checked):
    """What `cache.json` says: which teacher, which results, in which form."""

    format: Literal[1] = 1
    preprocessing: int = PREPROCESSING
    teacher: dict[str, str]
    """`fingerprint` of the teacher."""
    windows: dict[str, list[int]]
    """Input size, window and grid, as in `TeacherSpec`."""
    hooks: list[int]
    """Hooks whose features are stored."""
    terms: list[str]
    """Terms whose maps are stored."""
    latents: LatentPrecision
    maps: MapResolution
    key: KeyMode = Field("content")
    """How a video file is recognized: by its content, or by its path, size and time of change."""

    def save(self, folder: Path) -> None:
        """Writes it into the cache's folder."""
        write_json(folder / MANIFEST, self.model_dump())

    @classmethod
    def read(cls, folder: Path) -> "CacheManifest":
        """Reads a cache's manifest; raises TeacherCacheError if the folder is no cache."""
        path = folder / MANIFEST
        if not path.is_file():
            raise TeacherCacheError(
                f"{folder} is no teacher cache: it has no {MANIFEST}; make it with `rgpt4d cache-teacher RECIPE --out "
                f"{folder}`"
            )
        problems: list[str] = []
        try:
            manifest = check(cls, read_json(path, "make the cache again."), "", problems)
        except ValueError as err:
            raise TeacherCacheError(str(err)) from err
        if manifest is None:
            raise TeacherCacheError(f"{path}: {'; '.join(problems)}; make the cache again with this version")
        return manifest

    def differences(self, wanted: "CacheManifest") -> list[str]:
        """What keeps a run from using this cache, one line each; empty if it can.

        Args:
            wanted: What the run's teacher and terms need; its precisions do not count.
        """
        found = [
            f"p4d.teacher.{key}: it was made with {_shown(self.teacher.get(key))}, the recipe has {_shown(value)}"
            for key, value in wanted.teacher.items()
            if self.teacher.get(key) != value
        ]
        found += [
            f"the teacher's {key} is {self.windows.get(key)} in the cache, {value} in the recipe"
            for key, value in wanted.windows.items()
            if self.windows.get(key) != value
        ]
        if self.preprocessing != wanted.preprocessing:
            found.append(
                f"it was made with version {self.preprocessing} of the frames' preprocessing, this is version "
                f"{wanted.preprocessing}"
            )
        missing = [hook for hook in wanted.hooks if hook not in self.hooks]
        if missing:
            found.append(f"p4d.loss.latent: it has latents at hooks {self.hooks or 'none'}, but not at {missing}")
        return found


def manifest_for(
    options: TeacherArguments,
    spec: TeacherSpec,
    hooks: tuple[int, ...],
    terms: tuple[str, ...],
    latents: LatentPrecision = "bf16",
    maps: MapResolution = "native",
    key: KeyMode = "content",
) -> CacheManifest:
    """Describes a cache of a teacher's latents at `hooks` and maps of `terms`; reads all of the teacher's files."""
    return CacheManifest(
        teacher=fingerprint(teacher_class(options.type), options),
        windows={
            "input_size": list(spec.input_size),
            "window": [spec.window, spec.stride, spec.tubelet],
            "grid": list(spec.grid),
            "width": [spec.width],
        },
        hooks=list(hooks),
        terms=list(terms),
        latents=latents,
        maps=maps,
        key=key,
    )


def fingerprint(teacher: type[Teacher], options: TeacherArguments) -> dict[str, str]:
    """What a teacher's results depend on: each option's value, and for a file or folder its content's digest."""
    values = options.model_dump(mode="json", exclude=set(_NOT_COMPUTED_WITH))
    found = {"class": f"{teacher.__module__}:{teacher.__qualname__}"}
    for name, value in _flat(values):
        is_path = isinstance(value, str) and os.path.exists(value)
        found[name] = f"sha256:{content_digest(Path(value))}" if is_path else json.dumps(value)
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(value: str | None) -> str:
    """A fingerprint's entry, short enough for a message."""
    if value is None:
        return "nothing"
    return f"weights {value[:19]}..." if value.startswith("sha256:") else value


def content_digest(path: Path) -> str:
    """SHA-256 of a file's content, or of a folder's files and their names."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    parts = [[str(file.relative_to(path)), content_digest(file)] for file in files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class FileRecord(Checked):
    """A file of a clip as it was when its digest was taken."""

    path: str
    size: int
    mtime_ns: int
    digest: str

    @property
    def state(self) -> tuple[str, int, int]:
        """What tells, without reading a file, that it is the same one."""
        return self.path, self.size, self.mtime_ns


class ClipNames:
    """The names under which clips are stored.

    Args:
        mode: What a file is recognized by.
        known: Files whose digests are known; one of the same path, size and time of change is not read again.
    """

    def __init__(self, mode: KeyMode, known: Mapping[tuple[str, int, int], str] | None = None) -> None:
        self.mode = mode
        self._known = dict(known or {})

    def learn(self, record: FileRecord) -> None:
        """Takes the digest of a file from a record."""
        self._known[record.state] = record.digest

    def files(self, key: ClipKey) -> list[FileRecord]:
        """The files of a clip; reads those that were never seen.

        Raises:
            TeacherCacheError: The clip is no file.
            OSError: A file is gone.
        """
        if not key.files:
            raise TeacherCacheError(f"{key.source}: only clips of files can be cached, and these frames are none")
        return [self._file(path) for path in key.files]

    def _file(self, path: str) -> FileRecord:
        if is_address(path):  # its content may change, and nobody can tell
            return FileRecord(path=path, size=0, mtime_ns=0, digest=_digest(path))
        path = os.path.abspath(path)
        stat = os.stat(path)
        state = (path, stat.st_size, stat.st_mtime_ns)
        if state not in self._known:
            self._known[state] = _digest(*state) if self.mode == "stat" else content_digest(Path(path))
        return FileRecord(path=path, size=stat.st_size, mtime_ns=stat.st_mtime_ns, digest=self._known[state])

    def of(self, key: ClipKey) -> str:
        """The name of a clip: a digest of its files, its frames' times to the microsecond, and its box."""
        times = [round((key.start + second) * 1e6) for second in key.timestamps]
        return _digest([file.digest for file in self.files(key)], times, key.box)


def _digest(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:40]
