# SPDX-License-Identifier: Apache-2.0
"""The files of a cache: shards of a few clips each, written whole, mapped into memory when they are read.

A shard is a safetensors file. Its tensors are called "<clip>.<result>"; what is known of the clips stands in its
metadata as JSON, with a checksum of each clip's bytes. The name of a shard follows from its clips, so that two
processes that write the same one write the same file.
"""

import functools
import hashlib
import json
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rgpt4d_plugin.files import replacing
from rgpt4d_plugin.teachers.base import ClipKey
from rgpt4d_plugin.teachers.cached.identity import CacheManifest, ClipNames, FileRecord, TeacherCacheError
from rgpt4d_plugin.teachers.cached.precision import Error
from rgpt4d_plugin.validation import Checked, check


_METADATA = "rgpt4d_teacher_cache"
_OPEN_SHARDS = 32


class ClipRecord(Checked):
    """What a shard's metadata says of a clip."""

    name: str
    """See `ClipNames`."""
    source: str
    frames: int
    windows: int
    checksum: int
    """CRC-32 of the bytes of its tensors, in the order of their names."""
    files: list[FileRecord]
    errors: dict[str, Error]
    """Per result, what its stored form costs."""


@dataclass(frozen=True)
class ClipResults:
    """A teacher's results for one clip, in the form in which they are stored.

    Attributes:
        record: What is known of the clip.
        tensors: Result, such as "latents.4" or "maps.depth", and the ends that `precision` gives -> (W, ...).
    """

    record: ClipRecord
    tensors: Mapping[str, Tensor]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())


def checksum(tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 of the bytes of tensors on the CPU, in the order of their names."""
    result = 0
    for _, tensor in sorted(tensors.items()):
        result = zlib.crc32(tensor.contiguous().view(torch.uint8).numpy().data, result)
    return result


class Shard:
    """An open shard.

    Raises:
        TeacherCacheError: The file is cut off, or is no shard.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = safe_open(path, framework="pt")
            content = json.loads((self._file.metadata() or {})[_METADATA])
            names = sorted(self._file.keys())
        except (SafetensorError, OSError, KeyError, ValueError) as err:
            raise self._damaged(f"it cannot be read ({err})") from err
        problems: list[str] = []
        records = check(list[ClipRecord], content, "clips", problems)
        if records is None:
            raise self._damaged("; ".join(problems))
        self.records = {record.name: record for record in records}
        self._names: dict[str, list[str]] = {name: [] for name in self.records}
        for name in names:
            clip, _, result = name.partition(".")
            if clip not in self._names:
                raise self._damaged(f"it holds {name}, which belongs to none of its clips")
            self._names[clip].append(result)

    def _damaged(self, why: str) -> TeacherCacheError:
        return TeacherCacheError(
            f"{self.path} is damaged: {why}. Delete this file and run `rgpt4d cache-teacher` again: it computes what "
            "is missing; --verify finds every damaged file"
        )

    def read(self, clip: str) -> dict[str, Tensor]:
        """A clip's tensors, mapped from the file: bytes are read when they are used."""
        return {result: self._file.get_tensor(f"{clip}.{result}") for result in self._names[clip]}

    def verify(self, clip: str) -> None:
        """Reads all bytes of a clip; raises TeacherCacheError unless they are as they were written."""
        if checksum(self.read(clip)) != self.records[clip].checksum:
            raise self._damaged(f"the bytes of {self.records[clip].source} are not those that were written")


class CacheStore:
    """A cache's clips.

    Args:
        folder: The cache.

    Raises:
        TeacherCacheError: It is no cache, or a shard is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = CacheManifest.read(folder)
        self.names = ClipNames(self.manifest.key)
        self.shards = folder / "shards"
        self._shard_of: dict[str, Path] = {}
        self._open: OrderedDict[Path, Shard] = OrderedDict()
        self._verified: set[str] = set()
        for path in sorted(self.shards.glob("*.safetensors")):
            self._enter(Shard(path))

    def __contains__(self, clip: str) -> bool:
        if clip not in self._shard_of:
            # Another process may have added it.
            alone = self.shards / shard_name([clip])
            if not alone.is_file():
                return False
            self._enter(Shard(alone))
        return True

    def __len__(self) -> int:
        return len(self._shard_of)

    def _enter(self, shard: Shard) -> None:
        for record in shard.records.values():
            self._shard_of[record.name] = shard.path
            for file in record.files:
                self.names.learn(file)

    def read(self, clip: str) -> dict[str, Tensor]:
        """A clip's tensors, mapped from the file."""
        return self._shard(self._shard_of[clip]).read(clip)

    def verify(self, clip: str) -> None:
        """Reads all bytes of a clip when this process first meets it; see `Shard.verify`."""
        if clip not in self._verified:
            self._shard(self._shard_of[clip]).verify(clip)
            self._verified.add(clip)

    def _shard(self, path: Path) -> Shard:
        shard = self._open.pop(path, None) or Shard(path)
        self._open[path] = shard
        # What stays open stays mapped, and counts as memory of the process.
        while len(self._open) > _OPEN_SHARDS:
            self._open.popitem(last=False)
        return shard

    def add(self, clips: Iterable[ClipResults]) -> Path:
        """Writes clips as one shard: under a temporary name, read back and verified, then renamed.

        Raises:
            OSError: The disk is full, above all.
        """
        clips = list(clips)
        path = self.shards / shard_name([clip.record.name for clip in clips])
        tensors = {f"{c.record.name}.{result}": tensor for c in clips for result, tensor in c.tensors.items()}
        # One key: the order of several is not fixed, and the same clips shall give the same bytes.
        metadata = {_METADATA: json.dumps([clip.record.model_dump() for clip in clips])}
        try:
            with replacing(path, "wb") as file:
                file.write(save(tensors, metadata))
                file.flush()
                written = Shard(Path(file.name))
                for clip in clips:
                    written.verify(clip.record.name)
        except OSError as err:
            raise OSError(
                f"{self.shards}: a shard of {sum(clip.nbytes for clip in clips) / 1e6:.1f} MB cannot be written: "
                f"{err.strerror or err}. What is there already stays valid"
            ) from err
        self._enter(Shard(path))
        return path

    def source(self, clip: str) -> ClipRecord:
        """What is known of a clip."""
        return self._shard(self._shard_of[clip]).records[clip]

    def missing(self, key: ClipKey) -> TeacherCacheError:
        """The error of a clip that is not in the cache."""
        times = ", ".join(f"{second:g}" for second in key.timestamps[:3])
        return TeacherCacheError(
            f"{key.source}: the teacher cache {self.folder} has no entry for this clip with its {len(key)} frames at "
            f"{times}{', ...' if len(key) > 3 else ''} s. Were the dataset, the file or the sampling (p4d.frames, "
            "video_fps, video_maxlen) changed since? Run `rgpt4d cache-teacher` with this recipe again, or set "
            "p4d.teacher.cache_missing: compute"
        )


@functools.lru_cache(maxsize=4)
def open_cache(folder: str) -> CacheStore:
    """The cache of a folder; one object per process."""
    return CacheStore(Path(folder))


def shard_name(clips: list[str]) -> str:
    """File name of the shard of these clips."""
    return f"{hashlib.sha256(json.dumps(clips).encode()).hexdigest()[:32]}.safetensors"
