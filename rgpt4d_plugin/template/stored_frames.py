# SPDX-License-Identifier: Apache-2.0
"""The host's result for a clip from `p4d.video.cache`, or into it."""

from typing import Any

import numpy as np
from PIL import Image

from rgpt4d_plugin.video.frame_cache import DecodedOnDemand, StoredClip, clip_name, open_frame_cache


def stored_result(reader: Any, reading: Any, options: dict[str, Any]) -> dict[str, list]:
    """What `ClipReader._p4d_unmarked` returns for a file, to the bit, without decoding it where it is stored.

    Args:
        reader: The `ClipReader`.
        reading: The `Reading`, which is filled as decoding would.
        options: What the host gave to `_regularize_videos`.
    """
    video, path = reader.settings.video, reading.clip.path
    reader._p4d_sample(reading, **options)
    sampled = list(reading.indices)
    name = clip_name(path, sampled, video.backend)
    if name is None:
        return reader._p4d_unmarked(reading, **options)
    cache = open_frame_cache(video.cache, video.cache_gb)
    # The class scales the frames by its own rule, and the options are those of the rule.
    kind = f"{name} student {reader.host_class.__name__} {sorted(options.items())}"
    found = cache.get(kind)
    if found is not None:
        arrays, notes = found
        reading.count = notes["count"]
        reading.raw = DecodedOnDemand(path, sampled, video.backend)
        reading.stored = StoredClip(cache, name, tuple(notes["size"]))
        return {"videos": [[Image.fromarray(frame) for frame in arrays["frames"]]], **notes["host"]}
    result = reader._p4d_unmarked(reading, **options)
    raw, frames = reading.raw[: reading.count], result["videos"][0]
    if len(raw) == len(sampled) and len({frame.size for frame in frames}) == 1:  # not a file that lacks its end
        size = raw[0].size
        notes = {
            "count": reading.count,
            "size": size,
            "host": {key: value for key, value in result.items() if key != "videos"},
        }
        cache.put(kind, {"frames": np.stack([np.asarray(frame) for frame in frames])}, notes)
        reading.stored = StoredClip(cache, name, size)
    return result
