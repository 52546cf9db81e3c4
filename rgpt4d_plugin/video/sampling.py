# SPDX-License-Identifier: Apache-2.0
"""The frames of a clip that are shown: one rule for training, previews, `RegionPrompt`, TRL, chat and evaluation."""

import math
from dataclasses import dataclass

import numpy as np

from rgpt4d_plugin.video.frames import VideoInfo


@dataclass(frozen=True)
class Sampling:
    """The number and size of the frames that are shown of a video. The defaults are the host's.

    Attributes:
        fps: Frames per second; the host's `video_fps`.
        max_frames: Upper limit; the host's `video_maxlen`.
        frames: This many, spread over the clip, in place of `fps` and `max_frames`; `p4d.frames`.
        max_pixels: Frames are scaled down to this area, before the model's own processor; the host's
            `video_max_pixels`.
        image_max_pixels: The same for images; the host's `image_max_pixels`.
    """

    fps: float = 2.0
    max_frames: int = 128
    frames: int | None = None
    max_pixels: int = 256 * 256
    image_max_pixels: int = 768 * 768

    def of(self, info: VideoInfo, first: int, final: int, seconds: float) -> list[int]:
        """Returns the numbers of the shown frames between two frames of a file, `seconds` long by the host's rule."""
        total = final - first + 1
        if self.frames is not None:
            return spread_in_time(info, first, final, self.frames)
        count = min(total, self.max_frames, max(1, math.floor(seconds * self.fps)))
        return [first + index for index in spread(count, total)]


def spread(count: int, total: int) -> list[int]:
    """Returns the numbers of `count` frames spread over `total`, first and last among them: the rule of the host."""
    return [int(index) for index in np.linspace(0, total - 1, count).astype(np.int32)]


def spread_in_time(info: VideoInfo, first: int, final: int, count: int) -> list[int]:
    """Returns the numbers of `count` frames of a file, evenly spread over the time from its frame `first` to `final`.

    Each is the one that is shown at its moment. Where the rate varies and one frame is shown at several of them, its
    neighbors are taken too, so that every frame is another one. A clip with fewer frames gives all it has.
    """
    total = final - first + 1
    count = min(count, total)
    if info.times is None:
        return [first + index for index in spread(count, total)]
    moments = np.linspace(info.times[first], info.times[final], count) + 1e-6
    shown = np.searchsorted(info.times, moments, side="right") - 1
    indices: list[int] = []
    for position, index in enumerate(shown.tolist()):
        after = indices[-1] + 1 if indices else first
        indices.append(min(max(index, after), final + 1 - (count - position)))
    return indices
