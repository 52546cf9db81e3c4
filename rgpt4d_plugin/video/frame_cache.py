# SPDX-License-Identifier: Apache-2.0
"""Pixels of sampled frames on disk, bounded in size and shared by processes, so that a clip is decoded once.

What is kept is what is used of a clip: its frames as the student's reader scaled them, and as the teacher gets them.
Both are made from one decode, and read back to the bit. `diskcache` (an extra) keeps them: an index in SQLite, a file
per entry, the least recently stored one dropped first.
"""

import functools
import hashlib
import io
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rgpt4d_plugin.video.frames import read_frames


logger = logging.getLogger(__name__)

_EXTRA = "p4d.video.cache needs diskcache: pip install 'rgpt4d-plugin[video-cache]'"


class FrameCache:
    """A folder of pixels.

    Args:
        folder: Made where it is missing; on a disk of this machine, since SQLite locks files.
        gigabytes: Size that it does not outgrow.

    Raises:
        ImportError: diskcache is not installed.
        ValueError: The folder cannot be made or written.
    """

    def __init__(self, folder: str, gigabytes: float) -> None:
        try:
            import diskcache
        except ImportError as err:
            raise ImportError(_EXTRA) from err

        class BytesAlone(diskcache.Disk):
            """Never unpickles what someone else may have put into the folder."""

            def fetch(self, mode: int, filename: Any, value: Any, read: bool) -> Any:
                if mode == diskcache.core.MODE_PICKLE:
                    raise OSError(f"{folder} holds something that is no clip")
                return super().fetch(mode, filename, value, read)

        self.folder = folder
        self._failures = (OSError, sqlite3.Error, diskcache.Timeout)
        self._complained = False
        # Two at most make room for a new one: ten, the default, may be all that a small folder has.
        limits = {"size_limit": round(gigabytes * 1e9), "cull_limit": 2}
        try:
            self._cache = diskcache.Cache(folder, disk=BytesAlone, **limits)
        except self._failures as err:
            raise ValueError(
                f"p4d.video.cache: {folder} cannot hold the cache ({err}); name a folder on a disk of this machine "
                "that can be written"
            ) from err

    def get(self, key: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Arrays and notes that were put under a key; None if there are none, or no longer."""
        try:
            found = self._cache.get(key)
            if found is None:
                return None
            arrays = load(found)
            return arrays, json.loads(arrays.pop("notes").tobytes())
        except (*self._failures, SafetensorError, KeyError, ValueError) as err:
            self._complain(f"an entry cannot be read ({err}); its clip is decoded again")
            return None

    def put(self, key: str, arrays: Mapping[str, np.ndarray], notes: Mapping[str, Any]) -> None:
        """Keeps arrays and notes; where the disk is full nothing is kept, and nothing is lost."""
        text = np.frombuffer(json.dumps(notes).encode(), np.uint8)
        try:
            # safetensors writes the memory of an array as it lies.
            content = save({name: np.ascontiguousarray(a) for name, a in (*arrays.items(), ("notes", text))})
            # As a file, of which diskcache writes large pieces; bytes it cuts at each that is a line's end.
            self._cache.set(key, io.BytesIO(content), read=True)
        except self._failures as err:
            self._complain(f"it cannot be written ({err}); clips are decoded as without it")

    def _complain(self, what: str) -> None:
        if not self._complained:
            self._complained = True
            logger.warning("p4d.video.cache: %s: %s", self.folder, what)


@functools.lru_cache(maxsize=4)
def open_frame_cache(folder: str, gigabytes: float) -> FrameCache:
    """The cache of a folder; one object per process, and usable in the processes forked from it."""
    return FrameCache(folder, gigabytes)


class DecodedOnDemand(Sequence[Image.Image]):
    """Frames of a file that are decoded only if someone looks at them."""

    def __init__(self, path: str, indices: Sequence[int], backend: str) -> None:
        self._path, self._indices, self._backend = path, list(indices), backend

    @functools.cached_property
    def _frames(self) -> list[Image.Image]:
        return read_frames(self._path, self._indices, self._backend)

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...

    @overload
    def __getitem__(self, index: slice) -> list[Image.Image]: ...

    def __getitem__(self, index: int | slice) -> Image.Image | list[Image.Image]:
        return self._frames[index]

    def __iter__(self) -> Iterator[Image.Image]:
        return iter(self._frames)


@dataclass(frozen=True)
class StoredClip:
    """A clip's place in a cache.

    Attributes:
        cache: The cache.
        name: See `clip_name`.
        size: (width, height) of the decoded frames.
    """

    cache: FrameCache
    name: str
    size: tuple[int, int]

    def view(self, kind: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The clip's pixels in one form, made by `make` where the cache does not have them.

        Args:
            kind: Names the form, with all that it depends on.
            make: Makes it from the clip's frames.
        """
        key = f"{self.name} {kind}"
        found = self.cache.get(key)
        if found is not None:
            return found[0]["pixels"]
        pixels = make()
        self.cache.put(key, {"pixels": pixels}, {})
        return pixels


def clip_name(path: str, indices: Sequence[int], backend: str) -> str | None:
    """The name of frames of a file, which another name follows when it is changed; None for an address."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    parts = [os.path.abspath(path), stat.st_size, stat.st_mtime_ns, backend, list(indices)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
